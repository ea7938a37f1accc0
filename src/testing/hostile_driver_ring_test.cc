// SPDX-License-Identifier: Apache-2.0
//
// Goal: nothing that a driver writes into its rings gets the device beyond what it may touch, makes
// it loop or stop, or keeps it from being reset: classes 1 to 6 of attacks. Method: a table of
// lies. The numbers in brackets are flaws that other devices had of the kind.
#include "spec/virtio.h"
#include "testing/hostile_driver_case.h"

namespace airlock::testing {
namespace {

constexpr std::uint16_t kSize = HostileDriver::kQueueSize;
constexpr std::uint64_t kBase = HostileDriver::kBarAddress;
constexpr std::uint64_t kEnd = kBase + HostileDriver::kMemoryBytes;
constexpr std::uint64_t kData = HostileDriver::kData;
constexpr std::uint32_t kSector = 512;
constexpr std::uint32_t kIn = spec::VIRTIO_BLK_T_IN;
constexpr std::uint32_t kOut = spec::VIRTIO_BLK_T_OUT;

/// An honest read of a sector, for one lie to be told about it.
std::vector<airlock_descriptor> read_chain(const HostileDriver& d) {
  return {d.header(kIn), d.writable(kData, kSector), d.status_byte()};
}

std::vector<airlock_descriptor> write_chain(const HostileDriver& d) {
  return {d.header(kOut), d.readable(kData, kSector), d.status_byte()};
}

/// A read whose data is said to be anywhere.
void read_to(HostileDriver& d, std::uint64_t address, std::uint32_t length) {
  auto chain = read_chain(d);
  chain[1].address = address;
  chain[1].length = length;
  d.submit(0, chain);
}

/// A write whose data is said to be anywhere.
void write_from(HostileDriver& d, std::uint64_t address, std::uint32_t length) {
  auto chain = write_chain(d);
  chain[1].address = address;
  chain[1].length = length;
  d.submit(0, chain);
}

/// A request with an honest chain but for one descriptor's flags and next.
void relink(HostileDriver& d, std::uint32_t index, std::uint16_t flags, std::uint16_t next) {
  const auto chain = read_chain(d);
  d.put_chain(0, chain);
  airlock_descriptor lie = chain[index];
  lie.flags = flags;
  lie.next = next;
  d.put(0, index, lie);
  d.offer(0, 0);
}

constexpr std::uint16_t kNext = AIRLOCK_DESC_NEXT;
constexpr std::uint16_t kWrite = AIRLOCK_DESC_WRITE;
constexpr std::uint16_t kIndirect = AIRLOCK_DESC_INDIRECT;

// --- 1: an index out of range [CVE-2011-2512, CVE-2020-14378] ---

const HostileCase kIndexOutOfRange[] = {
    {"HeadEqualsQueueSize", End::kBroken, [](HostileDriver& d) { d.offer(0, kSize); }},
    {"HeadIsTheLargestNumber", End::kBroken, [](HostileDriver& d) { d.offer(0, 0xffff); }},
    {"HeadIsNegative", End::kBroken, [](HostileDriver& d) { d.offer(0, 0x8000); }},
    {"HeadIsOneOfTheOtherHalf", End::kBroken, [](HostileDriver& d) { d.offer(0, kSize * 2); }},
    {"LastHeadThereIs", End::kOk,
     [](HostileDriver& d) {
       const auto chain = read_chain(d);
       d.put_chain(0, chain);
       airlock_descriptor first = chain[0];
       first.flags = kNext;
       first.next = 1;
       d.put(0, kSize - 1, first);
       d.offer(0, kSize - 1);
     }},
    {"NextEqualsQueueSize", End::kBroken, [](HostileDriver& d) { relink(d, 0, kNext, kSize); }},
    {"NextIsTheLargestNumber", End::kBroken, [](HostileDriver& d) { relink(d, 0, kNext, 0xffff); }},
    {"NextOfAWritableOneIsOutside", End::kBroken,
     [](HostileDriver& d) { relink(d, 1, kNext | kWrite, kSize + 1); }},
    {"NextIsIgnoredWhereTheChainEnds", End::kOk,
     [](HostileDriver& d) { relink(d, 2, kWrite, 0xffff); }},
    {"SameHeadTwiceInOneGo", End::kBroken,
     [](HostileDriver& d) {
       d.target().gate().shut();
       d.put_chain(0, read_chain(d));
       d.avail(0).put(0, 0);
       d.avail(0).put(1, 0);
       d.jump(0, 2);
       static_cast<void>(
           eventually([&] { return (d.status() & spec::VIRTIO_CONFIG_S_NEEDS_RESET) != 0; }));
       d.target().gate().open();
     }},
};
AIRLOCK_HOSTILE_CLASS(IndexOutOfRange, kIndexOutOfRange);

// --- 2: chains that loop, or are too long [CVE-2022-2132] ---

const HostileCase kChainShape[] = {
    {"LoopOfOne", End::kBroken, [](HostileDriver& d) { relink(d, 0, kNext, 0); }},
    {"LoopOfTwo", End::kBroken, [](HostileDriver& d) { relink(d, 1, kNext | kWrite, 1); }},
    {"LoopBackToTheHead", End::kBroken, [](HostileDriver& d) { relink(d, 2, kNext | kWrite, 0); }},
    {"LoopThroughTheWholeTable", End::kBroken,
     [](HostileDriver& d) {
       for (std::uint16_t i = 0; i < kSize; ++i) {
         airlock_descriptor one = d.readable(kData, 16);
         one.flags = kNext;
         one.next = static_cast<std::uint16_t>((i + 1) % kSize);
         d.put(0, i, one);
       }
       d.offer(0, 0);
     }},
    {"LongestThereIs", End::kIoError,  // data in pieces that are no sectors
     [](HostileDriver& d) {
       std::vector<airlock_descriptor> chain{d.header(kOut)};
       while (chain.size() < kSize - 1U)
         chain.push_back(d.readable(kData, 1));
       chain.push_back(d.status_byte());
       d.submit(0, chain);
     }},
    {"LongestThereIsWithAllSectors", End::kOk,
     [](HostileDriver& d) {
       std::vector<airlock_descriptor> chain{d.header(kIn)};
       while (chain.size() < kSize - 1U)
         chain.push_back(d.writable(kData + kSector * chain.size(), kSector));
       chain.push_back(d.status_byte());
       d.submit(0, chain);
     }},
    {"OnlyTheStatus", End::kIoError, [](HostileDriver& d) { d.submit(0, {d.status_byte()}); }},
    {"TwoHeadsShareATail", End::kGoesOn,
     [](HostileDriver& d) {
       d.put_chain(0, read_chain(d));
       airlock_descriptor other = d.header(kIn);
       other.flags = kNext;
       other.next = 1;
       d.put(0, 5, other);
       d.offer(0, 0);
       d.offer(0, 5);
       EXPECT_TRUE(d.wait_used(0));
       EXPECT_TRUE(d.wait_used(0));
     }},
};
AIRLOCK_HOSTILE_CLASS(ChainShape, kChainShape);

// --- 3: addresses and lengths [CVE-2024-11614] ---

const HostileCase kAddressAndLength[] = {
    {"AddressZero", End::kBroken, [](HostileDriver& d) { read_to(d, 0, kSector); }},
    {"AddressAtTheEnd", End::kBroken, [](HostileDriver& d) { read_to(d, kEnd, kSector); }},
    {"AddressBeforeTheStart", End::kBroken, [](HostileDriver& d) { read_to(d, kBase - 1, 1); }},
    {"SpansTheStart", End::kBroken, [](HostileDriver& d) { read_to(d, kBase - 256, kSector); }},
    {"SpansTheEnd", End::kBroken, [](HostileDriver& d) { read_to(d, kEnd - 511, kSector); }},
    {"SpansTheEndReading", End::kBroken,
     [](HostileDriver& d) { write_from(d, kEnd - 511, kSector); }},
    {"SumWrapsToZero", End::kBroken,
     [](HostileDriver& d) { read_to(d, ~std::uint64_t{0} - kSector + 1, kSector); }},
    {"SumWrapsIntoTheRegion", End::kBroken,
     [](HostileDriver& d) { read_to(d, kBase + kData - 0x1'0000'0000, 0xffff'ffff); }},
    {"AddressIsTheLargest", End::kBroken,
     [](HostileDriver& d) { read_to(d, ~std::uint64_t{0}, kSector); }},
    {"AddressIsWhereRegisterBarIs", End::kBroken,
     [](HostileDriver& d) { read_to(d, 0xf000'0000, kSector); }},
    {"AddressIsInGuestMemory", End::kBroken,
     [](HostileDriver& d) { read_to(d, 0x10'0000, kSector); }},
    {"AddressTruncatedTo32Bits", End::kBroken,
     [](HostileDriver& d) { read_to(d, static_cast<std::uint32_t>(kBase + kData), kSector); }},
    {"AddressWithHighBitsSet", End::kBroken,
     [](HostileDriver& d) { read_to(d, 0x8000'0000'0000'0000 | (kBase + kData), kSector); }},
    {"LengthZero", End::kBroken, [](HostileDriver& d) { read_to(d, kBase + kData, 0); }},
    {"LengthZeroReading", End::kBroken, [](HostileDriver& d) { write_from(d, kBase + kData, 0); }},
    {"LengthZeroOfTheHeader", End::kBroken,
     [](HostileDriver& d) {
       auto chain = read_chain(d);
       chain[0].length = 0;
       d.submit(0, chain);
     }},
    {"LengthFourGiB", End::kBroken,
     [](HostileDriver& d) { read_to(d, kBase + kData, 0xffff'ffff); }},
    {"LengthNegative", End::kBroken,
     [](HostileDriver& d) { write_from(d, kBase + kData, 0x8000'0000); }},
    {"LengthOneBeyondTheRegion", End::kBroken,
     [](HostileDriver& d) { read_to(d, kBase, HostileDriver::kMemoryBytes + 1); }},
    {"SumOfLengthsIsMoreThan32Bits", End::kBroken,
     [](HostileDriver& d) {
       std::vector<airlock_descriptor> chain{d.header(kOut)};
       chain.push_back(d.readable(kData, 0xffff'0000));
       chain.push_back(d.readable(kData, 0xffff'0000));
       chain.push_back(d.status_byte());
       d.submit(0, chain);
     }},
    {"OverlappingBuffersBeyondTheRegionsSize", End::kBroken,
     [](HostileDriver& d) {
       std::vector<airlock_descriptor> chain{d.header(kOut)};
       while (chain.size() < kSize - 1U)
         chain.push_back(d.readable(kData, HostileDriver::kMemoryBytes / 8));
       chain.push_back(d.status_byte());
       d.submit(0, chain);
     }},
    {"HeaderAtTheLastBytes", End::kGoesOn,
     [](HostileDriver& d) {
       auto chain = read_chain(d);
       chain[0].address = kEnd - 16;  // the guard's bytes: some type that nobody knows
       d.submit(0, chain);
       EXPECT_TRUE(d.wait_used(0));
       EXPECT_EQ(d.status_written(), spec::VIRTIO_BLK_S_UNSUPP);
     }},
    {"HeaderSpansTheEnd", End::kBroken,
     [](HostileDriver& d) {
       auto chain = read_chain(d);
       chain[0].address = kEnd - 15;
       d.submit(0, chain);
     }},
    {"StatusJustOutside", End::kBroken,
     [](HostileDriver& d) {
       auto chain = read_chain(d);
       chain[2].address = kEnd;
       d.submit(0, chain);
     }},
    {"OddAddressesAreFine", End::kOk,
     [](HostileDriver& d) { read_to(d, kBase + kData + 1, kSector); }},
    {"DataOverItsOwnRing", End::kRevives,  // its own harm: the device's answer goes where it says
     [](HostileDriver& d) {
       read_to(d, kBase + HostileDriver::kRings, 0x1000);
       static_cast<void>(d.status());
     }},
    {"DataOverTheOtherQueuesRing", End::kRevives,
     [](HostileDriver& d) {
       read_to(d, kBase + HostileDriver::kRings + HostileDriver::kRingBytes, 0x1000);
       static_cast<void>(d.status());
     }},
};
AIRLOCK_HOSTILE_CLASS(AddressAndLength, kAddressAndLength);

// --- 4: indirect tables, where they were agreed upon and where not [CVE-2020-10723] ---

void table_of(HostileDriver& d, std::uint32_t bytes) {
  airlock_descriptor named = d.table(read_chain(d));
  named.length = bytes;
  d.submit(0, {named});
}

/// The table, with one of its entries changed.
void table_with(HostileDriver& d, std::uint32_t index, const airlock_descriptor& lie) {
  const airlock_descriptor named = d.table(read_chain(d));
  const ring::DescriptorWriter entries(MUST(d.memory().slice(HostileDriver::kTable, 0x1000)));
  entries.put(index, lie);
  d.submit(0, {named});
}

airlock_descriptor with(airlock_descriptor descriptor, std::uint16_t flags, std::uint16_t next) {
  descriptor.flags = flags;
  descriptor.next = next;
  return descriptor;
}

/// With how they end where the feature was agreed upon.
const HostileCase kIndirectCases[] = {
    {"Honest", End::kOk, [](HostileDriver& d) { d.submit(0, {d.table(read_chain(d))}); }},
    {"WithWriteSet", End::kOk,  // 2.7.5.3.2: the flag is ignored there
     [](HostileDriver& d) {
       airlock_descriptor table = d.table(read_chain(d));
       table.flags |= kWrite;
       d.submit(0, {table});
     }},
    {"AfterAHeader", End::kOk,
     [](HostileDriver& d) {
       const auto chain = read_chain(d);
       d.submit(0, {chain[0], d.table({chain[1], chain[2]})});
     }},
    {"WithNext", End::kBroken,
     [](HostileDriver& d) { d.submit(0, {d.table(read_chain(d)), d.status_byte()}); }},
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
    {"LoopInTheTable", End::kBroken,
     [](HostileDriver& d) { table_with(d, 1, with(d.writable(kData, 16), kNext | kWrite, 1)); }},
    {"NextEqualsTheEntries", End::kBroken,
     [](HostileDriver& d) { table_with(d, 1, with(d.writable(kData, 16), kNext | kWrite, 3)); }},
    {"NextIsInTheRingOnly", End::kBroken,
     [](HostileDriver& d) {
       table_with(d, 1, with(d.writable(kData, 16), kNext | kWrite, kSize - 1));
     }},
    {"ReadableAfterWritable", End::kBroken,
     [](HostileDriver& d) { table_with(d, 2, with(d.readable(kData, 16), 0, 0)); }},
    {"EntryOutside", End::kBroken,
     [](HostileDriver& d) {
       airlock_descriptor lie = with(d.writable(kData, kSector), kNext | kWrite, 2);
       lie.address = kEnd;
       table_with(d, 1, lie);
     }},
    {"TableOutside", End::kBroken,
     [](HostileDriver& d) {
       airlock_descriptor table = d.table(read_chain(d));
       table.address = kEnd - 16;
       d.submit(0, {table});
     }},
    {"TableWraps", End::kBroken,
     [](HostileDriver& d) {
       airlock_descriptor table = d.table(read_chain(d));
       table.address = ~std::uint64_t{0} - 15;
       d.submit(0, {table});
     }},
    {"TwoTables", End::kBroken,
     [](HostileDriver& d) {
       const airlock_descriptor table = d.table(read_chain(d));
       d.submit(0, {table, table});
     }},
    {"TableIsTheRing", End::kBroken,  // entry 0 of it is itself: nested
     [](HostileDriver& d) {
       airlock_descriptor table = d.table(read_chain(d));
       table.address = d.queue_registers(0).descriptors;
       d.submit(0, {table});
     }},
};

std::vector<HostileCase> indirect_cases(bool negotiated) {
  std::vector<HostileCase> cases(std::begin(kIndirectCases), std::end(kIndirectCases));
  for (HostileCase& one : cases) {
    one.target.ring_features = spec::feature(spec::VIRTIO_F_INDIRECT_DESC);
    if (negotiated) {
      one.manner.accept = spec::feature(spec::VIRTIO_F_INDIRECT_DESC);
    } else {
      one.end = End::kBroken;
    }
  }
  return cases;
}

// INDIRECT without the feature is a flag that nobody knows. VIRTIO 1.3, 2.7.5.3.1.
const auto kIndirectNotNegotiated = indirect_cases(false);
const auto kIndirectNegotiated = indirect_cases(true);
AIRLOCK_HOSTILE_CLASS(IndirectNotNegotiated, kIndirectNotNegotiated);
AIRLOCK_HOSTILE_CLASS(IndirectNegotiated, kIndirectNegotiated);

// --- 5: directions ---

const HostileCase kDirection[] = {
    {"ReadableAfterWritable", End::kBroken,
     [](HostileDriver& d) {
       d.submit(0, {d.header(kIn), d.status_byte(), d.readable(kData, kSector)});
     }},
    {"HeaderIsWritable", End::kIoError,  // there is no header then
     [](HostileDriver& d) {
       auto chain = read_chain(d);
       chain[0].flags = kWrite;
       d.submit(0, chain);
     }},
    {"StatusIsReadable", End::kBroken,  // nowhere to answer
     [](HostileDriver& d) {
       auto chain = write_chain(d);
       chain[2].flags = 0;
       d.submit(0, chain);
     }},
    {"OnlyReadable", End::kBroken, [](HostileDriver& d) { d.submit(0, {d.header(kOut)}); }},
    {"ReadWithReadableData", End::kOk,  // a read of nothing
     [](HostileDriver& d) {
       auto chain = read_chain(d);
       chain[1].flags = 0;
       d.submit(0, chain);
     }},
    {"WriteWithWritableData", End::kOk,  // a write of nothing; the data's room is zeroed
     [](HostileDriver& d) {
       auto chain = write_chain(d);
       chain[1].flags = kWrite;
       // The last byte of the writable part is the status.
       d.submit(0, chain);
     }},
    {"UnknownFlags", End::kBroken,
     [](HostileDriver& d) {
       auto chain = read_chain(d);
       chain[1].flags |= 0x8;
       d.submit(0, chain);
     }},
    {"AllFlags", End::kBroken,
     [](HostileDriver& d) {
       auto chain = read_chain(d);
       chain[1].flags = 0xffff;
       d.submit(0, chain);
     }},
    {"DataAndStatusAreTheSameByte", End::kOk,  // the status is written last
     [](HostileDriver& d) {
       auto chain = read_chain(d);
       chain[1] = d.writable(HostileDriver::kStatus - kSector + 1, kSector);
       d.submit(0, chain);
     }},
    {"StatusOverTheHeader", End::kGoesOn,
     [](HostileDriver& d) {
       auto chain = read_chain(d);
       chain[2] = d.writable(HostileDriver::kHeader, 1);
       d.submit(0, chain);
       EXPECT_TRUE(d.wait_used(0));
     }},
};
AIRLOCK_HOSTILE_CLASS(Direction, kDirection);

// --- 6: jumps of avail.idx ---

const HostileCase kAvailIndex[] = {
    {"JumpsByMoreThanTheQueue", End::kBroken, [](HostileDriver& d) { d.jump(0, kSize + 1); }},
    {"JumpsByHalfOfAll", End::kBroken, [](HostileDriver& d) { d.jump(0, 0x8000); }},
    {"GoesBackByOne", End::kBroken, [](HostileDriver& d) { d.jump(0, 0xffff); }},
    {"GoesBackAfterARequest", End::kBroken,
     [](HostileDriver& d) {
       EXPECT_TRUE(d.works());
       d.jump(0, 0xffff);
     }},
    {"JumpsWhileARequestIsInFlight", End::kBroken,
     [](HostileDriver& d) {
       d.target().gate().shut();
       d.submit_request(0, kIn, 0, kSector);
       EXPECT_TRUE(eventually([&] { return d.target().gate().in_flight() == 1; }));
       d.jump(0, kSize + 1);
       EXPECT_TRUE(
           eventually([&] { return (d.status() & spec::VIRTIO_CONFIG_S_NEEDS_RESET) != 0; }));
       d.target().gate().open();
     }},
    {"JumpsByTheWholeQueueWithOneHead", End::kBroken,  // the head is in flight already
     [](HostileDriver& d) {
       d.target().gate().shut();
       d.put_chain(0, read_chain(d));
       d.jump(0, kSize);
       static_cast<void>(
           eventually([&] { return (d.status() & spec::VIRTIO_CONFIG_S_NEEDS_RESET) != 0; }));
       d.target().gate().open();
     }},
    {"SixteenRequestsAtOnce", End::kGoesOn,
     [](HostileDriver& d) {
       for (std::uint16_t head = 0; head < kSize; ++head) {
         d.put(0, head, d.status_byte());  // a status is all that a request needs
         d.avail(0).put(head, head);
       }
       d.jump(0, kSize);
       for (std::uint16_t i = 0; i < kSize; ++i)
         EXPECT_TRUE(d.wait_used(0));
     }},
    {"NotifiesWithoutAnything", End::kGoesOn,
     [](HostileDriver& d) {
       for (int i = 0; i < 100; ++i)
         d.notify(0);
     }},
    {"AvailFlagsAreNonsense", End::kGoesOn, [](HostileDriver& d) { d.avail(0).set_flags(0xfffe); }},
};
AIRLOCK_HOSTILE_CLASS(AvailIndex, kAvailIndex);

// --- the same where the rings have more features ---

/// Classes 1, 2, 5 and 6 once more: in order, and with event indices.
std::vector<HostileCase> in_order_cases() {
  constexpr std::uint64_t kFeatures =
      spec::feature(spec::VIRTIO_F_EVENT_IDX) | spec::feature(spec::VIRTIO_F_IN_ORDER);
  std::vector<HostileCase> cases;
  for (const std::span<const HostileCase> some :
       {std::span<const HostileCase>(kIndexOutOfRange), std::span<const HostileCase>(kChainShape),
        std::span<const HostileCase>(kDirection), std::span<const HostileCase>(kAvailIndex)}) {
    for (HostileCase one : some) {
      // The names of the classes' cases differ, but for this.
      if (some.data() == kDirection) one.name = "Direction" + one.name;
      one.target.ring_features = kFeatures;
      one.manner.accept = kFeatures;
      cases.push_back(one);
    }
  }
  return cases;
}
const auto kInOrder = in_order_cases();
AIRLOCK_HOSTILE_CLASS(InOrder, kInOrder);

}  // namespace
}  // namespace airlock::testing
