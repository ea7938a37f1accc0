// SPDX-License-Identifier: Apache-2.0
//
// Goal: a device behind `snoop` gets exactly the bytes that descriptors invite, as they were when
// they were read. Method: the trusted part as it runs in the rig; the test is the driver, whose
// ring it writes by hand, and the device, which looks at all of the memory that it was given.
#include "compare/snoop_fixture.h"

#include <bit>
#include <random>

#include "core/descriptor.h"
#include "shm/access_hook.h"

namespace airlock::compare {
namespace {

// SYS-7
TEST_F(SnoopServedTest, ADeviceReadsWhatWasPublishedAndNotAByteBeyond) {
  describe_buffer(0, kFirst, 13, 0);
  make_available(0);
  const ring::Chain chain = take();
  ASSERT_EQ(chain.readable_bytes(), 13U);
  const std::uint64_t at = shadow_offset(0);
  EXPECT_EQ(shadow_bytes(at, 13), guest_bytes(kFirst, 13));
  EXPECT_EQ(shadow_bytes(at + 13, 2048 - 13), Bytes(2048 - 13));
  EXPECT_EQ(words_in_sight(), std::vector{kFirst});
  // Nor is there an address that leads to the guest.
  const window::DriverAddress there{std::to_underlying(kPrivateBase) + kFirst};
  EXPECT_EQ(window_->translate(there, 1, window::Access::kRead).error().code,
            Errc::kAddressOutside);
  // Of what was given back nothing is left.
  EXPECT_EQ(finish(chain.head(), 0), (ring::UsedElement{.id = 0, .length = 0}));
  EXPECT_TRUE(words_in_sight().empty());
}

TEST_F(SnoopServedTest, ControlOneByteMoreIsSeenOncePublished) {
  describe_buffer(0, kFirst, 14, 0);
  make_available(0);
  EXPECT_EQ(take().readable_bytes(), 14U);
  EXPECT_NE(shadow_bytes(shadow_offset(0) + 13, 1), Bytes(1));
  EXPECT_EQ(shadow_bytes(shadow_offset(0), 14), guest_bytes(kFirst, 14));
}

// SYS-7: the twin of both is the byte before, which arrives.
TEST_F(SnoopServedTest, WhatADeviceWritesBeyondABufferReachesNothing) {
  describe_buffer(3, kFirst, 16, AIRLOCK_DESC_WRITE);
  const Bytes before = guest_bytes(kFirst, 32);
  make_available(3);
  const ring::Chain chain = take();
  EXPECT_TRUE(words_in_sight().empty());  // not the old contents either
  mapping_.bytes().copy_in(shadow_offset(0), Bytes(17, std::byte{0xee}));
  EXPECT_EQ(finish(chain.head(), 16), (ring::UsedElement{.id = 3, .length = 16}));
  EXPECT_EQ(guest_bytes(kFirst, 16), Bytes(16, std::byte{0xee}));
  EXPECT_EQ(guest_bytes(kFirst + 16, 1).front(), before[16]);
}

// SYS-7, HD-3
TEST_F(SnoopServedTest, ALengthBeyondWhatWasPublishedIsRefused) {
  describe_buffer(0, kFirst, 16, AIRLOCK_DESC_WRITE);
  const Bytes before = guest_bytes(kFirst, 32);
  make_available(0);
  take();
  mapping_.bytes().copy_in(shadow_offset(0), Bytes(17, std::byte{0xee}));
  EXPECT_EQ(lie({.id = 0, .length = 17}), Errc::kBadLength);
  EXPECT_EQ(guest_bytes(kFirst, 32), before);
  EXPECT_EQ(used_.acquire_index(), ring::RingIndex(0));
}

// SYS-7, HD-1, HD-2
TEST_F(SnoopServedTest, AnIdThatIsNotInFlightIsRefused) {
  describe_buffer(0, kFirst, 16, AIRLOCK_DESC_WRITE);
  const Bytes before = guest_bytes(kFirst, 16);
  make_available(0);
  take();
  EXPECT_EQ(lie({.id = 5, .length = 16}), Errc::kNotOutstanding);
  EXPECT_EQ(guest_bytes(kFirst, 16), before);
}

// SYS-7, HD-6: what counts is what was read first. What the driver then writes counts the next
// time: that is the control.
TEST_F(SnoopServedTest, ADescriptorThatIsChangedInFlightChangesNothing) {
  describe_buffer(0, kFirst, 16, AIRLOCK_DESC_WRITE);
  make_available(0);
  ring::Chain chain = take();
  describe_buffer(0, kSecond, 32, AIRLOCK_DESC_WRITE);
  const Bytes second = guest_bytes(kSecond, 32);
  EXPECT_EQ(chain.writable_bytes(), 16U);
  MUST(chain.write(0, Bytes(16, std::byte{0xee})));
  finish(chain.head(), 16);
  EXPECT_EQ(guest_bytes(kFirst, 16), Bytes(16, std::byte{0xee}));
  EXPECT_EQ(guest_bytes(kSecond, 32), second);

  make_available(0);
  chain = take();
  EXPECT_EQ(chain.writable_bytes(), 32U);
  MUST(chain.write(0, Bytes(32, std::byte{0xdd})));
  finish(chain.head(), 32);
  EXPECT_EQ(guest_bytes(kSecond, 32), Bytes(32, std::byte{0xdd}));
}

TEST_F(SnoopServedTest, ChainsMayComeBackInAnyOrder) {
  constexpr std::uint64_t kApart = 0x100;
  std::vector<ring::Chain> chains;
  for (std::uint16_t head = 0; head < 3; ++head) {
    describe_buffer(head, kFirst + kApart * head, 8, AIRLOCK_DESC_WRITE);
    make_available(head);
    chains.push_back(take());
  }
  for (const std::uint16_t head : std::array<std::uint16_t, 3>{1, 0, 2}) {
    MUST(chains[head].write(0, Bytes(8, std::byte(head))));
    EXPECT_EQ(finish(chains[head].head(), 8).id, head);
    EXPECT_EQ(guest_bytes(kFirst + kApart * head, 8), Bytes(8, std::byte(head)));
    // And others are taken meanwhile.
    const auto other = static_cast<std::uint16_t>(3 + head);
    describe_buffer(other, kSecond + kApart * head, 8, 0);
    make_available(other);
    const ring::Chain chain = take();
    EXPECT_EQ(chain.readable_bytes(), 8U);
    EXPECT_EQ(finish(chain.head(), 0).id, other);
  }
  EXPECT_EQ(end(), Errc::kPeerClosed);
}

/// Counts how often descriptors are loaded, and has the driver change them before the second time.
class DescriptorWatch final : private shm::AccessObserver {
 public:
  explicit DescriptorWatch(std::function<void()> change) : change_(std::move(change)) {}

