// SPDX-License-Identifier: Apache-2.0
//
// Goal: nothing that a driver writes into its rings gets a device of any type beyond what it may
// touch, makes it loop or stop, or keeps it from being reset: classes 1 to 6 of attacks. Method: a
// table of lies, told to each kind of queue. The numbers in brackets are flaws that other devices
// had of the kind.
#include "spec/virtio.h"
#include "testing/hostile_driver_case.h"

namespace airlock::testing {
namespace {

constexpr std::uint16_t kSize = HostileDriver::kQueueSize;
constexpr std::uint64_t kData = HostileDriver::kData;
constexpr std::uint32_t kPart = AttackSubject::kDataPartBytes;
constexpr std::uint16_t kNext = AIRLOCK_DESC_NEXT;
constexpr std::uint16_t kWrite = AIRLOCK_DESC_WRITE;
constexpr std::uint16_t kIndirect = AIRLOCK_DESC_INDIRECT;

/// What the driver's memory starts and ends at, as it writes addresses.
std::uint64_t base(const HostileDriver& d) {
  return d.address(0);
}
std::uint64_t end(const HostileDriver& d) {
  return d.address(HostileDriver::kMemoryBytes);
}

/// An honest chain whose data are said to be anywhere.
void data_at(HostileDriver& d, std::uint64_t address, std::uint32_t length) {
  auto chain = d.chain();
  chain[1].address = address;
  chain[1].length = length;
  d.submit(chain);
}

/// A chain that is honest but for where one descriptor leads; `more` is NEXT or nothing.
void relink(HostileDriver& d, std::uint32_t index, std::uint16_t more, std::uint16_t next) {
  const auto chain = d.chain();
  d.put_chain(d.queue(), chain);
  airlock_descriptor lie = chain[index];
  lie.flags |= more;
  lie.next = next;
  d.put(d.queue(), index, lie);
  d.offer(d.queue(), 0);
}

// --- 1: an index out of range [CVE-2011-2512, CVE-2020-14378] ---

const HostileCase kIndexCases[] = {
    {"HeadEqualsQueueSize", End::kBroken, [](HostileDriver& d) { d.offer(d.queue(), kSize); }},
    {"HeadIsTheLargestNumber", End::kBroken, [](HostileDriver& d) { d.offer(d.queue(), 0xffff); }},
    {"HeadIsNegative", End::kBroken, [](HostileDriver& d) { d.offer(d.queue(), 0x8000); }},
    {"HeadIsOneOfTheOtherHalf", End::kBroken,
     [](HostileDriver& d) { d.offer(d.queue(), kSize * 2); }},
    {"LastHeadThereIs", End::kOk,
     [](HostileDriver& d) {
       const auto chain = d.chain();
       d.put_chain(d.queue(), chain);
       airlock_descriptor first = chain[0];
       first.flags |= kNext;
       first.next = 1;
       d.put(d.queue(), kSize - 1, first);
       d.offer(d.queue(), kSize - 1);
     }},
    {"NextEqualsQueueSize", End::kBroken, [](HostileDriver& d) { relink(d, 0, kNext, kSize); }},
    {"NextIsTheLargestNumber", End::kBroken, [](HostileDriver& d) { relink(d, 0, kNext, 0xffff); }},
    {"NextOfTheDataIsOutside", End::kBroken,
     [](HostileDriver& d) { relink(d, 1, kNext, kSize + 1); }},
    {"NextIsIgnoredWhereTheChainEnds", End::kOk, [](HostileDriver& d) { relink(d, 2, 0, 0xffff); }},
};
AIRLOCK_HOSTILE_CLASS(IndexOutOfRange, for_every_queue(kIndexCases));

// --- 2: chains that loop, or are too long [CVE-2022-2132] ---

const HostileCase kShapeCases[] = {
    {"LoopOfOne", End::kBroken, [](HostileDriver& d) { relink(d, 0, kNext, 0); }},
    {"LoopOfTheData", End::kBroken, [](HostileDriver& d) { relink(d, 1, kNext, 1); }},
    {"LoopBackToTheHead", End::kBroken, [](HostileDriver& d) { relink(d, 2, kNext, 0); }},
    {"LoopThroughTheWholeTable", End::kBroken,
     [](HostileDriver& d) {
       for (std::uint16_t i = 0; i < kSize; ++i) {
         airlock_descriptor one = d.readable(kData, 16);
         one.flags = kNext;
         one.next = static_cast<std::uint16_t>((i + 1) % kSize);
         d.put(d.queue(), i, one);
       }
       d.offer(d.queue(), 0);
     }},
    {"LongestThereIs", End::kOk,
     [](HostileDriver& d) {
       auto chain = d.chain();
       const airlock_descriptor data = chain[1];
       while (chain.size() < kSize)
         chain.insert(chain.begin() + 1, data);
       d.submit(chain);
     }},
    {"TwoHeadsShareATail", End::kGoesOn,
     [](HostileDriver& d) {
       const auto chain = d.chain();
       d.put_chain(d.queue(), chain);
       airlock_descriptor other = chain[0];
       other.flags |= kNext;
       other.next = 1;
       d.put(d.queue(), 5, other);
       d.offer(d.queue(), 0);
       d.offer(d.queue(), 5);
       EXPECT_TRUE(d.wait_used(d.queue()));
       EXPECT_TRUE(d.wait_used(d.queue()));
     }},
};
AIRLOCK_HOSTILE_CLASS(ChainShape, for_every_queue(kShapeCases));

// --- 3: addresses and lengths [CVE-2024-11614] ---

const HostileCase kAddressCases[] = {
    {"AddressZero", End::kBroken, [](HostileDriver& d) { data_at(d, 0, kPart); }},
    {"AddressAtTheEnd", End::kBroken, [](HostileDriver& d) { data_at(d, end(d), kPart); }},
    {"AddressBeforeTheStart", End::kBroken, [](HostileDriver& d) { data_at(d, base(d) - 1, 1); }},
    {"SpansTheStart", End::kBroken, [](HostileDriver& d) { data_at(d, base(d) - 256, kPart); }},
    {"SpansTheEnd", End::kBroken, [](HostileDriver& d) { data_at(d, end(d) - 511, kPart); }},
    {"SumWrapsToZero", End::kBroken,
     [](HostileDriver& d) { data_at(d, ~std::uint64_t{0} - kPart + 1, kPart); }},
    {"SumWrapsIntoTheRegion", End::kBroken,
     [](HostileDriver& d) { data_at(d, base(d) + kData - 0x1'0000'0000, 0xffff'ffff); }},
    {"AddressIsTheLargest", End::kBroken,
     [](HostileDriver& d) { data_at(d, ~std::uint64_t{0}, kPart); }},
    {"AddressIsWhereRegisterBarIs", End::kBroken,
     [](HostileDriver& d) { data_at(d, 0xf000'0000, kPart); }},
    {"AddressIsInGuestMemory", End::kBroken,
     [](HostileDriver& d) { data_at(d, 0x10'0000, kPart); }},
    {"AddressOfTheOtherMode", End::kBroken,
     [](HostileDriver& d) {
       data_at(d, base(d) == 0 ? HostileDriver::kBarAddress + kData : kData, kPart);
     }},
    {"AddressWithHighBitsSet", End::kBroken,
     [](HostileDriver& d) { data_at(d, 0x8000'0000'0000'0000 | (base(d) + kData), kPart); }},
    {"LengthZero", End::kBroken, [](HostileDriver& d) { data_at(d, base(d) + kData, 0); }},
    {"LengthZeroOfTheFirst", End::kBroken,
     [](HostileDriver& d) {
       auto chain = d.chain();
       chain[0].length = 0;
       d.submit(chain);
     }},
    {"LengthFourGiB", End::kBroken,
     [](HostileDriver& d) { data_at(d, base(d) + kData, 0xffff'ffff); }},
    {"LengthNegative", End::kBroken,
     [](HostileDriver& d) { data_at(d, base(d) + kData, 0x8000'0000); }},
    {"LengthOneBeyondTheRegion", End::kBroken,
     [](HostileDriver& d) { data_at(d, base(d), HostileDriver::kMemoryBytes + 1); }},
    {"SumOfLengthsIsMoreThan32Bits", End::kBroken,
     [](HostileDriver& d) {
       d.submit({d.readable(kData, 0xffff'0000), d.readable(kData, 0xffff'0000)});
     }},
    {"OverlappingBuffersBeyondTheRegionsSize", End::kBroken,
     [](HostileDriver& d) {
       auto chain = d.chain();
       airlock_descriptor data = chain[1];
       data.length = HostileDriver::kMemoryBytes / 8;
       while (chain.size() < kSize)
         chain.insert(chain.begin() + 1, data);
       d.submit(chain);
     }},
    {"LastPartJustOutside", End::kBroken,
     [](HostileDriver& d) {
       auto chain = d.chain();
       chain[2].address = end(d);
       d.submit(chain);
     }},
    {"OddAddressesAreFine", End::kOk,
     [](HostileDriver& d) { data_at(d, base(d) + kData + 1, kPart); }},
    {"DataOverTheRings", End::kRevives,  // its own harm: the device's answer goes where it says
     [](HostileDriver& d) {
       data_at(d, base(d) + HostileDriver::kRings,
               static_cast<std::uint32_t>(HostileDriver::kRingBytes * d.queues()));
       static_cast<void>(d.target().subject().nudge(d));
       static_cast<void>(d.status());
     }},
};
std::vector<HostileCase> in_offset_mode(std::vector<HostileCase> cases) {
  for (HostileCase& one : cases)
    one.target.offer = pci::AddressOffer::kOffset;
  return cases;
}
AIRLOCK_HOSTILE_CLASS(AddressAndLength, for_every_queue(kAddressCases));
AIRLOCK_HOSTILE_CLASS(OffsetAndLength, in_offset_mode(for_every_queue(kAddressCases)));
AIRLOCK_HOSTILE_CLASS(AddressInPackedRing,
                      with_ring_features(for_every_queue(kAddressCases),
                                         spec::feature(spec::VIRTIO_F_RING_PACKED)));

// --- 4: indirect tables, where they were agreed upon and where not [CVE-2020-10723] ---

void table_of(HostileDriver& d, std::uint32_t bytes) {
  airlock_descriptor named = d.table(d.chain());
  named.length = bytes;
  d.submit({named});
}

/// The table, with one of its entries changed.
void table_with(HostileDriver& d, std::uint32_t index, const airlock_descriptor& lie) {
  const airlock_descriptor named = d.table(d.chain());
  const ring::DescriptorWriter entries(MUST(d.memory().slice(HostileDriver::kTable, 0x1000)));
  entries.put(index, lie);
  d.submit({named});
}

airlock_descriptor with(airlock_descriptor descriptor, std::uint16_t flags, std::uint16_t next) {
  descriptor.flags = flags;
  descriptor.next = next;
  return descriptor;
}

/// An honest data entry that goes on.
airlock_descriptor data_entry(const HostileDriver& d, std::uint16_t next) {
  const airlock_descriptor data = d.chain()[1];
  return with(data, data.flags | kNext, next);
}

/// With how they end where the feature was agreed upon.
const HostileCase kIndirectCases[] = {
    {"Honest", End::kOk, [](HostileDriver& d) { d.submit({d.table(d.chain())}); }},
    {"WithWriteSet", End::kOk,  // 2.7.5.3.2: the flag is ignored there
     [](HostileDriver& d) {
       airlock_descriptor table = d.table(d.chain());
       table.flags |= kWrite;
       d.submit({table});
     }},
    {"AfterAHeader", End::kOk,
     [](HostileDriver& d) {
       const auto chain = d.chain();
       d.submit({chain[0], d.table({chain[1], chain[2]})});
     }},
    {"WithNext", End::kBroken,
     [](HostileDriver& d) { d.submit({d.table(d.chain()), d.writable(kData, 1)}); }},
    {"LengthZero", End::kBroken, [](HostileDriver& d) { table_of(d, 0); }},
    {"LengthOne", End::kBroken, [](HostileDriver& d) { table_of(d, 1); }},
    {"LengthNotAMultipleOf16", End::kBroken, [](HostileDriver& d) { table_of(d, 47); }},
    {"LengthOfMoreThanTheQueue", End::kBroken,
     [](HostileDriver& d) { table_of(d, (kSize + 1) * 16); }},
    {"LengthHuge", End::kBroken, [](HostileDriver& d) { table_of(d, 0xffff'fff0); }},
    {"LengthShorterThanItsChain", End::kBroken, [](HostileDriver& d) { table_of(d, 32); }},
    {"Nested", End::kBroken,
     [](HostileDriver& d) {
       table_with(d, 1, with(d.readable(HostileDriver::kTable, 48), kIndirect, 0));
     }},
    {"NestedWithNext", End::kBroken,
     [](HostileDriver& d) {
       table_with(d, 0, with(d.readable(HostileDriver::kTable, 48), kIndirect | kNext, 1));
     }},
    {"LoopInTheTable", End::kBroken, [](HostileDriver& d) { table_with(d, 1, data_entry(d, 1)); }},
    {"NextEqualsTheEntries", End::kBroken,
     [](HostileDriver& d) { table_with(d, 1, data_entry(d, 3)); }},
    {"NextIsInTheRingOnly", End::kBroken,
     [](HostileDriver& d) { table_with(d, 1, data_entry(d, kSize - 1)); }},
    {"ReadableAfterWritable", End::kBroken,
     [](HostileDriver& d) { d.submit({d.table({d.writable(kData, 16), d.readable(kData, 16)})}); }},
    {"EntryOutside", End::kBroken,
     [](HostileDriver& d) {
       airlock_descriptor lie = data_entry(d, 2);
       lie.address = end(d);
       table_with(d, 1, lie);
     }},
    {"TableOutside", End::kBroken,
     [](HostileDriver& d) {
       airlock_descriptor table = d.table(d.chain());
       table.address = end(d) - 16;
       d.submit({table});
     }},
    {"TableWraps", End::kBroken,
     [](HostileDriver& d) {
       airlock_descriptor table = d.table(d.chain());
       table.address = ~std::uint64_t{0} - 15;
       d.submit({table});
     }},
    {"TwoTables", End::kBroken,
     [](HostileDriver& d) {
       const airlock_descriptor table = d.table(d.chain());
       d.submit({table, table});
     }},
    {"TableIsTheRing", End::kBroken,  // entry 0 of it is itself: nested
     [](HostileDriver& d) {
       airlock_descriptor table = d.table(d.chain());
       table.address = d.queue_registers(d.queue()).descriptors;
       d.submit({table});
     }},
};

constexpr std::uint64_t kIndirectFeature = spec::feature(spec::VIRTIO_F_INDIRECT_DESC);

std::vector<HostileCase> not_negotiated(std::vector<HostileCase> cases) {
  for (HostileCase& one : cases) {
    one.target.ring_features = kIndirectFeature;
    one.end = End::kBroken;
  }
  return cases;
}

// INDIRECT without the feature is a flag that nobody knows. VIRTIO 1.3, 2.7.5.3.1.
AIRLOCK_HOSTILE_CLASS(IndirectNotNegotiated, not_negotiated(for_every_queue(kIndirectCases)));
AIRLOCK_HOSTILE_CLASS(IndirectNegotiated,
                      with_ring_features(for_every_queue(kIndirectCases), kIndirectFeature));

// --- 5: directions ---

const HostileCase kDirectionCases[] = {
    {"ReadableAfterWritable", End::kBroken,
     [](HostileDriver& d) { d.submit({d.writable(kData, kPart), d.readable(kData, kPart)}); }},
    {"UnknownFlags", End::kBroken,
     [](HostileDriver& d) {
       auto chain = d.chain();
       chain[1].flags |= 0x8;
       d.submit(chain);
     }},
    {"AllFlags", End::kBroken,
     [](HostileDriver& d) {
       auto chain = d.chain();
       chain[1].flags = 0xffff;
       d.submit(chain);
     }},
    {"IndirectOfTheData", End::kBroken,
     [](HostileDriver& d) {
       auto chain = d.chain();
       chain[1].flags |= kIndirect;
       d.submit(chain);
     }},
};
AIRLOCK_HOSTILE_CLASS(Direction, for_every_queue(kDirectionCases));

// --- 6: jumps of avail.idx ---

const HostileCase kAvailIndexCases[] = {
    {"JumpsByMoreThanTheQueue", End::kBroken,
     [](HostileDriver& d) { d.jump(d.queue(), kSize + 1); }},
    {"JumpsByHalfOfAll", End::kBroken, [](HostileDriver& d) { d.jump(d.queue(), 0x8000); }},
    {"GoesBackByOne", End::kBroken, [](HostileDriver& d) { d.jump(d.queue(), 0xffff); }},
    {"GoesBackAfterSomeWork", End::kBroken,
     [](HostileDriver& d) {
       EXPECT_TRUE(d.works());
       d.jump(d.queue(), 0xffff);
     }},
    {"SixteenChainsAtOnce", End::kGoesOn,
     [](HostileDriver& d) {
       const airlock_descriptor one = d.single();
       for (std::uint16_t head = 0; head < kSize; ++head) {
         d.put(d.queue(), head, one);
         d.make_available(d.queue(), head);
       }
       d.notify(d.queue());
       for (std::uint16_t i = 0; i < kSize; ++i)
         EXPECT_TRUE(d.wait_used(d.queue()));
     }},
    {"NotifiesWithoutAnything", End::kGoesOn,
     [](HostileDriver& d) {
       for (int i = 0; i < 100; ++i)
         d.notify(d.queue());
     }},
    {"AvailFlagsAreNonsense", End::kGoesOn,
     [](HostileDriver& d) { d.avail(d.queue()).set_flags(0xfffe); }},
};
AIRLOCK_HOSTILE_CLASS(AvailIndex, for_every_queue(kAvailIndexCases));

// --- the same where the rings have more features ---

/// Classes 1, 2, 5 and 6 once more: in order, and with event indices.
std::vector<HostileCase> in_order_cases() {
  std::vector<HostileCase> cases;
  for (const std::span<const HostileCase> some :
       {std::span<const HostileCase>(kIndexCases), std::span<const HostileCase>(kShapeCases),
        std::span<const HostileCase>(kDirectionCases),
        std::span<const HostileCase>(kAvailIndexCases)})
    cases.insert(cases.end(), some.begin(), some.end());
  return with_ring_features(for_every_queue(cases), spec::feature(spec::VIRTIO_F_EVENT_IDX) |
                                                        spec::feature(spec::VIRTIO_F_IN_ORDER));
}
AIRLOCK_HOSTILE_CLASS(InOrder, in_order_cases());

}  // namespace
}  // namespace airlock::testing
