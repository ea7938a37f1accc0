// SPDX-License-Identifier: Apache-2.0
//
// Goal: a window that the bus enforces keeps a card from what it was not given, and a pool serves a
// driver that knows nothing of virtio. Method: a card that has nothing but the bus, over memory
// full of canary words. SYS-12.
#include <gtest/gtest.h>

#include <algorithm>
#include <utility>

#include "compare/locked_bus/card_driver.h"
#include "compare/locked_bus/rogue_reads.h"
#include "compare/models/open.h"
#include "compare/models/pool.h"
#include "compare/models/region.h"

namespace airlock::compare {
namespace {

constexpr std::uint64_t kGuestBytes = std::uint64_t{4} << 20;
constexpr std::uint64_t kFrameAt = 0x100000;
constexpr std::uint64_t kBuffersAt = 0x200000;
constexpr std::uint64_t kKey = 12;

using Bytes = std::vector<std::byte>;

class BusTest : public testing::Test {
 protected:
  static constexpr std::uint64_t kBase = 0x1000;

  void SetUp() override {
    for (std::uint64_t at = 0; at < mapping_.bytes().size(); ++at)
      mapping_.bytes().store_relaxed<std::uint8_t>(at, 1);
    ASSERT_TRUE(bus_.attach(window::BusAddress{kBase}, mapping_.bytes()));
  }
  [[nodiscard]] bool reads(std::uint64_t address, std::uint64_t length) {
    Bytes bytes(length);
    const bool done = bus_.read(address, bytes).has_value();
    EXPECT_EQ(std::ranges::count(bytes, std::byte{1}) > 0, done);
    return done;
  }

