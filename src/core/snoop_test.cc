// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//
// Goal: a queue that is followed invites what its descriptors in flight invite, byte for byte and
// in their direction, and nothing else. Method: small chains by hand; then random ones against a
// set of single bytes.
#include "core/snoop.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <cstdint>
#include <limits>
#include <map>
#include <set>
#include <utility>
#include <vector>

namespace airlock {
namespace {

constexpr std::uint64_t kMax = std::numeric_limits<std::uint64_t>::max();
constexpr std::uint64_t kIndirect = std::uint64_t{1} << 28;
constexpr std::uint64_t kPacked = std::uint64_t{1} << 34;
constexpr std::uint64_t kInOrder = std::uint64_t{1} << 35;
constexpr bool kRead = false;
constexpr bool kWrite = true;

class Snoop : public testing::Test {
 protected:
  airlock_guard_reason open(std::uint64_t features, std::uint32_t size = 4) {
    queue_.rules.queue_size = size;
    return airlock_snoop_open(&queue_, features);
  }
  airlock_guard_reason begin(std::uint32_t head) {
    head_ = head;
    return airlock_snoop_begin(&queue_, &chain_, head);
  }
  airlock_guard_reason step(std::uint64_t address, std::uint32_t length, unsigned flags,
                            std::uint16_t next = 0) {
    const airlock_descriptor descriptor{.address = address,
                                        .length = length,
                                        .flags = static_cast<std::uint16_t>(flags),
                                        .next = next};
    return airlock_snoop_step(&queue_, &chain_, head_, &descriptor);
  }
  [[nodiscard]] bool invites(bool write, std::uint64_t address, std::uint64_t count) const {
    return airlock_snoop_invites(&queue_, write, address, count);
  }

