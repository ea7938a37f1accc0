// SPDX-License-Identifier: Apache-2.0
//
// What the tests of PackedDeviceQueue share: a queue of seven slots, so that what is right only for
// powers of two shows, and a raw driver for it, in both address modes.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "ring/packed_device_queue.h"
#include "testing/address_modes.h"
#include "testing/fake_packed_driver.h"

namespace airlock::testing {

/// The device has a queue; the driver may write what it likes.
class PackedDeviceFixture : public ::testing::TestWithParam<window::AddressMode> {
 protected:
  static constexpr std::uint32_t kSlots = 7;
  static constexpr std::uint16_t kQueue = 3;

  // An address that a driver may not use, in either mode.
  [[nodiscard]] std::uint64_t outside() const {
    return driver_.address(window::RegionOffset{region_.bytes().size()});
  }
  Errc refused(const ring::QueueAreas& areas) {
    ring::QueueConfig config = driver_.config();
    config.areas = areas;
    const auto made = ring::PackedDeviceQueue::create(config, region_.window());
    if (made) return Errc::kSystem;
    EXPECT_EQ(made.error().queue, kQueue);
    return made.error().code;
  }
  // The same queue, made anew with these features.
  void negotiate(const ring::Features& features) {
    driver_ = FakePackedDriver(region_, {.slots = kSlots, .features = features, .queue = kQueue});
    queue_ = MUST(ring::PackedDeviceQueue::create(driver_.config(), region_.window()));
  }
  // A chain of `slots` slots, made available: each descriptor is one byte to write.
  void offer(std::uint16_t id, std::uint32_t slots = 1) {
    driver_.make_available(
        std::vector<airlock_descriptor>(slots, descriptor(spec::VIRTQ_DESC_F_WRITE, 1)), id);
  }
  // Takes the chain that must be there.
  ring::Head take() {
    const std::optional<ring::Head> head = MUST(queue_.pop(chain_));
    CHECK(head.has_value());
    return head.value_or(ring::Head{});
  }
  void give_back(ring::Head head, std::uint32_t written = 0) {
    MUST(queue_.push_used(head, written));
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
    EXPECT_EQ(queue_.pop(chain_).error(), (Error{.code = Errc::kQueueBroken, .queue = kQueue}));
    return popped.error();
  }
  Errc code_of_pop() { return broken_by_pop().code; }
  [[nodiscard]] airlock_descriptor descriptor(std::uint16_t flags, std::uint32_t length = 16) {
    return {.address = driver_.address(buffer_), .length = length, .flags = flags, .next = 0};
  }
  [[nodiscard]] airlock_descriptor raw(std::uint64_t address, std::uint32_t length) const {
    return {.address = address, .length = length, .flags = 0, .next = 0};
  }

  TestRegion region_{{.mode = GetParam()}};
  FakePackedDriver driver_{region_, {.slots = kSlots, .queue = kQueue}};
  window::RegionOffset buffer_ = region_.allocate(4096);
  ring::PackedDeviceQueue queue_ =
      MUST(ring::PackedDeviceQueue::create(driver_.config(), region_.window()));
  ring::Chain chain_{kSlots};
};

}  // namespace airlock::testing