  shm::SealedMemfd memory_ = MUST(shm::SealedMemfd::create({.name = "bus", .size = 8192}));
  shm::Mapping mapping_ = MUST(memory_.map());
  Bus bus_;
};

TEST_F(BusTest, WithoutAWindowAllMemoryAnswersAndNothingElse) {
  EXPECT_TRUE(reads(kBase, 8192));
  EXPECT_FALSE(reads(kBase, 8193));
  EXPECT_FALSE(reads(kBase - 1, 2));
  EXPECT_FALSE(reads(~std::uint64_t{0}, 2));
  EXPECT_EQ(bus_.fault_count(), 3U);
  EXPECT_EQ(
      bus_.faults()[0],
      (BusFault{
          .kind = BusFault::Kind::kNothing, .write = false, .address = kBase, .length = 8193}));
  EXPECT_EQ(bus_.attach(window::BusAddress{kBase + 8191}, mapping_.bytes()).error().code,
            Errc::kOutOfRange);
}

// SYS-12: to the byte, in both directions; what is refused is refused whole.
TEST_F(BusTest, AWindowIsHeldAgainstEachTransaction) {
  ASSERT_TRUE(lock_window(bus_, window::BusAddress{kBase + 256}, 512));
  EXPECT_TRUE(reads(kBase + 256, 512));
  EXPECT_FALSE(reads(kBase + 255, 1));
  EXPECT_FALSE(reads(kBase + 256, 513));
  EXPECT_FALSE(reads(kBase + 768, 1));
  const Bytes zeros(16);
  EXPECT_TRUE(bus_.write(kBase + 752, zeros));
  EXPECT_FALSE(bus_.write(kBase + 753, zeros));
  EXPECT_EQ(mapping_.bytes().load_relaxed<std::uint8_t>(767), 0U);
  EXPECT_EQ(mapping_.bytes().load_relaxed<std::uint8_t>(768), 1U);
  EXPECT_EQ(bus_.fault_count(), 4U);
  EXPECT_EQ(
      bus_.faults().back(),
      (BusFault{
          .kind = BusFault::Kind::kOutside, .write = true, .address = kBase + 753, .length = 16}));
}

TEST_F(BusTest, AWindowOfNothingLetsNothingThrough) {
  ASSERT_TRUE(lock_window(bus_, window::BusAddress{kBase}, 0));
  EXPECT_FALSE(reads(kBase, 1));
}

// SYS-12: for as long as there is power.
TEST_F(BusTest, LockedRegistersStayAsTheyAre) {
  using Register = Bus::Register;
  ASSERT_TRUE(bus_.write_register(Register::kBase, 1));  // not locked yet
  ASSERT_TRUE(lock_window(bus_, window::BusAddress{kBase}, 256));
  for (const Register which :
       {Register::kBase, Register::kLimit, Register::kEnable, Register::kLock}) {
    const std::uint64_t before = bus_.read_register(which);
    EXPECT_EQ(bus_.write_register(which, 0).error().code, Errc::kReadOnly);
    EXPECT_EQ(bus_.read_register(which), before);
    EXPECT_EQ(bus_.faults().back(), (BusFault{.kind = BusFault::Kind::kLocked,
                                              .write = true,
                                              .address = std::to_underlying(which),
                                              .length = 8}));
  }
  EXPECT_EQ(bus_.fault_count(), 4U);
  EXPECT_FALSE(reads(kBase + 256, 1));
  bus_.power_cycle();
  EXPECT_TRUE(bus_.write_register(Register::kBase, 0));
  EXPECT_TRUE(reads(kBase + 256, 1));
}

TEST_F(BusTest, RecordsSoManyFaultsAndCountsTheRest) {
  for (std::size_t i = 0; i < Bus::kFaultsMost + 5; ++i)
    EXPECT_FALSE(reads(0, 1));
  EXPECT_EQ(bus_.faults().size(), Bus::kFaultsMost);
  EXPECT_EQ(bus_.fault_count(), Bus::kFaultsMost + 5);
}

// SYS-12: the other direction, of a card alone: a buffer to receive into that is beyond the window.
TEST_F(BusTest, ACardSaysWhichFramesItLost) {
  constexpr std::uint64_t kReceive = 256;
  constexpr std::uint64_t kBuffers = 1024;
  constexpr std::uint64_t kWindow = 4096;
  const auto put = [&](std::uint64_t at, std::uint64_t buffer) {
    mapping_.bytes().put(
        at, CardDescriptor{
                .address = Le64(kBase + buffer), .length = Le32(64), .state = Le32(CARD_OWN)});
  };
  const auto state = [&](std::uint64_t at) {
    return mapping_.bytes().snapshot<CardDescriptor>(at).state.get();
  };
  put(0, kBuffers);
  put(sizeof(CardDescriptor), kBuffers);
  put(kReceive, kBuffers + 64);
  put(kReceive + sizeof(CardDescriptor), kWindow - 1);
  mapping_.bytes().fill_zero(kBuffers, 64);
  ASSERT_TRUE(lock_window(bus_, window::BusAddress{kBase}, kWindow));
  Card card(bus_);
  card.set_rings(kBase, kBase + kReceive, 2);
  card.ring_doorbell();
  EXPECT_EQ(state(kReceive), 64U);
  EXPECT_EQ(mapping_.bytes().load_relaxed<std::uint8_t>(kBuffers + 64), 0U);
  EXPECT_EQ(state(kReceive + sizeof(CardDescriptor)), CARD_ERROR);
  EXPECT_EQ(mapping_.bytes().load_relaxed<std::uint8_t>(kWindow - 1), 1U);
  EXPECT_EQ(bus_.faults(),
            (std::vector{BusFault{.write = true, .address = kBase + kWindow - 1, .length = 64}}));
  EXPECT_FALSE(card.halted());
}

/// A guest with a card, whose driver uses the DMA API of one model.
class CardTest : public testing::Test {
 protected:
  void connect(const Model& model) {
    access_ = MUST(model.connect({.private_bytes = kGuestBytes}));
    access_->private_memory().fill(Canary(kKey));
    ASSERT_TRUE(bus_.attach(kPrivateBase, access_->private_memory().bytes()));
    if (access_->publisher().region == kSharedBase) {
      ASSERT_TRUE(bus_.attach(kSharedBase, access_->memory()));
    }
  }
  void open() {
    driver_ = MUST(CardDriver::open(
        *access_, card_, guest(kBuffersAt, CardDriver::kEntries * CardDriver::kFrameMost)));
  }
  [[nodiscard]] std::span<std::byte> guest(std::uint64_t offset, std::uint64_t length) const {
    return access_->private_memory().span().subspan(offset, length);
  }
  [[nodiscard]] Bytes sent(std::uint64_t length) const {
    const auto frame = guest(kFrameAt, length);
    return {frame.begin(), frame.end()};
  }
  /// Sends a frame, and receives it: whether it came back as it was.
  [[nodiscard]] Result<bool> echo(std::uint64_t length) {
    TRY(driver_->send(guest(kFrameAt, length)));
    TRY(driver_->take_sent());
    const auto frame = TRY(driver_->receive());
    return frame && std::ranges::equal(*frame, sent(length));
  }

