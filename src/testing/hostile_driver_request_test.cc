// SPDX-License-Identifier: Apache-2.0
//
// Goal: no number in a request, and none that changes while the device looks at it, gets the device
// beyond its disk or its region; nothing works that was not agreed upon, on any type of device:
// classes 11, 13 and 14 of attacks. Method: a table of requests; a second thread that rewrites
// them.
#include <thread>

#include "ring/layout.h"
#include "spec/virtio.h"
#include "testing/hostile_driver_case.h"

namespace airlock::testing {
namespace {

constexpr std::uint64_t kData = HostileDriver::kData;
constexpr std::uint32_t kSector = 512;
constexpr std::uint64_t kSectors = AttackTarget::kSectors;
constexpr std::uint64_t kMost = ~std::uint64_t{0};
/// Times 512 it is 2^64.
constexpr std::uint64_t kWraps = std::uint64_t{1} << 55;
constexpr std::uint32_t kIn = spec::VIRTIO_BLK_T_IN;
constexpr std::uint32_t kOut = spec::VIRTIO_BLK_T_OUT;
constexpr std::uint32_t kDiscard = spec::VIRTIO_BLK_T_DISCARD;
constexpr std::uint32_t kZeroes = spec::VIRTIO_BLK_T_WRITE_ZEROES;

/// Discard or write zeroes, `count` times the same range.
void ranges(HostileDriver& d, std::uint32_t type, std::uint64_t sector, std::uint32_t sectors,
            std::uint32_t flags = 0, std::uint32_t count = 1) {
  using Range = spec::VirtioBlkDiscardWriteZeroes;
  for (std::uint32_t i = 0; i < count; ++i) {
    d.memory().put(
        kData + i * sizeof(Range),
        Range{.sector = Le64(sector), .num_sectors = Le32(sectors), .flags = Le32(flags)});
  }
  d.submit_request(0, type, 0, static_cast<std::uint32_t>(count * sizeof(Range)));
}

// --- 13: arithmetic on sectors and counts [CVE-2019-18960; a WriteZeroes overflow elsewhere] ---

const HostileCase kArithmetic[] = {
    {"ReadAtTheLargestSector", End::kIoError,
     [](HostileDriver& d) { d.submit_request(0, kIn, kMost, kSector); }},
    {"ReadWhereBytesWrapToZero", End::kIoError,
     [](HostileDriver& d) { d.submit_request(0, kIn, kWraps, kSector); }},
    {"ReadWhereBytesWrapOntoTheDisk", End::kIoError,
     [](HostileDriver& d) { d.submit_request(0, kIn, kWraps + 8, kSector); }},
    {"ReadWhereTheEndWraps", End::kIoError,
     [](HostileDriver& d) { d.submit_request(0, kIn, kWraps - 1, 2 * kSector); }},
    {"ReadAtTheEnd", End::kIoError,
     [](HostileDriver& d) { d.submit_request(0, kIn, kSectors, kSector); }},
    {"ReadOverTheEnd", End::kIoError,
     [](HostileDriver& d) { d.submit_request(0, kIn, kSectors - 1, 2 * kSector); }},
    {"ReadTheLastSector", End::kOk,
     [](HostileDriver& d) { d.submit_request(0, kIn, kSectors - 1, kSector); }},
    {"WriteAtTheLargestSector", End::kIoError,
     [](HostileDriver& d) { d.submit_request(0, kOut, kMost, kSector); }},
    {"WriteWhereBytesWrapOntoTheDisk", End::kIoError,
     [](HostileDriver& d) {
       d.submit_request(0, kOut, kWraps + HostileDriver::kCanarySector, kSector);
     }},
    {"WriteOverTheEnd", End::kIoError,
     [](HostileDriver& d) { d.submit_request(0, kOut, kSectors - 1, 2 * kSector); }},
    {"DataIsNoWholeSector", End::kIoError,
     [](HostileDriver& d) { d.submit_request(0, kIn, 0, kSector + 1); }},
    {"DataIsLessThanASector", End::kIoError,
     [](HostileDriver& d) { d.submit_request(0, kOut, 0, kSector - 1); }},
    {"DiscardAtTheLargestSector", End::kIoError,
     [](HostileDriver& d) { ranges(d, kDiscard, kMost, 1); }},
    {"DiscardWhoseEndWraps", End::kIoError,
     [](HostileDriver& d) { ranges(d, kDiscard, kMost - 6, 8); }},
    {"DiscardWhereBytesWrapOntoTheDisk", End::kIoError,
     [](HostileDriver& d) { ranges(d, kDiscard, kWraps + HostileDriver::kCanarySector, 2); }},
    {"DiscardOfMostSectors", End::kIoError,
     [](HostileDriver& d) { ranges(d, kDiscard, 0, 0xffff'ffff); }},
    {"DiscardOfOneSectorTooMany", End::kIoError,
     [](HostileDriver& d) { ranges(d, kDiscard, kSectors - 8, 9); }},
    {"DiscardOfTheLastSectors", End::kOk,
     [](HostileDriver& d) { ranges(d, kDiscard, kSectors - 8, 8); }},
    {"DiscardOfNothing", End::kOk, [](HostileDriver& d) { ranges(d, kDiscard, 0, 0); }},
    {"DiscardOfNothingBeyondTheEnd", End::kIoError,
     [](HostileDriver& d) { ranges(d, kDiscard, kMost, 0); }},
    {"DiscardWithoutRanges", End::kIoError,
     [](HostileDriver& d) { d.submit(0, {d.header(kDiscard), d.status_byte()}); }},
    {"DiscardWithHalfARange", End::kIoError,
     [](HostileDriver& d) { d.submit_request(0, kDiscard, 0, 8); }},
    {"DiscardWithARangeAndAHalf", End::kIoError,
     [](HostileDriver& d) { d.submit_request(0, kDiscard, 0, 24); }},
    {"DiscardOfMoreRangesThanAllowed", End::kIoError,
     [](HostileDriver& d) { ranges(d, kDiscard, 0, 1, 0, 4000); }},
    {"DiscardWithUnmapSet", End::kUnsupported,
     [](HostileDriver& d) { ranges(d, kDiscard, 0, 8, 1); }},
    {"DiscardWithUnknownFlags", End::kUnsupported,
     [](HostileDriver& d) { ranges(d, kDiscard, 0, 8, 0x8000'0000); }},
    {"OneBadRangeOfTwoDiscardsNothing", End::kIoError,
     [](HostileDriver& d) {
       using Range = spec::VirtioBlkDiscardWriteZeroes;
       d.memory().put(kData, Range{.sector = Le64(HostileDriver::kCanarySector),
                                   .num_sectors = Le32(2),
                                   .flags = Le32(0)});
       d.memory().put(kData + sizeof(Range),
                      Range{.sector = Le64(kMost), .num_sectors = Le32(2), .flags = Le32(0)});
       d.submit_request(0, kDiscard, 0, 2 * sizeof(Range));
     }},
    {"ZeroesAtTheLargestSector", End::kIoError,
     [](HostileDriver& d) { ranges(d, kZeroes, kMost, 1); }},
    {"ZeroesWhereBytesWrapOntoTheDisk", End::kIoError,
     [](HostileDriver& d) { ranges(d, kZeroes, kWraps + HostileDriver::kCanarySector, 2); }},
    {"ZeroesOverTheEnd", End::kIoError,
     [](HostileDriver& d) { ranges(d, kZeroes, kSectors - 1, 2); }},
    {"ZeroesOfMostSectors", End::kIoError,
     [](HostileDriver& d) { ranges(d, kZeroes, 1, 0xffff'ffff); }},
    {"ZeroesWithUnknownFlags", End::kUnsupported,
     [](HostileDriver& d) { ranges(d, kZeroes, 0, 8, 2); }},
    {"ZeroesOfTheLastSectors", End::kOk,
     [](HostileDriver& d) { ranges(d, kZeroes, kSectors - 8, 8, 1); }},
    {"FlushWithASector", End::kOk,
     [](HostileDriver& d) {
       d.submit(0, {d.header(spec::VIRTIO_BLK_T_FLUSH, kMost), d.status_byte()});
     }},
    {"IdWithTooLittleRoom", End::kIoError,
     [](HostileDriver& d) {
       d.submit(0, {d.header(spec::VIRTIO_BLK_T_GET_ID), d.writable(kData, 19), d.status_byte()});
     }},
    {"IdWithTooMuchRoom", End::kOk,
     [](HostileDriver& d) {
       d.submit(0,
                {d.header(spec::VIRTIO_BLK_T_GET_ID), d.writable(kData, 40000), d.status_byte()});
     }},
    {"SecureEraseIsNotThere", End::kUnsupported,
     [](HostileDriver& d) { ranges(d, spec::VIRTIO_BLK_T_SECURE_ERASE, 0, 8); }},
    {"LifetimeIsNotThere", End::kUnsupported,
     [](HostileDriver& d) {
       d.submit(
           0, {d.header(spec::VIRTIO_BLK_T_GET_LIFETIME), d.writable(kData, 40), d.status_byte()});
     }},
    {"UnknownType", End::kUnsupported,
     [](HostileDriver& d) { d.submit_request(0, 0xffff'ffff, 0, kSector); }},
    {"LegacyBarrierFlag", End::kUnsupported,
     [](HostileDriver& d) { d.submit_request(0, 0x8000'0000 | kIn, 0, kSector); }},
    {"HeaderIsShort", End::kIoError,
     [](HostileDriver& d) {
       airlock_descriptor header = d.header(kIn);
       header.length = 15;
       d.submit(0, {header, d.writable(kData, kSector), d.status_byte()});
     }},
    {"HeaderInSixteenPieces", End::kBroken,  // one more than the queue has
     [](HostileDriver& d) {
       static_cast<void>(d.header(kIn));
       std::vector<airlock_descriptor> chain;
       for (std::uint64_t i = 0; i < 16; ++i)
         chain.push_back(d.readable(HostileDriver::kHeader + i, 1));
       chain.back().flags |= AIRLOCK_DESC_NEXT;
       d.submit(0, chain);
     }},
    {"HeaderInPieces", End::kOk,
     [](HostileDriver& d) {
       static_cast<void>(d.header(kIn));
       d.submit(0,
                {d.readable(HostileDriver::kHeader, 1), d.readable(HostileDriver::kHeader + 1, 6),
                 d.readable(HostileDriver::kHeader + 7, 9), d.writable(kData, 100),
                 d.writable(kData + 100, 412), d.status_byte()});
     }},
};
AIRLOCK_HOSTILE_CLASS(Arithmetic, kArithmetic);

// --- 14: what was not agreed upon ---

constexpr AttackTarget::Options kOffsets{.offer = pci::AddressOffer::kOffset};
constexpr AttackTarget::Options kOffersRings{.ring_features =
                                                 spec::feature(spec::VIRTIO_F_INDIRECT_DESC) |
                                                 spec::feature(spec::VIRTIO_F_EVENT_IDX) |
                                                 spec::feature(spec::VIRTIO_F_IN_ORDER)};
constexpr HostileManner kAcceptsEventIdx{.accept = spec::feature(spec::VIRTIO_F_EVENT_IDX)};

/// FEATURES_OK has to be withheld: what a driver may not accept.
void refuses(HostileDriver& d, std::uint64_t features, std::uint32_t beyond = 0) {
  EXPECT_FALSE(d.negotiate(features, beyond));
  // Going on all the same starts nothing.
  d.set_status(0xf);
  EXPECT_EQ(d.status() & spec::VIRTIO_CONFIG_S_DRIVER_OK, 0);
}

void accepts_also(HostileDriver& d, unsigned bit) {
  EXPECT_EQ(d.offered() & spec::feature(bit), 0U);
  refuses(d, d.features() | spec::feature(bit));
}

std::uint16_t vector_of(const HostileDriver& d) {
  return d.queue_registers(d.queue()).vector;
}

const HostileCase kNegotiationCases[] = {
    {"PackedLayoutInASplitRing", End::kBroken,
     [](HostileDriver& d) {
       // As a packed driver would: id where next is, and the flags behind it.
       const std::uint64_t at = HostileDriver::kRings + HostileDriver::kRingBytes * d.queue();
       const ring::DescriptorWriter ring(MUST(d.memory().slice(at, 256)));
       ring.put(0, {.address = d.address(HostileDriver::kHeader),
                    .length = 16,
                    .flags = 1,
                    .next = spec::VIRTQ_DESC_F_AVAIL});
       d.offer(d.queue(), 0);
     }},
    {"PackedFlags", End::kBroken,
     [](HostileDriver& d) {
       airlock_descriptor one = d.single();
       one.flags |= spec::VIRTQ_DESC_F_AVAIL;
       d.submit({one});
     }},
    {"UsedEventIsOnlyAWord", End::kGoesOn,
     [](HostileDriver& d) {
       d.avail(d.queue()).set_used_event(ring::RingIndex(0x8000));
       static_cast<void>(d.take_interrupt(vector_of(d)));
       EXPECT_TRUE(d.works());
       EXPECT_TRUE(eventually([&] { return d.take_interrupt(vector_of(d)); }))
           << "it was listened to";
     }},
    {"UsedEventFarAway", End::kGoesOn,
     [](HostileDriver& d) {
       for (const unsigned event : {0U, 1U, 0x7fffU, 0x8000U, 0xffffU}) {
         d.avail(d.queue()).set_used_event(ring::RingIndex(static_cast<std::uint16_t>(event)));
         EXPECT_TRUE(d.works());
       }
     },
     kOffersRings, kAcceptsEventIdx},
    {"UsedEventThatIsDue", End::kGoesOn,
     [](HostileDriver& d) {
       static_cast<void>(d.take_interrupt(vector_of(d)));
       d.avail(d.queue()).set_used_event(ring::RingIndex(d.used_index(d.queue())));
       EXPECT_TRUE(d.works());
       EXPECT_TRUE(eventually([&] { return d.take_interrupt(vector_of(d)); }));
     },
     kOffersRings, kAcceptsEventIdx},
    {"OffsetsInBusMode", End::kBroken,
     [](HostileDriver& d) {
       airlock_descriptor one = d.single();
       one.address -= HostileDriver::kBarAddress;
       d.submit({one});
     }},
    {"BusAddressesInOffsetMode", End::kBroken,
     [](HostileDriver& d) {
       airlock_descriptor one = d.single();
       one.address += HostileDriver::kBarAddress;
       d.submit({one});
     },
     kOffsets},
    {"OffsetZero", End::kBroken,  // DMB-DR3
     [](HostileDriver& d) {
       airlock_descriptor one = d.single();
       one.address = 0;
       d.submit({one});
     },
     kOffsets},
    {"OffsetsOutliveAMovedBar", End::kGoesOn,
     [](HostileDriver& d) { d.write(pci::kConfigRegion, 0x18, 0, 8); }, kOffsets},
    {"NotificationData", End::kGoesOn,
     [](HostileDriver& d) {
       for (const std::uint64_t value : {0x1234'0000U, 0x8000'0001U, 0xffff'ffffU})
         d.write(pci::kRegistersBar, pci::kNotifyOffset, value, 4);
     }},
    {"RingResetWasNotAccepted", End::kGoesOn,
     [](HostileDriver& d) {
       d.common(HostileDriver::Common::kQueueSelect, d.queue(), 2);
       d.common(HostileDriver::Common::kQueueReset, 1, 2);
       EXPECT_EQ(d.common(HostileDriver::Common::kQueueReset, 2), 0U);
       EXPECT_EQ(d.common(HostileDriver::Common::kQueueEnable, 2), 1U);
     }},
    {"AcceptsPacked", End::kRevives,
     [](HostileDriver& d) { accepts_also(d, spec::VIRTIO_F_RING_PACKED); }},
    {"AcceptsIndirect", End::kRevives,
     [](HostileDriver& d) { accepts_also(d, spec::VIRTIO_F_INDIRECT_DESC); }},
    {"AcceptsSrIov", End::kRevives,
     [](HostileDriver& d) { accepts_also(d, spec::VIRTIO_F_SR_IOV); }},
    {"AcceptsAdminQueue", End::kRevives,
     [](HostileDriver& d) { accepts_also(d, spec::VIRTIO_F_ADMIN_VQ); }},
    {"AcceptsBothDrafts", End::kRevives,
     [](HostileDriver& d) { accepts_also(d, spec::VIRTIO_F_DMB); }},
    {"AcceptsBit63", End::kRevives, [](HostileDriver& d) { accepts_also(d, 63); }},
    {"AcceptsBit64", End::kRevives, [](HostileDriver& d) { refuses(d, d.features(), 1); }},
    {"AcceptsEverything", End::kRevives,
     [](HostileDriver& d) { refuses(d, ~std::uint64_t{0}, 0xffff'ffff); }},
    {"AcceptsNothing", End::kRevives, [](HostileDriver& d) { refuses(d, 0); }},
    {"IsALegacyDriver", End::kRevives,
     [](HostileDriver& d) { refuses(d, d.features() & ~spec::feature(spec::VIRTIO_F_VERSION_1)); }},
    {"DeclinesTheRegion", End::kRevives,  // GEN-DV1
     [](HostileDriver& d) { refuses(d, d.features() & ~spec::feature(spec::VIRTIO_F_SWIOTLB)); }},
    {"DeclinesThePlatformInOffsetMode", End::kRevives,  // DMB-D2
     [](HostileDriver& d) {
       refuses(d, d.features() & ~spec::feature(spec::VIRTIO_F_ACCESS_PLATFORM));
     },
     kOffsets},
};
AIRLOCK_HOSTILE_CLASS(NotNegotiated, for_every_type(kNegotiationCases));

// --- 11: double fetch ---

/// Rewrites shared memory from a thread of its own until it ends.
class Rewriter {
 public:
  template <class F>
  explicit Rewriter(F function)
      : thread_([function](const std::stop_token& stop) {
          for (std::uint32_t round = 0; !stop.stop_requested(); ++round)
            function(round);
        }) {}

 private:
  std::jthread thread_;
};

constexpr std::uint32_t kDoubleFetchRounds = 1000 / kRoundsDivisor;

/// Where a descriptor of the queue that is attacked lies, and a field of it.
std::uint64_t entry_at(const HostileDriver& d, std::uint64_t index, std::uint64_t field) {
  return HostileDriver::kRings + HostileDriver::kRingBytes * d.queue() +
         index * AIRLOCK_DESC_BYTES + field;
}

/// Makes the chain available, waits until it comes back or the queue is broken, and mends that.
void offer_and_look(HostileDriver& d, const std::vector<airlock_descriptor>& chain) {
  const std::uint16_t before = d.used_index(d.queue());
  d.submit(chain);
  bool broken = false;
  ASSERT_TRUE(eventually([&] {
    if (d.used_index(d.queue()) != before) return true;
    broken = (d.status() & spec::VIRTIO_CONFIG_S_NEEDS_RESET) != 0;
    return broken;
  })) << "neither an answer nor a broken queue";
  if (broken) return d.start();
  EXPECT_TRUE(d.wait_used(d.queue()));
}

/// Chains while `rewrite` is at work; what it does to one may break the queue, which is then reset.
/// Each is answered, a disk's with a status that there is, or with DEVICE_NEEDS_RESET.
template <class F>
void under_rewriting(HostileDriver& d, F rewrite) {
  const bool disk = d.target().options().attacked == Attacked::kBlk;
  const std::vector<airlock_descriptor> chain = d.chain();
  const Rewriter rewriter(rewrite);
  for (std::uint32_t round = 0; round < kDoubleFetchRounds; ++round) {
    static_cast<void>(d.status_byte());
    offer_and_look(d, chain);
    const std::uint8_t status = d.status_written();
    // Unwritten where the queue was broken.
    EXPECT_TRUE(!disk || status <= spec::VIRTIO_BLK_S_UNSUPP || status == HostileDriver::kNoStatus)
        << int{status};
  }
}

/// What a header may become: mixed as it likes, it writes nowhere near the canary.
void rewrite_header(const HostileDriver& d, std::uint32_t round) {
  constexpr std::array kTypes{kIn, kOut, spec::VIRTIO_BLK_T_GET_ID, 0xffff'ffffU};
  constexpr std::array kPlaces{std::uint64_t{8}, kMost, kSectors - 1, kWraps + 8};
  d.memory().store_relaxed<Le32>(HostileDriver::kHeader, Le32(kTypes[round % kTypes.size()]));
  d.memory().store_relaxed<Le64>(HostileDriver::kHeader + 8,
                                 Le64(kPlaces[round / 3 % kPlaces.size()]));
}

const HostileCase kDiskDoubleFetch[] = {
    {"OfTheHeader", End::kRevives,
     [](HostileDriver& d) {
       under_rewriting(d, [&d](std::uint32_t round) { rewrite_header(d, round); });
     }},
};
AIRLOCK_HOSTILE_CLASS(DoubleFetchOfADisk, kDiskDoubleFetch);

const HostileCase kFetchCases[] = {
    {"OfTheFirstBytes", End::kRevives,
     [](HostileDriver& d) {
       under_rewriting(d, [&d](std::uint32_t round) {
         constexpr std::array<std::uint32_t, 5> kWords{0, 0xffff'ffff, 2, 0x0001'0001, 44};
         for (std::uint64_t at = 0; at < 44; at += 4)
           d.memory().store_relaxed<Le32>(HostileDriver::kHeader + at,
                                          Le32(kWords[(round + at / 4) % kWords.size()]));
       });
     }},
    {"OfADescriptorsAddress", End::kRevives,
     [](HostileDriver& d) {
       under_rewriting(d, [&d](std::uint32_t round) {
         constexpr std::array kPlaces{HostileDriver::kBarAddress + kData,
                                      HostileDriver::kBarAddress + HostileDriver::kMemoryBytes - 1,
                                      std::uint64_t{0}, kMost};
         d.memory().store_relaxed<Le64>(entry_at(d, 1, 0), Le64(kPlaces[round % kPlaces.size()]));
       });
     }},
    {"OfADescriptorsLength", End::kRevives,
     [](HostileDriver& d) {
       under_rewriting(d, [&d](std::uint32_t round) {
         constexpr std::array<std::uint32_t, 5> kLengths{512, 0, 0xffff'ffff, 513, 0x8'0000};
         d.memory().store_relaxed<Le32>(entry_at(d, 1, 8), Le32(kLengths[round % kLengths.size()]));
       });
     }},
    {"OfADescriptorsFlagsAndNext", End::kRevives,
     [](HostileDriver& d) {
       const std::uint32_t goes_on = d.chain()[1].flags | AIRLOCK_DESC_NEXT;
       under_rewriting(d, [&d, goes_on](std::uint32_t round) {
         const std::array<std::uint32_t, 5> words{
             0x2'0000 | goes_on, 0x1'0000 | goes_on, 0xffff'0000 | goes_on,
             (0x2'0000 | goes_on) ^ AIRLOCK_DESC_WRITE, 0x2'0000 | AIRLOCK_DESC_INDIRECT};
         d.memory().store_relaxed<Le32>(entry_at(d, 1, 12), Le32(words[round % words.size()]));
       });
     }},
    {"OfTheHeadInTheAvailableRing", End::kRevives,
     [](HostileDriver& d) {
       // A view of the same memory, which each start() makes anew for the driver itself.
       const ring::AvailWriter avail = d.avail(d.queue());
       under_rewriting(d, [avail](std::uint32_t round) {
         for (std::uint16_t slot = 0; slot < HostileDriver::kQueueSize; ++slot)
           avail.put(slot, round % 3 == 0 ? 0xffff : 0);
       });
     }},
    {"OfAnIndirectTable",
     End::kRevives,
     [](HostileDriver& d) {
       const airlock_descriptor table = d.table(d.chain());
       const std::uint32_t goes_on = d.chain()[1].flags | AIRLOCK_DESC_NEXT;
       const Rewriter rewriter([&d, goes_on](std::uint32_t round) {
         const std::array<std::uint32_t, 4> words{0x2'0000 | goes_on, 0x1'0000 | goes_on,
                                                  0x2'0000 | goes_on | AIRLOCK_DESC_INDIRECT,
                                                  0xffff'0000 | goes_on};
         d.memory().store_relaxed<Le32>(HostileDriver::kTable + 28,
                                        Le32(words[round % words.size()]));
       });
       for (std::uint32_t round = 0; round < kDoubleFetchRounds; ++round)
         offer_and_look(d, {table});
     },
     kOffersRings,
     {.accept = spec::feature(spec::VIRTIO_F_INDIRECT_DESC)}},
};
AIRLOCK_HOSTILE_CLASS(DoubleFetch, for_every_type(kFetchCases));

}  // namespace
}  // namespace airlock::testing
