// SPDX-License-Identifier: Apache-2.0
//
// Goal: what two stages of translation keep a device from, and what they don't when the hypervisor
// hears of no invalidation. Method: a device of hardware and an emulated one, each a thread, over
// the same tables. SYS-8.
#include <gtest/gtest.h>

#include "compare/two_stage/machine.h"
#include "compare/two_stage/stale_reads.h"

namespace airlock::compare {
namespace {

constexpr std::uint64_t kDevice = 0x20'0000'1000;
constexpr std::uint64_t kGuest = 0x5000;
constexpr std::uint64_t kMachine = 0xb000;
constexpr std::uint64_t kSecret = 0x5ec7e7;

class PageTableTest : public testing::Test {
 protected:
  static constexpr std::uint64_t kFrames = 4;

  shm::SealedMemfd memory_ =
      MUST(shm::SealedMemfd::create({.name = "table", .size = kFrames * kPageBytes}));
  shm::Mapping mapping_ = MUST(memory_.map());
  PageTable table_ = MUST(PageTable::create(mapping_.bytes()));
};

TEST_F(PageTableTest, FindsWhatIsMappedAndNothingElse) {
  const PageEntry entry{.page = kGuest, .use = PageUse::kRead};
  ASSERT_TRUE(table_.map(kDevice, entry));
  EXPECT_EQ(table_.find(kDevice), entry);
  EXPECT_EQ(table_.find(kDevice + kPageBytes - 1), entry);
  EXPECT_EQ(table_.find(kDevice + kPageBytes).use, PageUse::kNone);
  EXPECT_EQ(table_.find(kDevice - 1).use, PageUse::kNone);
  EXPECT_EQ(table_.find(kDevice + PageTable::kAddressEnd).use, PageUse::kNone);
  ASSERT_TRUE(table_.unmap(kDevice));
  EXPECT_EQ(table_.find(kDevice).use, PageUse::kNone);
  EXPECT_TRUE(table_.unmap(kDevice));
}

TEST_F(PageTableTest, RefusesWhatIsNoPageAndWhatItHasNoRoomFor) {
  EXPECT_EQ(table_.map(kDevice + 8, {.page = kGuest}).error().code, Errc::kOutOfRange);
  EXPECT_EQ(table_.map(kDevice, {.page = kGuest + 1}).error().code, Errc::kOutOfRange);
  EXPECT_EQ(table_.map(PageTable::kAddressEnd, {.page = kGuest}).error().code, Errc::kOutOfRange);
  EXPECT_EQ(table_.unmap(PageTable::kAddressEnd).error().code, Errc::kOutOfRange);
  ASSERT_TRUE(table_.map(0, {.page = kGuest, .use = PageUse::kRead}));
  EXPECT_EQ(table_.map(PageTable::kAddressEnd / 2, {.page = kGuest}).error().code, Errc::kPoolFull);
}

// A guest owns its table: whatever it holds, a walk stays in it.
TEST_F(PageTableTest, ATableOfLiesLeadsNowhereElse) {
  for (std::uint64_t at = 0; at < mapping_.bytes().size(); at += sizeof(Le64))
    mapping_.bytes().store_relaxed<Le64>(at, Le64(~std::uint64_t{0} - at * kPageBytes));
  for (std::uint64_t page = 0; page < 1000; ++page)
    EXPECT_EQ(table_.find(page * 0x1234000).use, PageUse::kNone);
  // A frame that names itself: three steps all the same.
  mapping_.bytes().store_relaxed<Le64>(0, Le64(3));
  EXPECT_EQ(table_.find(0), (PageEntry{.page = 0, .use = PageUse::kBoth}));
}

struct Stages {
  PageUse guest = PageUse::kNone;
  PageUse hypervisor = PageUse::kNone;
};
class IntersectionTest : public testing::TestWithParam<std::tuple<int, int>> {};

INSTANTIATE_TEST_SUITE_P(Uses, IntersectionTest,
                         testing::Combine(testing::Range(0, 4), testing::Range(0, 4)));

// SYS-8: what both stages allow, and no more; the first that does not is named.
TEST_P(IntersectionTest, IsWhatADeviceMayDo) {
  const Stages stages{.guest = static_cast<PageUse>(std::get<0>(GetParam())),
                      .hypervisor = static_cast<PageUse>(std::get<1>(GetParam()))};
  const auto machine = MUST(TwoStageMachine::create({}));
  ASSERT_TRUE(machine->place(kGuest, {.page = kMachine, .use = stages.hypervisor}));
  ASSERT_TRUE(machine->map(kDevice, {.page = kGuest, .use = stages.guest}));
  std::vector<TranslationFault> expected;
  for (const bool write : {false, true}) {
    const PageUse wanted = write ? PageUse::kWrite : PageUse::kRead;
    const bool first = (stages.guest & wanted) == wanted;
    const bool both = first && (stages.hypervisor & wanted) == wanted;
    const DeviceAccess access{.address = kDevice + 8, .write = write, .value = 5};
    const auto by_hardware = machine->hardware(access);
    const auto by_software = machine->emulated(access);
    EXPECT_EQ(by_hardware.has_value(), both);
    EXPECT_EQ(by_software.has_value(), both);
    if (both) continue;
    EXPECT_EQ(by_hardware.error().code, Errc::kAddressOutside);
    EXPECT_EQ(by_software.error().code, Errc::kAddressOutside);
    expected.push_back({.address = kDevice + 8, .stage = first ? 2U : 1U, .write = write});
  }
  EXPECT_EQ(machine->hardware_faults(), expected);
}

class TwoStageTest : public testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    ASSERT_TRUE(machine_->place(kGuest, {.page = kMachine, .use = PageUse::kBoth}));
    ASSERT_TRUE(machine_->map(kDevice, {.page = kGuest, .use = PageUse::kBoth}));
  }
  [[nodiscard]] static DeviceAccess read() { return {.address = kDevice}; }

