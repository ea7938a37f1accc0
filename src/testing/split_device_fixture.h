// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include "ring/split_device_queue.h"
#include "testing/address_modes.h"
#include "testing/chain_builder.h"

namespace airlock::testing {

/// A device's queue and a raw driver that may lie to it, in either address mode.
class SplitDeviceFixture : public ::testing::TestWithParam<window::AddressMode> {
 protected:
  static constexpr std::uint32_t kSlots = 8;
  static constexpr std::uint16_t kQueue = 3;

  explicit SplitDeviceFixture(const ring::Features& features = {}) : features_(features) {}

  // An address that a driver may not use, in either mode.
  [[nodiscard]] std::uint64_t outside() const {
    return driver_.address(window::RegionOffset{region_.bytes().size()});
  }
  ring::SplitDeviceQueue make() {
    driver_.config().features = features_;
    return MUST(ring::SplitDeviceQueue::create(driver_.config(), region_.window()));
  }
  // What the next pop() says, which must break the queue for good.
  Error broken_by_pop() {
    const auto popped = queue_.pop(chain_);
    if (popped) {
      ADD_FAILURE() << "the queue took it";
      return {.code = Errc::kSystem};
    }
    EXPECT_EQ(queue_.broken(), popped.error());
    EXPECT_EQ(popped.error().queue, kQueue);
    driver_.set_avail_index(1);  // repenting does not help
    EXPECT_EQ(queue_.pop(chain_).error(), (Error{.code = Errc::kQueueBroken, .queue = kQueue}));
    return popped.error();
  }
  Errc code_of_pop() { return broken_by_pop().code; }
  // The head of the chain that must be there.
  ring::Head popped() {
    const std::optional<ring::Head> head = MUST(queue_.pop(chain_));
    CHECK(head.has_value());
    return chain_.head();
  }
  [[nodiscard]] airlock_descriptor descriptor(std::uint16_t flags, std::uint16_t next = 0) const {
    return {.address = driver_.address(buffer_), .length = 16, .flags = flags, .next = next};
  }

  ring::Features features_;
  TestRegion region_{{.mode = GetParam()}};
  FakeDriver driver_{region_, kSlots, kQueue};
  window::RegionOffset buffer_ = region_.allocate(4096);
  ring::SplitDeviceQueue queue_ = make();
  ring::Chain chain_{kSlots};
};

}  // namespace airlock::testing