  std::uint32_t during(const std::function<void()>& operation) {
    const shm::ScopedAccessHook hook(this);
    operation();
    return loads_;
  }

 private:
  // The table is at the start of a page, in whatever mapping.
  void before_access(const shm::Access& access) override {
    const auto in_page = std::bit_cast<std::uintptr_t>(access.address) % kPageBytes;
    if (access.kind != shm::Access::Kind::kLoad || in_page >= kTableBytes) {
      return;
    }
    if (++loads_ == 2) change_();
  }

  static constexpr std::uint64_t kTableBytes = 8 * sizeof(spec::VirtqDesc);

  std::function<void()> change_;
  std::uint32_t loads_ = 0;
};

// SYS-7: single fetch
TEST_F(SnoopFrontTest, ADescriptorIsFetchedOnce) {
  if (!shm::kAccessHook) GTEST_SKIP() << "built without the access hook";
  const auto front = MUST(make(queue()));
  describe_buffer(0, kFirst, 16, 0);
  make_available(0);
  RelayedChain chain;
  DescriptorWatch watch([&] { describe_buffer(0, kSecond, 64, 0); });
  EXPECT_EQ(watch.during([&] {
    EXPECT_TRUE(MUST(front->pop(chain)));
    EXPECT_FALSE(MUST(front->pop(chain = {})));
    MUST(front->push_used(0, 0));
    front->publish();
    EXPECT_FALSE(MUST(front->pop(chain)));
  }),
            1U);
}

TEST_F(SnoopFrontTest, ControlWhoFetchesTwiceIsFooled) {
  if (!shm::kAccessHook) GTEST_SKIP() << "built without the access hook";
  describe_buffer(0, kFirst, 16, 0);
  const shm::SharedBytes table = part(areas_.descriptors, layout_.descriptors());
  DescriptorWatch watch([&] { describe_buffer(0, kSecond, 64, 0); });
  std::uint32_t used = 0;
  EXPECT_EQ(watch.during([&] {
    if (table.snapshot<spec::VirtqDesc>(0).len.get() == 16) {
      used = table.snapshot<spec::VirtqDesc>(0).len.get();
    }
  }),
            2U);
  EXPECT_EQ(used, 64U);
}

TEST_F(SnoopFrontTest, RefusesQueuesThatItCanNotFollow) {
  EXPECT_TRUE(make(queue()));
  QueueStart wrong = queue();
  wrong.features |= spec::feature(spec::VIRTIO_F_RING_PACKED);
  EXPECT_EQ(make(wrong).error().code, Errc::kUnsupported);
  wrong = queue();
  wrong.size = 7;
  EXPECT_FALSE(make(wrong));
  wrong = queue();
  wrong.areas.driver = window::DriverAddress{std::to_underlying(wrong.areas.driver) + 1};
  EXPECT_EQ(make(wrong).error().code, Errc::kNotAligned);
  wrong = queue();
  wrong.areas.device = window::DriverAddress{std::to_underlying(kPrivateBase) + kBytes};
  EXPECT_EQ(make(wrong).error().code, Errc::kAddressOutside);
}

TEST_F(SnoopFrontTest, ABufferOutsideTheGuestBreaksTheQueue) {
  const auto front = MUST(make(queue()));
  describe_buffer(0, kBytes - 8, 16, 0);
  make_available(0);
  RelayedChain chain;
  EXPECT_EQ(front->pop(chain).error().code, Errc::kAddressOutside);
}

TEST_F(SnoopFrontTest, AChainThatIsNoneBreaksTheQueue) {
  const auto front = MUST(make(queue()));
  describe_buffer(0, kFirst, 16, AIRLOCK_DESC_NEXT, kSize);
  make_available(0);
  RelayedChain chain;
  EXPECT_EQ(front->pop(chain).error().code, Errc::kQueueBroken);
  describe_buffer(1, kFirst, 16, 0);
  make_available(1);
  EXPECT_EQ(front->pop(chain).error().code, Errc::kQueueBroken);
}

// SYS-7: whatever stands in the ring, what is moved lies in the guest, and pop() comes to an end.
TEST_F(SnoopFrontTest, RandomRingsInviteNothingElse) {
  std::mt19937 random(1);  // NOLINT(bugprone-random-generator-seed): the same each time
  const auto below = [&](std::uint64_t limit) {
    return static_cast<std::uint32_t>(random() % limit);
  };
  std::uint32_t chains = 0;
  std::uint32_t broken = 0;
  for (int run = 0; run < 500; ++run) {
    own_.bytes().fill_zero(0, layout_.block_bytes());
    available_ = 0;
    const auto front = MUST(make(queue()));
    for (std::uint16_t index = 0; index < kSize; ++index) {
      describe_buffer(index, below(kBytes + kBytes / 8), below(5000),
                      static_cast<std::uint16_t>(below(4)),
                      static_cast<std::uint16_t>(below(kSize + 1)));
    }
    for (int i = 0; i < 3; ++i)
      make_available(static_cast<std::uint16_t>(below(kSize)));
    RelayedChain chain;
    Result<bool> popped = front->pop(chain);
    for (; popped && *popped; popped = front->pop(chain)) {
      ++chains;
      ASSERT_LT(chain.head, kSize);
      ASSERT_LE(chain.readable.size() + chain.writable.size(), kSize);
    }
    broken += popped ? 0U : 1U;
  }
  EXPECT_GT(chains, 50U);
  EXPECT_GT(broken, 50U);
}

}  // namespace
}  // namespace airlock::compare
