// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "core/descriptor.h"
#include "ring/layout.h"
#include "ring/packed_event.h"
#include "ring/packed_position.h"
#include "testing/test_region.h"

namespace airlock::testing {

/// A driver's side of a packed queue without a single check, for tests of a device: it writes
/// whatever it is told to, lies too, straight into a TestRegion, in that region's address mode. Not
/// thread-safe; the region must outlive it.
class FakePackedDriver {
 public:
  struct Options {
    std::uint32_t slots = 0;  // a queue size (CHECK)
    ring::Features features{};
    std::uint16_t queue = 0;
  };
  /// A descriptor that the device marked as used, as it is.
  struct Used {
    std::uint16_t id = 0;
    std::uint32_t length = 0;
    bool write = false;  // the WRITE flag

    friend bool operator==(const Used&, const Used&) = default;
  };

  /// Allocates the three areas in `region`. The format is packed, whatever the options say.
  FakePackedDriver(TestRegion& region, const Options& options);

  /// What a device's queue is created from.
  [[nodiscard]] const ring::QueueConfig& config() const { return config_; }
  [[nodiscard]] ring::QueueConfig& config() { return config_; }
  [[nodiscard]] TestRegion& region() const { return *region_; }
  [[nodiscard]] ring::QueueSize size() const { return config_.size; }
  [[nodiscard]] std::uint64_t address(window::RegionOffset offset) const {
    return std::to_underlying(region_->address(offset));
  }

  // Raw writes. Slots are taken modulo the queue size, so that a lie stays inside the ring.
  /// All of a descriptor at once, its flags as they are; `next` is the buffer id.
  void put_descriptor(std::uint32_t slot, const airlock_descriptor& descriptor);
  void set_flags(std::uint32_t slot, std::uint16_t flags);
  /// The driver's event suppression structure.
  void set_driver_event(const ring::PackedEvent& event);

  // Descriptors for make_available(), each with a new buffer.
  [[nodiscard]] airlock_descriptor readable(std::string_view text);
  /// A zeroed buffer.
  [[nodiscard]] airlock_descriptor writable(std::uint32_t length);
  /// One that names an indirect table with `entries`, written as they are.
  [[nodiscard]] airlock_descriptor table(std::span<const airlock_descriptor> entries);

  /// The honest way: the next slots, with NEXT in all but the last, the buffer id in the last and
  /// something else in the others; the flags of the first come last.
  void make_available(std::span<const airlock_descriptor> chain, std::uint16_t id);
  void make_available(std::initializer_list<airlock_descriptor> chain, std::uint16_t id) {
    make_available(std::span(chain.begin(), chain.size()), id);
  }
  /// The same without the flags of the first: show() brings them.
  void hide_available(std::span<const airlock_descriptor> chain, std::uint16_t id);
  void show();
  [[nodiscard]] ring::PackedPosition next_avail() const { return next_avail_; }

  // What the device wrote.
  [[nodiscard]] airlock_descriptor descriptor(std::uint32_t slot) const;
  [[nodiscard]] ring::PackedEvent device_event() const;
  /// The next used descriptor, if there is one, unchecked; then goes on by `slots`.
  [[nodiscard]] std::optional<Used> take_used(std::uint32_t slots = 1);

  [[nodiscard]] std::vector<std::byte> get_bytes(std::uint64_t address, std::uint64_t length) const;

 private:
  FakePackedDriver(TestRegion& region, const Options& options, ring::QueueSize size,
                   const ring::AreaOffsets& areas);

  TestRegion* region_;
  ring::QueueConfig config_;
  shm::SharedBytes ring_;
  shm::SharedBytes driver_event_;
  shm::SharedBytes device_event_;
  ring::PackedPosition next_avail_;
  ring::PackedPosition next_used_;
  std::uint32_t hidden_slot_ = 0;
  std::uint16_t hidden_flags_ = 0;
};

}  // namespace airlock::testing