  std::unique_ptr<TwoStageMachine> machine_ =
      MUST(TwoStageMachine::create({.hv_sees_flush = GetParam()}));
};

INSTANTIATE_TEST_SUITE_P(Flush, TwoStageTest, testing::Bool(), [](const auto& flush) {
  return std::string(flush.param ? "Trapped" : "Unseen");
});

// SYS-8: guest, hardware and emulation have one memory.
TEST_P(TwoStageTest, TranslatesThroughBothStages) {
  ASSERT_TRUE(machine_->store(kGuest + 16, 1));
  EXPECT_EQ(MUST(machine_->hardware({.address = kDevice + 16})), 1U);
  ASSERT_TRUE(machine_->hardware({.address = kDevice + 16, .write = true, .value = 2}));
  EXPECT_EQ(MUST(machine_->emulated({.address = kDevice + 16})), 2U);
  ASSERT_TRUE(machine_->emulated({.address = kDevice + 16, .write = true, .value = 3}));
  EXPECT_EQ(MUST(machine_->load(kGuest + 16)), 3U);
  EXPECT_FALSE(machine_->load(kGuest + kPageBytes));
  EXPECT_FALSE(machine_->hardware({.address = kDevice + 17}));
}

// SYS-8: the hardware's queue is the hardware's, whoever else hears of it.
TEST_P(TwoStageTest, HardwareForgetsWhatWasUnmapped) {
  ASSERT_TRUE(machine_->hardware(read()));
  ASSERT_TRUE(machine_->unmap(kDevice));
  ASSERT_TRUE(machine_->store(kGuest, kSecret));
  EXPECT_EQ(machine_->hardware(read()).error().code, Errc::kAddressOutside);
  EXPECT_EQ(machine_->hardware_faults(), (std::vector{TranslationFault{.address = kDevice}}));
}

// SYS-8: why the guest waits for an invalidation. A table alone takes nothing back.
TEST_P(TwoStageTest, ControlWithoutAnInvalidationHardwareReadsOn) {
  ASSERT_TRUE(machine_->hardware(read()));
  ASSERT_TRUE(machine_->map(kDevice, {}));
  ASSERT_TRUE(machine_->store(kGuest, kSecret));
  EXPECT_EQ(MUST(machine_->hardware(read())), kSecret);
}

// SYS-8: the emulated device has a stale translation unless the flush traps.
TEST_P(TwoStageTest, TheEmulatedDeviceForgetsIfTheFlushTraps) {
  ASSERT_TRUE(machine_->emulated(read()));
  ASSERT_TRUE(machine_->unmap(kDevice));
  ASSERT_TRUE(machine_->store(kGuest, kSecret));
  const auto stale = machine_->emulated(read());
  const bool trapped = GetParam();
  EXPECT_EQ(stale.has_value(), !trapped);
  EXPECT_EQ(stale.value_or(kSecret), kSecret);
  EXPECT_EQ(machine_->traps(), trapped ? 1U : 0U);
  // It writes there as well.
  EXPECT_EQ(machine_->emulated({.address = kDevice, .write = true, .value = 1}).has_value(),
            !trapped);
  EXPECT_EQ(MUST(machine_->load(kGuest)), trapped ? kSecret : 1U);
}

// SYS-8: what `airlock compare` prints.
TEST_P(TwoStageTest, StaleReadsAreCounted) {
  const StaleReads reads =
      MUST(measure_stale_reads({.hv_sees_flush = GetParam()}, std::chrono::milliseconds(10)));
  EXPECT_GT(reads.unmaps, 0U);
  EXPECT_GT(reads.unmap_ns, 0U);
  EXPECT_EQ(reads.hardware, 0U);
  EXPECT_EQ(reads.emulated, GetParam() ? 0U : reads.unmaps);
  EXPECT_EQ(reads.traps, GetParam() ? reads.unmaps : 0U);
}

}  // namespace
}  // namespace airlock::compare
