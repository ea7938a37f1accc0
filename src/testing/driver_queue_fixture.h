// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "ring/driver_types.h"
#include "ring/layout.h"
#include "testing/address_modes.h"
#include "testing/test_region.h"

namespace airlock::testing {

/// What the tests of either format's driver half share: a queue of `slots` slots with tables of
/// `table_entries`, and a raw device that may write what it likes, in either address mode.
template <class Queue, class RawDevice, ring::Format format, std::uint32_t slots,
          std::uint16_t table_entries>
class DriverQueueFixture : public ::testing::TestWithParam<window::AddressMode> {
 protected:
  static constexpr std::uint32_t kSlots = slots;
  static constexpr std::uint16_t kQueue = 3;
  static constexpr std::uint16_t kTableEntries = table_entries;

  explicit DriverQueueFixture(const ring::Features& features = {}) : features_(features) {}

  [[nodiscard]] ring::DriverQueueConfig config() const { return config(features_); }
  [[nodiscard]] ring::DriverQueueConfig config(ring::Features features) const {
    features.format = format;
    return {.queue = kQueue,
            .size = size_,
            .areas = areas_,
            .publisher = region_.publisher(),
            .features = features,
            .tables = {.start = tables_, .entries = kTableEntries}};
  }
  // The same queue, made anew with these features, and its device.
  void negotiate(const ring::Features& features) {
    features_ = features;
    queue_ = MUST(Queue::create(config(), region_.bytes()));
    device_ = RawDevice(region_.bytes(), size_, areas_);
  }
  [[nodiscard]] ring::Buffer buffer(std::uint32_t length, std::uint64_t at = 0) const {
    return {.offset = window::RegionOffset{std::to_underlying(data_) + at}, .length = length};
  }
  // A request with 16 bytes to read and 16 to write: two slots.
  ring::Token submit(std::uint64_t cookie = 1) {
    return MUST(queue_.submit(std::array{buffer(16)}, std::array{buffer(16, 16)}, cookie));
  }
  // The same, published: its head or buffer id. A fresh packed device wants every notification; a
  // split one with event indices has to ask for each.
  std::uint16_t request(std::uint64_t cookie = 1) {
    const ring::Token token = submit(cookie);
    const bool notify = queue_.publish();
    EXPECT_TRUE(notify || (format == ring::Format::kSplit && features_.event_idx));
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
    std::vector<std::byte> bytes(layout_.block_bytes() + table_bytes_);
    const std::span all(bytes);
    region_.bytes().copy_out(std::to_underlying(areas_.descriptors),
                             all.first(layout_.block_bytes()));
    region_.bytes().copy_out(std::to_underlying(tables_), all.last(table_bytes_));
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

  ring::Features features_;
  TestRegion region_{{.mode = GetParam()}};
  ring::QueueSize size_ = MUST(ring::QueueSize::from(kSlots, format));
  ring::Layout layout_{size_, format};
  ring::AreaOffsets areas_ = layout_.block_at(region_.allocate(layout_.block_bytes(), 64));
  std::uint64_t table_bytes_ = ring::IndirectTables::bytes(size_, kTableEntries);
  window::RegionOffset tables_ = region_.allocate(table_bytes_, ring::IndirectTables::kAlignment);
  window::RegionOffset data_ = region_.allocate(65536);
  Queue queue_ = MUST(Queue::create(config(), region_.bytes()));
  RawDevice device_{region_.bytes(), size_, areas_};
};

}  // namespace airlock::testing
