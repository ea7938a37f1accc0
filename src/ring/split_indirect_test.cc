// SPDX-License-Identifier: Apache-2.0
//
// Goal: indirect tables on both sides of a split queue: the device follows none that breaks a rule,
// the driver writes good ones and never looks at them again. Method: each lie beside its honest
// twin, in both address modes. VIRTIO 1.3, 2.7.5.3.
#include <set>

#include "spec/virtio_ring.h"
#include "testing/split_device_fixture.h"
#include "testing/split_driver_fixture.h"

namespace airlock::ring {
namespace {

using spec::VIRTQ_DESC_F_INDIRECT;
using spec::VIRTQ_DESC_F_NEXT;
using spec::VIRTQ_DESC_F_WRITE;
using testing::BuiltChain;
using testing::ChainBuilder;

// --- device -----------------------------------------------------------------------------------

class SplitDeviceIndirect : public testing::SplitDeviceFixture {
 protected:
  SplitDeviceIndirect() : SplitDeviceFixture({.indirect = true}) {}

  [[nodiscard]] BuiltChain built() {
    return ChainBuilder(driver_).indirect().readable("abcd").writable(16).build();
  }
  // Makes `chain` available with another descriptor in place of the one that names its table.
  void submit_as(const BuiltChain& chain, const airlock_descriptor& named) {
    driver_.put_descriptor(chain.table().descriptor, named);
    driver_.make_available(chain.head());
  }
  [[nodiscard]] airlock_descriptor naming(const BuiltChain& chain) const {
    return {.address = driver_.address(chain.table().offset),
            .length = chain.table().entries * AIRLOCK_DESC_BYTES,
            .flags = VIRTQ_DESC_F_INDIRECT,
            .next = 0};
  }
};

INSTANTIATE_TEST_SUITE_P(Modes, SplitDeviceIndirect, testing::address_modes(), testing::mode_name);

TEST_P(SplitDeviceIndirect, TakesAChainFromATable) {
  const auto chain = ChainBuilder(driver_).indirect().readable("abcd").writable(16).submit();
  EXPECT_EQ(popped(), Head{chain.head()});
  EXPECT_EQ(chain_.readable_bytes(), 4U);
  EXPECT_EQ(chain_.writable_bytes(), 16U);
  ASSERT_TRUE(chain_.write(0, std::vector<std::byte>(3, std::byte{7})));
  ASSERT_TRUE(queue_.push_used(chain_.head(), 3));
  queue_.publish();
  EXPECT_EQ(driver_.take_used(), (UsedElement{.id = chain.head(), .length = 3}));
  EXPECT_EQ(chain.written()[2], std::byte{7});
}

// VIRTIO 1.3, 2.7.5.3.2: plain descriptors may come before the one that names a table.
TEST_P(SplitDeviceIndirect, TakesATableAfterPlainDescriptors) {
  ChainBuilder(driver_).readable("ab").readable("c").indirect().readable("d").writable(5).submit();
  popped();
  EXPECT_EQ(chain_.readable().size(), 3U);
  EXPECT_EQ(chain_.readable_bytes(), 4U);
  EXPECT_EQ(chain_.writable_bytes(), 5U);
}

// VIRTIO 1.3, 2.7.5.3.2: the WRITE flag of the descriptor that names a table is ignored.
TEST_P(SplitDeviceIndirect, IgnoresWriteOnTheTable) {
  const BuiltChain chain = built();
  airlock_descriptor named = naming(chain);
  named.flags |= VIRTQ_DESC_F_WRITE;
  submit_as(chain, named);
  popped();
  EXPECT_EQ(chain_.readable_bytes(), 4U);
}

// Every slot of the ring may be a chain of its own, of many buffers.
TEST_P(SplitDeviceIndirect, HasAsManyInFlightAsTheQueueHasSlots) {
  std::set<Head> heads;
  for (std::uint32_t i = 0; i < kSlots; ++i) {
    ChainBuilder(driver_).indirect().readable("a").readable("b").writable(1).submit();
    EXPECT_TRUE(heads.insert(popped()).second);
  }
  EXPECT_EQ(queue_.in_flight(), kSlots);
}

// VIRTIO 1.3, 2.7.5.3.1: no longer than the queue, table or not.
TEST_P(SplitDeviceIndirect, TakesATableAsLongAsTheQueue) {
  ChainBuilder builder(driver_);
  builder.indirect();
  for (std::uint32_t i = 0; i < kSlots; ++i)
    builder.readable("x");
  builder.submit();
  popped();
  EXPECT_EQ(chain_.readable().size(), kSlots);
}

TEST_P(SplitDeviceIndirect, BreaksOnATableLongerThanTheQueue) {
  ChainBuilder builder(driver_);
  builder.indirect();
  for (std::uint32_t i = 0; i < kSlots + 1; ++i)
    builder.readable("x");
  builder.submit();
  EXPECT_EQ(code_of_pop(), Errc::kChainTooLong);
}

TEST_P(SplitDeviceIndirect, BreaksOnAChainLongerThanTheQueueInBothTables) {
  ChainBuilder builder(driver_);
  builder.readable("x").indirect();
  for (std::uint32_t i = 0; i < kSlots; ++i)
    builder.readable("x");
  builder.submit();
  EXPECT_EQ(code_of_pop(), Errc::kChainTooLong);
}

// VIRTIO 1.3, 2.7.5.3.1: no table within a table.
TEST_P(SplitDeviceIndirect, BreaksOnATableInATable) {
  const BuiltChain chain = built();
  driver_.put_table_entry(chain.table().offset, 0, naming(chain));
  driver_.make_available(chain.head());
  EXPECT_EQ(code_of_pop(), Errc::kBadFlags);
}

// VIRTIO 1.3, 2.7.5.3.1: INDIRECT and NEXT exclude each other.
TEST_P(SplitDeviceIndirect, BreaksOnATableThatIsNotTheEnd) {
  const BuiltChain chain = built();
  airlock_descriptor named = naming(chain);
  named.flags |= VIRTQ_DESC_F_NEXT;
  submit_as(chain, named);
  EXPECT_EQ(code_of_pop(), Errc::kBadFlags);
}

TEST_P(SplitDeviceIndirect, BreaksOnATableOfOddLengthOrNone) {
  for (const std::uint32_t length : {0U, 8U, 17U}) {
    const BuiltChain chain = built();
    airlock_descriptor named = naming(chain);
    named.length = length;
    queue_ = make();
    driver_.set_avail_index(0);
    submit_as(chain, named);
    EXPECT_EQ(code_of_pop(), Errc::kBadLength) << length;
  }
}

TEST_P(SplitDeviceIndirect, BreaksOnANextOutsideTheTable) {
  const BuiltChain chain = built();
  driver_.put_table_entry(chain.table().offset, 0, descriptor(VIRTQ_DESC_F_NEXT, 2));
  driver_.make_available(chain.head());
  EXPECT_EQ(code_of_pop(), Errc::kBadIndex);
}

TEST_P(SplitDeviceIndirect, BreaksOnALoopInATable) {
  const BuiltChain chain = built();
  driver_.put_table_entry(chain.table().offset, 1, descriptor(VIRTQ_DESC_F_NEXT, 0));
  driver_.put_table_entry(chain.table().offset, 0, descriptor(VIRTQ_DESC_F_NEXT, 1));
  driver_.make_available(chain.head());
  EXPECT_EQ(code_of_pop(), Errc::kChainTooLong);
}

// VIRTIO 1.3, 2.7.4.2.
TEST_P(SplitDeviceIndirect, BreaksOnReadableAfterWritableAcrossTables) {
  ChainBuilder(driver_).writable(1).indirect().readable("x").submit();
  EXPECT_EQ(code_of_pop(), Errc::kBadOrder);
}

// GEN-DR2, DMB-D6: a table's address is one like any other, and so are those in it.
TEST_P(SplitDeviceIndirect, TakesATableAtTheEndOfTheRegion) {
  const BuiltChain chain = built();
  const window::RegionOffset end{region_.bytes().size() - AIRLOCK_DESC_BYTES};
  driver_.put_table_entry(end, 0, descriptor(0));
  airlock_descriptor named = naming(chain);
  named.address = driver_.address(end);
  named.length = AIRLOCK_DESC_BYTES;
  submit_as(chain, named);
  popped();
  EXPECT_EQ(chain_.readable_bytes(), 16U);
}

TEST_P(SplitDeviceIndirect, BreaksOnATableAcrossTheEndOfTheRegion) {
  const BuiltChain chain = built();
  airlock_descriptor named = naming(chain);
  named.address = outside() - AIRLOCK_DESC_BYTES;
  submit_as(chain, named);
  EXPECT_EQ(code_of_pop(), Errc::kAddressOutside);
}

TEST_P(SplitDeviceIndirect, BreaksOnABufferOutsideTheRegionInATable) {
  ChainBuilder(driver_).indirect().raw(outside(), 1, false).submit();
  EXPECT_EQ(code_of_pop(), Errc::kAddressOutside);
}

// A table that changes after its chain was taken changes nothing.
TEST_P(SplitDeviceIndirect, AChainInFlightIgnoresItsTable) {
  const auto chain = ChainBuilder(driver_).indirect().readable("abcd").writable(16).submit();
  popped();
  for (std::uint16_t i = 0; i < chain.table().entries; ++i)
    driver_.put_table_entry(chain.table().offset, i,
                            {.address = outside(), .length = 99, .flags = 0xffff, .next = 99});
  ASSERT_TRUE(queue_.push_used(chain_.head(), 16));
  queue_.publish();
  EXPECT_EQ(driver_.take_used(), (UsedElement{.id = chain.head(), .length = 16}));
}

// --- driver -----------------------------------------------------------------------------------

class SplitDriverIndirect : public testing::SplitDriverFixture {
 protected:
  SplitDriverIndirect() : SplitDriverFixture({.indirect = true}) {}

