// SPDX-License-Identifier: Apache-2.0
//
// What the tests of PackedDriverQueue share: a queue of seven slots, so that what is right only for
// powers of two shows, and a raw device for it, in both address modes.
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "ring/packed_driver_queue.h"
#include "testing/address_modes.h"
#include "testing/fake_packed_device.h"
#include "testing/test_region.h"

namespace airlock::testing {

/// The driver has a queue; the device may write what it likes.
class PackedDriverFixture : public ::testing::TestWithParam<window::AddressMode> {
 protected:
  static constexpr std::uint32_t kSlots = 7;
  static constexpr std::uint16_t kQueue = 3;
  static constexpr std::uint16_t kTableEntries = 3;

  [[nodiscard]] ring::DriverQueueConfig config(const ring::Features& features = {}) const {
    ring::DriverQueueConfig config = {.queue = kQueue,
                                      .size = size_,
                                      .areas = areas_,
                                      .publisher = region_.publisher(),
                                      .features = features,
                                      .tables = {.start = tables_, .entries = kTableEntries}};
    config.features.format = ring::Format::kPacked;
    return config;
  }
  // The same queue, made anew with these features, and its device.
  void negotiate(const ring::Features& features) {
    queue_ = MUST(ring::PackedDriverQueue::create(config(features), region_.bytes()));
    device_ = FakePackedDevice(region_.bytes(), size_, areas_);
  }
  [[nodiscard]] ring::Buffer buffer(std::uint32_t length, std::uint64_t at = 0) const {
    return {.offset = window::RegionOffset{std::to_underlying(data_) + at}, .length = length};
  }
  // A request with 16 bytes to read and 16 to write: two slots.
  ring::Token submit(std::uint64_t cookie = 1) {
    return MUST(queue_.submit(std::array{buffer(16)}, std::array{buffer(16, 16)}, cookie));
  }
  // The same, published: its buffer id.
  std::uint16_t request(std::uint64_t cookie = 1) {
    const ring::Token token = submit(cookie);
    EXPECT_TRUE(queue_.publish());
    return std::to_underlying(token);
  }
  // The completion that must be there.
  ring::Completion completed() {
    const std::optional<ring::Completion> done = MUST(queue_.poll());
    CHECK(done.has_value());
    return done.value_or(ring::Completion{});
  }
  ring::Outstanding taken() {
    const std::optional<ring::Outstanding> one = queue_.take_outstanding();
    CHECK(one.has_value());
    return one.value_or(ring::Outstanding{});
  }
  // Everything of the queue that the device sees.
  [[nodiscard]] std::vector<std::byte> shared() const {
    std::vector<std::byte> bytes(layout_.block_bytes());
    region_.bytes().copy_out(std::to_underlying(areas_.descriptors), bytes);
    return bytes;
  }
  // What the next poll() says, which must break the queue for good, and lose no request.
  Error broken_by_poll() {
    const std::uint32_t before = queue_.outstanding();
    const auto polled = queue_.poll();
    if (polled) {
      ADD_FAILURE() << "the queue took it";
      return {.code = Errc::kSystem};
    }
    EXPECT_EQ(polled.error().queue, kQueue);
    EXPECT_EQ(queue_.broken(), polled.error());
    EXPECT_EQ(queue_.outstanding(), before);
    const Error final = {.code = Errc::kQueueBroken, .queue = kQueue};
    EXPECT_EQ(queue_.poll().error(), final);
    EXPECT_EQ(queue_.submit(std::array{buffer(1)}, {}, 0).error(), final);
    EXPECT_FALSE(queue_.publish());
    return polled.error();
  }
  static Error error(Errc code, std::uint32_t detail) {
    return {.code = code, .queue = kQueue, .detail = detail};
  }

  TestRegion region_{{.mode = GetParam()}};
  ring::QueueSize size_ = MUST(ring::QueueSize::from(kSlots, ring::Format::kPacked));
  ring::Layout layout_{size_, ring::Format::kPacked};
  ring::AreaOffsets areas_ = layout_.block_at(region_.allocate(layout_.block_bytes(), 64));
  window::RegionOffset tables_ = region_.allocate(ring::IndirectTables::bytes(size_, kTableEntries),
                                                  ring::IndirectTables::kAlignment);
  window::RegionOffset data_ = region_.allocate(65536);
  ring::PackedDriverQueue queue_ = MUST(ring::PackedDriverQueue::create(config(), region_.bytes()));
  FakePackedDevice device_{region_.bytes(), size_, areas_};
};

}  // namespace airlock::testing