  airlock_snoop_live live_[6] = {};
  airlock_snoop queue_{.descriptors = 0x1000,
                       .driver_area = 0x1040,
                       .device_area = 0x1080,
                       .rules = {.queue_size = 0, .packed = false, .indirect = false},
                       .live = live_,
                       .capacity = 6,
                       .count = 0,
                       .chains = 0};
  airlock_chain chain_{};
  std::uint32_t head_ = 0;
};

// VIRTIO 1.3, 2.7: 16 bytes a descriptor, 6 and 2, 6 and 8 an entry.
TEST_F(Snoop, InvitesTheAreasOfTheRing) {
  EXPECT_FALSE(invites(kRead, 0x1000, 1));
  EXPECT_EQ(open(0), AIRLOCK_GUARD_PASS);
  EXPECT_TRUE(invites(kRead, 0x1000, 64));
  EXPECT_TRUE(invites(kRead, 0x1040, 14));
  EXPECT_FALSE(invites(kRead, 0x1040, 15));
  EXPECT_FALSE(invites(kWrite, 0x1000, 1));
  EXPECT_FALSE(invites(kWrite, 0x104d, 1));
  EXPECT_TRUE(invites(kWrite, 0x1080, 38));
  EXPECT_TRUE(invites(kRead, 0x1080, 38));
  EXPECT_FALSE(invites(kWrite, 0x1080, 39));
  EXPECT_FALSE(invites(kRead, 0xfff, 1));
  EXPECT_EQ(open(0, 0), AIRLOCK_GUARD_NO_SNOOP);  // reset
  EXPECT_FALSE(invites(kRead, 0x1000, 1));
}

TEST_F(Snoop, FollowsNoRingThatItCannot) {
  EXPECT_EQ(open(kPacked), AIRLOCK_GUARD_NO_SNOOP);
  EXPECT_FALSE(invites(kRead, 0x1000, 1));
  EXPECT_EQ(open(kInOrder), AIRLOCK_GUARD_NO_SNOOP);
  EXPECT_EQ(open(~(kPacked | kInOrder)), AIRLOCK_GUARD_PASS);
  EXPECT_EQ(open(0, 3), AIRLOCK_GUARD_NO_SNOOP);
  EXPECT_EQ(open(0, 32768), AIRLOCK_GUARD_PASS);
  EXPECT_EQ(open(0, 65536), AIRLOCK_GUARD_NO_SNOOP);
  queue_.descriptors = kMax - 64;
  EXPECT_EQ(open(0), AIRLOCK_GUARD_PASS);
  EXPECT_EQ(open(0, 8), AIRLOCK_GUARD_NO_SNOOP);
  queue_.descriptors = 0;
  queue_.driver_area = kMax - 13;
  EXPECT_EQ(open(0), AIRLOCK_GUARD_NO_SNOOP);
  queue_.driver_area = 0;
  queue_.device_area = kMax - 37;
  EXPECT_EQ(open(0), AIRLOCK_GUARD_NO_SNOOP);
}

TEST_F(Snoop, InvitesABufferFromItsDescriptorToItsUse) {
  ASSERT_EQ(open(0), AIRLOCK_GUARD_PASS);
  ASSERT_EQ(begin(1), AIRLOCK_GUARD_PASS);
  EXPECT_EQ(airlock_snoop_next(&queue_, &chain_), 0x1010U);
  EXPECT_EQ(step(0x5000, 16, AIRLOCK_DESC_NEXT, 3), AIRLOCK_GUARD_PASS);
  EXPECT_EQ(airlock_snoop_next(&queue_, &chain_), 0x1030U);
  EXPECT_EQ(queue_.chains, 0U);
  EXPECT_EQ(step(0x6000, 512, AIRLOCK_DESC_WRITE), AIRLOCK_GUARD_PASS);
  EXPECT_FALSE(chain_.more);
  EXPECT_EQ(queue_.chains, 1U);
  EXPECT_TRUE(invites(kRead, 0x5000, 16));
  EXPECT_FALSE(invites(kWrite, 0x5000, 1));
  EXPECT_FALSE(invites(kRead, 0x5000, 17));
  EXPECT_TRUE(invites(kWrite, 0x61ff, 1));
  EXPECT_FALSE(invites(kRead, 0x6000, 1));
  EXPECT_FALSE(invites(kWrite, 0x6200, 1));
  EXPECT_EQ(airlock_snoop_retire(&queue_, 1), AIRLOCK_GUARD_PASS);
  EXPECT_FALSE(invites(kRead, 0x5000, 1));
  EXPECT_FALSE(invites(kWrite, 0x6000, 1));
  EXPECT_TRUE(invites(kRead, 0x1000, 64));
  EXPECT_EQ(queue_.chains, 0U);
}

// VIRTIO 1.3, 2.7.5.3: the device reads the table, whatever its WRITE flag says.
TEST_F(Snoop, InvitesToReadAnIndirectTable) {
  ASSERT_EQ(open(kIndirect), AIRLOCK_GUARD_PASS);
  ASSERT_EQ(begin(0), AIRLOCK_GUARD_PASS);
  EXPECT_EQ(step(0x7000, 32, AIRLOCK_DESC_INDIRECT | AIRLOCK_DESC_WRITE), AIRLOCK_GUARD_PASS);
  EXPECT_EQ(airlock_snoop_next(&queue_, &chain_), 0x7000U);
  EXPECT_TRUE(invites(kRead, 0x7000, 32));
  EXPECT_FALSE(invites(kWrite, 0x7000, 1));
  EXPECT_EQ(step(0x8000, 8, AIRLOCK_DESC_WRITE | AIRLOCK_DESC_NEXT, 1), AIRLOCK_GUARD_PASS);
  EXPECT_EQ(airlock_snoop_next(&queue_, &chain_), 0x7010U);
  EXPECT_TRUE(invites(kWrite, 0x8000, 8));
  EXPECT_EQ(step(0x9000, 8, AIRLOCK_DESC_WRITE), AIRLOCK_GUARD_PASS);
  EXPECT_EQ(airlock_snoop_retire(&queue_, 0), AIRLOCK_GUARD_PASS);
  EXPECT_FALSE(invites(kRead, 0x7000, 1));
  ASSERT_EQ(open(0), AIRLOCK_GUARD_PASS);  // not negotiated
  ASSERT_EQ(begin(0), AIRLOCK_GUARD_PASS);
  EXPECT_EQ(step(0x7000, 32, AIRLOCK_DESC_INDIRECT), AIRLOCK_GUARD_BAD_CHAIN);
}

TEST_F(Snoop, ClosesAQueueAtTheFirstBreach) {
  const auto with_a_chain = [&] {
    ASSERT_EQ(open(0), AIRLOCK_GUARD_PASS);
    ASSERT_EQ(begin(0), AIRLOCK_GUARD_PASS);
    ASSERT_EQ(step(0x5000, 16, 0), AIRLOCK_GUARD_PASS);
    ASSERT_TRUE(invites(kRead, 0x5000, 16));
  };
  with_a_chain();
  EXPECT_EQ(begin(0), AIRLOCK_GUARD_BAD_CHAIN);  // it is in flight
  EXPECT_FALSE(chain_.more);
  EXPECT_FALSE(invites(kRead, 0x5000, 16));
  EXPECT_EQ(begin(1), AIRLOCK_GUARD_BAD_CHAIN);
  with_a_chain();
  EXPECT_EQ(begin(4), AIRLOCK_GUARD_BAD_CHAIN);
  EXPECT_FALSE(invites(kRead, 0x5000, 16));
  with_a_chain();
  ASSERT_EQ(begin(1), AIRLOCK_GUARD_PASS);
  EXPECT_EQ(step(0x6000, 0, 0), AIRLOCK_GUARD_BAD_CHAIN);
  EXPECT_FALSE(invites(kRead, 0x5000, 16));
  with_a_chain();
  ASSERT_EQ(begin(1), AIRLOCK_GUARD_PASS);
  EXPECT_EQ(step(kMax - 14, 16, 0), AIRLOCK_GUARD_BAD_CHAIN);
  with_a_chain();
  EXPECT_EQ(airlock_snoop_retire(&queue_, 1), AIRLOCK_GUARD_BAD_CHAIN);
  EXPECT_FALSE(invites(kRead, 0x5000, 16));
  with_a_chain();
  EXPECT_EQ(airlock_snoop_retire(&queue_, 0x10000), AIRLOCK_GUARD_BAD_CHAIN);
}

TEST_F(Snoop, ClosesAQueueThatHasMoreInFlightThanItCanFollow) {
  queue_.capacity = 2;
  ASSERT_EQ(open(0), AIRLOCK_GUARD_PASS);
  ASSERT_EQ(begin(0), AIRLOCK_GUARD_PASS);
  EXPECT_EQ(step(0x5000, 16, AIRLOCK_DESC_NEXT, 1), AIRLOCK_GUARD_PASS);
  EXPECT_EQ(step(0x6000, 16, AIRLOCK_DESC_NEXT, 2), AIRLOCK_GUARD_PASS);
  EXPECT_EQ(step(0x7000, 16, 0), AIRLOCK_GUARD_TABLE_FULL);
  EXPECT_FALSE(invites(kRead, 0x5000, 16));
}

// The bytes, and directions, that each chain in flight invites: head to {address, write}.
using Bytes = std::set<std::pair<std::uint64_t, bool>>;
using Model = std::map<std::uint32_t, Bytes>;

constexpr std::uint64_t kMemory = 400;  // bytes, the ring before them
constexpr std::uint64_t kRing = 0x10000;

void add(Bytes& bytes, std::uint64_t address, std::uint32_t length, bool write) {
  for (std::uint32_t i = 0; i < length; ++i)
    bytes.emplace(address + i, write);
}

// A chain of any descriptors, most of them good. False if it broke the queue.
bool any_chain(airlock_snoop& queue, Model& model, std::uint32_t head) {
  airlock_chain chain;
  Bytes bytes;
  if (airlock_snoop_begin(&queue, &chain, head) != AIRLOCK_GUARD_PASS) return false;
  while (chain.more) {
    const auto flags = *rc::gen::weightedElement<unsigned>({{6, 0},
                                                            {6, AIRLOCK_DESC_WRITE},
                                                            {4, AIRLOCK_DESC_NEXT},
                                                            {2, 3},
                                                            {2, AIRLOCK_DESC_INDIRECT},
                                                            {1, 0x40}});
    const bool table = flags == AIRLOCK_DESC_INDIRECT;
    const airlock_descriptor descriptor{.address = *rc::gen::inRange<std::uint64_t>(0, kMemory),
                                        .length = table
                                                      ? *rc::gen::inRange<std::uint32_t>(1, 3) * 16
                                                      : *rc::gen::inRange<std::uint32_t>(0, 40),
                                        .flags = static_cast<std::uint16_t>(flags),
                                        .next = *rc::gen::inRange<std::uint16_t>(0, 5)};
    if (airlock_snoop_step(&queue, &chain, head, &descriptor) != AIRLOCK_GUARD_PASS) return false;
    add(bytes, descriptor.address, descriptor.length, !table && (flags & AIRLOCK_DESC_WRITE) != 0);
  }
  model[head] = bytes;
  return true;
}

bool invited(const Model& model, std::uint64_t address, bool write) {
  for (const auto& [head, bytes] : model) {
    if (bytes.contains({address, write})) return true;
  }
  return false;
}

// T1.
TEST(SnoopModel, InvitesExactlyTheBytesInFlight) {
  EXPECT_TRUE(rc::check([] {
    std::vector<airlock_snoop_live> live(*rc::gen::inRange<std::size_t>(4, 20));
    airlock_snoop queue{.descriptors = kRing,
                        .driver_area = kRing + 0x100,
                        .device_area = kRing + 0x200,
                        .rules = {.queue_size = 4, .packed = false, .indirect = false},
                        .live = live.data(),
                        .capacity = static_cast<std::uint32_t>(live.size()),
                        .count = 0,
                        .chains = 0};
    Model model;
    RC_ASSERT(airlock_snoop_open(&queue, kIndirect) == AIRLOCK_GUARD_PASS);
    const int steps = *rc::gen::inRange(1, 30);
    for (int i = 0; i < steps; ++i) {
      const auto head = *rc::gen::inRange<std::uint32_t>(0, 5);
      bool good = false;
      if (*rc::gen::arbitrary<bool>()) {
        const bool in_flight = model.contains(head);
        good = any_chain(queue, model, head);
        RC_ASSERT(!good || (!in_flight && head < 4));
      } else {
        good = airlock_snoop_retire(&queue, head) == AIRLOCK_GUARD_PASS;
        RC_ASSERT(good == (model.erase(head) == 1));
      }
      if (!good) {  // a breach: it invites nothing until it is opened again
        RC_ASSERT(!airlock_snoop_invites(&queue, false, kRing, 1));
        model.clear();
        for (std::uint64_t byte = 0; byte < kMemory; ++byte)
          RC_ASSERT(!airlock_snoop_invites(&queue, false, byte, 1));
        queue.rules.queue_size = 4;
        RC_ASSERT(airlock_snoop_open(&queue, kIndirect) == AIRLOCK_GUARD_PASS);
      }
      RC_ASSERT(queue.chains == model.size());
      for (std::uint64_t byte = 0; byte < kMemory + 40; ++byte) {
        for (const bool write : {false, true})
          RC_ASSERT(airlock_snoop_invites(&queue, write, byte, 1) == invited(model, byte, write));
      }
      // More than a byte: never more than all of its bytes.
      const auto address = *rc::gen::inRange<std::uint64_t>(0, kMemory);
      const auto count = *rc::gen::inRange<std::uint64_t>(1, 40);
      const bool write = *rc::gen::arbitrary<bool>();
      if (!airlock_snoop_invites(&queue, write, address, count)) continue;
      for (std::uint64_t byte = address; byte < address + count; ++byte)
        RC_ASSERT(invited(model, byte, write));
    }
  }));
}

}  // namespace
}  // namespace airlock