  std::unique_ptr<Access> access_;
  Bus bus_;
  Card card_{bus_};
  std::unique_ptr<CardDriver> driver_;
};

class CardOverModelTest : public CardTest, public testing::WithParamInterface<const Model*> {};

INSTANTIATE_TEST_SUITE_P(Models, CardOverModelTest, testing::Values(&kPool, &kRegion, &kOpen),
                         [](const auto& model) { return std::string(model.param->name); });

// SYS-12: the DMA API, and the pools behind it, are not virtio's.
TEST_P(CardOverModelTest, FramesComeBackAsTheyWere) {
  connect(*GetParam());
  open();
  for (std::uint64_t i = 0; i < 100; ++i)
    EXPECT_TRUE(MUST(echo(1 + 15 * i)));
  EXPECT_EQ(bus_.fault_count(), 0U);
  EXPECT_EQ(driver_->send({}).error().code, Errc::kBadLength);
  EXPECT_EQ(driver_->send(guest(kFrameAt, CardDriver::kFrameMost + 1)).error().code,
            Errc::kBadLength);
}

TEST_F(CardTest, WaitsForBuffersAndRunsFull) {
  connect(kPool);
  open();
  // As many as it has room to receive, and as many as it has room to send.
  for (std::uint32_t i = 0; i < 2 * CardDriver::kEntries; ++i) {
    EXPECT_TRUE(driver_->send(guest(kFrameAt, 64)));
    EXPECT_EQ(MUST(driver_->take_sent()), i < CardDriver::kEntries ? 1U : 0U);
  }
  EXPECT_EQ(driver_->send(guest(kFrameAt, 64)).error().code, Errc::kQueueFull);
  std::uint32_t received = 0;
  while (const auto frame = MUST(driver_->receive())) {
    EXPECT_TRUE(std::ranges::equal(*frame, sent(64)));
    ++received;
  }
  EXPECT_EQ(received, 2 * CardDriver::kEntries);
  EXPECT_EQ(MUST(driver_->take_sent()), CardDriver::kEntries);
}

// SYS-12, HD-3: a card that says that it wrote more than there was room for.
TEST_F(CardTest, ALengthBeyondTheBufferIsRefused) {
  connect(kPool);
  open();
  const Bytes before = {guest(kBuffersAt, 4096).begin(), guest(kBuffersAt, 4096).end()};
  // The rings are what was allocated first: the second one's first descriptor.
  const std::uint64_t state = kPageBytes + offsetof(CardDescriptor, state);
  access_->memory().store_release<Le32>(
      state, Le32(static_cast<std::uint32_t>(CardDriver::kFrameMost + 1)));
  EXPECT_EQ(driver_->receive().error().code, Errc::kBadLength);
  EXPECT_TRUE(std::ranges::equal(guest(kBuffersAt, 4096), before));
  access_->memory().store_release<Le32>(state + sizeof(CardDescriptor),
                                        Le32(static_cast<std::uint32_t>(CardDriver::kFrameMost)));
  EXPECT_EQ(MUST(driver_->receive())->size(), CardDriver::kFrameMost);
}

// SYS-12: a driver that knows of no pool gets an error, and its guest no harm.
TEST_F(CardTest, ADriverWithoutThePoolIsRefusedByTheBus) {
  connect(kOpen);
  ASSERT_TRUE(lock_window(bus_, kSharedBase, 4096));
  open();
  const Bytes before = sent(64);
  EXPECT_TRUE(driver_->send(guest(kFrameAt, 64)));
  EXPECT_TRUE(card_.halted());
  EXPECT_EQ(MUST(driver_->take_sent()), 0U);
  EXPECT_FALSE(MUST(driver_->receive()));
  EXPECT_EQ(sent(64), before);
  EXPECT_EQ(bus_.faults().front().kind, BusFault::Kind::kOutside);
}

// SYS-12: a window that is smaller than the pool is noticed by all, and harms nobody.
TEST_F(CardTest, AWindowThatIsTooSmallIsAFaultAndNoCorruption) {
  connect(kPool);
  open();
  // The rings, and the first of the buffers to receive into; those behind are in the pool alone.
  const std::uint64_t window = 2 * kPageBytes + 4 * pool::kSlotBytes;
  ASSERT_TRUE(lock_window(bus_, kSharedBase, window));
  const std::uint64_t beyond = access_->memory().size() - window;
  // What frames are sent from is copied there by the driver; so it is compared without.
  const auto outside = [&] {
    Bytes bytes(beyond);
    access_->memory().copy_out(window, bytes);
    return bytes;
  };
  const auto guest_before = sent(kGuestBytes - kFrameAt);
  const auto pool_before = outside();
  EXPECT_TRUE(driver_->send(guest(kFrameAt, 64)));
  EXPECT_EQ(driver_->take_sent().error().code, Errc::kIoError);
  EXPECT_FALSE(MUST(driver_->receive()));
  ASSERT_EQ(bus_.fault_count(), 1U);
  EXPECT_EQ(bus_.faults().front().kind, BusFault::Kind::kOutside);
  EXPECT_FALSE(bus_.faults().front().write);
  EXPECT_FALSE(card_.halted());
  EXPECT_EQ(sent(kGuestBytes - kFrameAt), guest_before);
  // Only what the driver itself put there has changed.
  auto pool_after = outside();
  const auto copied = std::ranges::search(pool_after, sent(64));
  ASSERT_FALSE(copied.empty());
  const auto at = std::distance(pool_after.begin(), copied.begin());
  std::copy_n(pool_before.begin() + at, 64, pool_after.begin() + at);
  EXPECT_EQ(pool_after, pool_before);
}

// SYS-12, DT-14: what the lock is for.
TEST(RogueCard, ReadsAllOfTheGuestUnlessTheBusIsLocked) {
  const RogueReads open = MUST(measure_rogue_reads(false));
  EXPECT_GT(open.frames, 0U);
  EXPECT_EQ(open.private_bytes, kGuestBytes - PrivateMemory::kReserved);
  EXPECT_EQ(open.read_bytes, open.private_bytes);
  EXPECT_EQ(open.faults, 0U);
  EXPECT_TRUE(open.opened);
  const RogueReads locked = MUST(measure_rogue_reads(true));
  EXPECT_EQ(locked.frames, open.frames);
  EXPECT_EQ(locked.private_bytes, open.private_bytes);
  EXPECT_EQ(locked.read_bytes, 0U);
  EXPECT_GT(locked.faults, 0U);
  EXPECT_FALSE(locked.opened);
}

}  // namespace
}  // namespace airlock::compare