  // The table that a descriptor of the ring names.
  [[nodiscard]] std::vector<airlock_descriptor> table(const airlock_descriptor& named) const {
    const std::uint64_t zero = std::to_underlying(region_.address(window::RegionOffset{0}));
    const DescriptorReader reader(MUST(region_.bytes().slice(named.address - zero, named.length)));
    std::vector<airlock_descriptor> entries;
    for (std::uint32_t i = 0; i < named.length / AIRLOCK_DESC_BYTES; ++i)
      entries.push_back(reader.snapshot(i));
    return entries;
  }
  void scribble_tables() {
    region_.bytes().copy_in(std::to_underlying(tables_),
                            std::vector<std::byte>(table_bytes_, std::byte{0xff}));
  }
};

INSTANTIATE_TEST_SUITE_P(Modes, SplitDriverIndirect, testing::address_modes(), testing::mode_name);

// VIRTIO 1.3, 2.7.5.3.1: one descriptor in the ring, INDIRECT and not NEXT; in the table no
// INDIRECT; readable before writable.
TEST_P(SplitDriverIndirect, WritesATableAndOneDescriptor) {
  const Token token = MUST(
      queue_.submit(std::array{buffer(16), buffer(4096, 16)}, std::array{buffer(1, 8000)}, 42));
  EXPECT_EQ(queue_.free_slots(), kSlots - 1);
  EXPECT_TRUE(queue_.publish());
  EXPECT_EQ(device_.available(0), std::to_underlying(token));
  const airlock_descriptor named = device_.descriptor(device_.available(0));
  EXPECT_EQ(named.flags, VIRTQ_DESC_F_INDIRECT);
  EXPECT_EQ(named.length, 3 * AIRLOCK_DESC_BYTES);
  const auto entries = table(named);
  const std::uint64_t data = std::to_underlying(region_.address(data_));
  ASSERT_EQ(entries.size(), 3U);
  EXPECT_EQ(entries[0].address, data);
  EXPECT_EQ(entries[0].length, 16U);
  EXPECT_EQ(entries[0].flags, VIRTQ_DESC_F_NEXT);
  EXPECT_EQ(entries[0].next, 1U);
  EXPECT_EQ(entries[1].address, data + 16);
  EXPECT_EQ(entries[1].flags, VIRTQ_DESC_F_NEXT);
  EXPECT_EQ(entries[1].next, 2U);
  EXPECT_EQ(entries[2].address, data + 8000);
  EXPECT_EQ(entries[2].flags, VIRTQ_DESC_F_WRITE);
  EXPECT_EQ(entries[2].next, 0U);
  device_.use(std::to_underlying(token), 1);
  EXPECT_EQ(completed(), (Completion{.token = token, .cookie = 42, .written_bytes = 1}));
  EXPECT_EQ(queue_.free_slots(), kSlots);
}

// One buffer needs no table; what no table holds goes into the ring.
TEST_P(SplitDriverIndirect, UsesATableOnlyWhereItSaves) {
  EXPECT_EQ(queue_.slots_for(1), 1U);
  EXPECT_EQ(queue_.slots_for(2), 1U);
  EXPECT_EQ(queue_.slots_for(kTableEntries), 1U);
  EXPECT_EQ(queue_.slots_for(kTableEntries + 1), kTableEntries + 1U);
  for (const std::uint32_t count : {1U, 2U, 4U, 5U}) {
    const std::uint32_t before = queue_.free_slots();
    const std::vector<Buffer> buffers(count, buffer(1));
    const auto head = std::to_underlying(MUST(queue_.submit(buffers, {}, 0)));
    EXPECT_EQ(queue_.free_slots(), before - queue_.slots_for(count)) << count;
    const bool in_table = (device_.descriptor(head).flags & VIRTQ_DESC_F_INDIRECT) != 0;
    EXPECT_EQ(in_table, count == 2 || count == 4) << count;
  }
}

TEST_P(SplitDriverIndirect, DoesWithoutATableWhereSlotsAreSpare) {
  DriverQueueConfig sparing = config();
  sparing.tables.spare = kSlots - 2;
  auto queue = MUST(SplitDriverQueue::create(sparing, region_.bytes()));
  for (const bool in_table : {false, false, true}) {
    const std::uint32_t before = queue.free_slots();
    const auto head = MUST(queue.submit(std::array{buffer(1), buffer(1)}, {}, 0));
    const auto flags = device_.descriptor(std::to_underlying(head)).flags;
    EXPECT_EQ((flags & VIRTQ_DESC_F_INDIRECT) != 0, in_table);
    EXPECT_EQ(before - queue.free_slots(), in_table ? 1U : 2U);
  }
  // More buffers than slots, though so many are spare: a table again.
  const std::vector<Buffer> all(kTableEntries, buffer(1));
  sparing.tables.spare = 1;
  queue = MUST(SplitDriverQueue::create(sparing, region_.bytes()));
  MUST(queue.submit(all, {}, 0));
  MUST(queue.submit(std::span(all).first(2), {}, 0));
  MUST(queue.submit(all, {}, 0));
  EXPECT_EQ(queue.free_slots(), 1U);
}

// As many requests as slots, each with a table of its own.
TEST_P(SplitDriverIndirect, GivesEachSlotItsOwnTable) {
  std::set<std::uint64_t> tables;
  for (std::uint32_t i = 0; i < kSlots; ++i)
    tables.insert(device_.descriptor(std::to_underlying(submit(i))).address);
  EXPECT_EQ(tables.size(), kSlots);
  EXPECT_EQ(*tables.rbegin() - *tables.begin(), (kSlots - 1) * kTableEntries * AIRLOCK_DESC_BYTES);
  EXPECT_EQ(queue_.free_slots(), 0U);
}

// HD-9: a full queue changes nothing, in the tables neither.
TEST_P(SplitDriverIndirect, AFullQueueChangesNothing) {
  for (std::uint32_t i = 0; i < kSlots; ++i)
    request(i);
  const std::vector<std::byte> before = shared();
  EXPECT_EQ(queue_.submit(std::array{buffer(1), buffer(2)}, {}, 9).error(),
            error(Errc::kQueueFull, 0));
  EXPECT_EQ(shared(), before);
}

// VIRTIO 1.3, 2.7.5.3.1: no chain longer than the queue, tables or not.
TEST_P(SplitDriverIndirect, RefusesAChainLongerThanTheQueue) {
  const std::vector<Buffer> nine(kSlots + 1, buffer(1));
  EXPECT_EQ(queue_.submit(nine, {}, 0).error().code, Errc::kChainTooLong);
  DriverQueueConfig longer = config();
  longer.tables = {.start = region_.allocate(IndirectTables::bytes(size_, 64), 64), .entries = 64};
  auto queue = MUST(SplitDriverQueue::create(longer, region_.bytes()));
  EXPECT_EQ(queue.submit(nine, {}, 0).error().code, Errc::kChainTooLong);
  EXPECT_TRUE(queue.submit(std::span(nine).first(kSlots), {}, 0).has_value());
  EXPECT_EQ(queue.free_slots(), kSlots - 1);
}

// HD-8, DMB-DR5: what a device writes into the tables, or over the descriptor, is nothing to the
// driver.
TEST_P(SplitDriverIndirect, NeverReadsATableBack) {
  for (int round = 0; round < 100; ++round) {
    const std::uint16_t id = request();
    scribble_tables();
    for (std::uint32_t i = 0; i < kSlots; ++i)
      device_.scribble_descriptor(i, {.address = ~0ULL, .length = ~0U, .flags = 0xffff, .next = 3});
    device_.use(id, 16);
    ASSERT_EQ(completed().written_bytes, 16U);
    ASSERT_EQ(queue_.free_slots(), kSlots);
  }
}

// HD-8, HD-3: the bytes that count are those of the private record.
TEST_P(SplitDriverIndirect, BreaksOnMoreBytesThanWereWritableWhateverTheTableSays) {
  const std::uint16_t id = request();
  scribble_tables();
  device_.use(id, 17);
  EXPECT_EQ(broken_by_poll(), error(Errc::kBadLength, 17));
}

// DMB-DR3, GEN-DR2: tables lie in the region, aligned, and not at offset 0.
TEST_P(SplitDriverIndirect, RefusesTablesOutsideTheRegionOrMisaligned) {
  const auto refused = [&](std::uint64_t start) {
    DriverQueueConfig changed = config();
    changed.tables.start = window::RegionOffset{start};
    return SplitDriverQueue::create(changed, region_.bytes()).error().code;
  };
  const std::uint64_t end = region_.bytes().size() - table_bytes_;
  EXPECT_EQ(refused(end + 64), Errc::kOutOfRange);
  EXPECT_EQ(refused(~std::uint64_t{0} - 63), Errc::kOutOfRange);
  EXPECT_EQ(refused(end - 8), Errc::kNotAligned);
  DriverQueueConfig good = config();
  good.tables.start = window::RegionOffset{end};
  EXPECT_TRUE(SplitDriverQueue::create(good, region_.bytes()).has_value());
  if (GetParam() == window::AddressMode::kOffset) {
    EXPECT_EQ(refused(0), Errc::kOutOfRange);
  }
}

// VIRTIO 1.3, 2.7.5.3.1: no table unless negotiated, whatever memory there is for them.
TEST_P(SplitDriverIndirect, UsesNoTableWithoutTheFeature) {
  features_ = {};
  queue_ = MUST(SplitDriverQueue::create(config(), region_.bytes()));
  EXPECT_EQ(queue_.slots_for(2), 2U);
  EXPECT_EQ(device_.descriptor(std::to_underlying(submit())).flags, VIRTQ_DESC_F_NEXT);
}

TEST_P(SplitDriverIndirect, UsesNoTableWithoutMemoryForThem) {
  DriverQueueConfig none = config();
  none.tables = {};
  auto queue = MUST(SplitDriverQueue::create(none, region_.bytes()));
  EXPECT_EQ(queue.slots_for(2), 2U);
}

}  // namespace
}  // namespace airlock::ring
