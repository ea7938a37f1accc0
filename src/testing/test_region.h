// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "shm/sealed_memfd.h"
#include "window/window.h"

namespace airlock::testing {

/// A region as driver and device see it, for tests: a sealed memfd, mapped, with a window that is
/// open on all of it. Whatever can't be had stops the test (CHECK). Views of it must not outlive
/// it.
class TestRegion {
 public:
  struct Options {
    std::uint64_t size = std::uint64_t{1} << 20;  // bytes; a multiple of 4096
    window::AddressMode mode = window::AddressMode::kOffset;
    window::BusAddress bus_base{0x8'0000'0000};
  };

  TestRegion() : TestRegion(Options{}) {}
  explicit TestRegion(const Options& options);
  TestRegion(const TestRegion&) = delete;
  TestRegion& operator=(const TestRegion&) = delete;

  [[nodiscard]] const shm::SealedMemfd& memfd() const { return memfd_; }
  [[nodiscard]] shm::SharedBytes bytes() const { return mapping_.bytes(); }
  [[nodiscard]] window::Window& window() { return window_; }
  [[nodiscard]] const window::Window& window() const { return window_; }
  /// How the driver writes addresses, by the window's mode.
  [[nodiscard]] window::Publisher publisher() const {
    return {.mode = window_.mode(), .region = window_.region_bus_base()};
  }
  [[nodiscard]] window::DriverAddress address(window::RegionOffset offset) const {
    return publisher().publish(offset);
  }

  /// Room for `length` bytes that nobody else has, zeroed; never at offset 0. Given back by
  /// free_to() alone. `alignment` is a power of two.
  [[nodiscard]] window::RegionOffset allocate(std::uint64_t length, std::uint64_t alignment = 16);
  /// What allocate() has left, alignment aside.
  [[nodiscard]] std::uint64_t free_bytes() const { return bytes().size() - next_; }
  /// Where allocate() is now, to go back to: everything allocated after it is free again.
  [[nodiscard]] std::uint64_t mark() const { return next_; }
  void free_to(std::uint64_t mark) { next_ = mark; }

 private:
  static constexpr std::uint64_t kFirst = 4096;

  shm::SealedMemfd memfd_;
  shm::Mapping mapping_;
  window::Window window_;
  std::uint64_t next_ = kFirst;
};

}  // namespace airlock::testing
