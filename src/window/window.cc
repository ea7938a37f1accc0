// SPDX-License-Identifier: Apache-2.0
#include "window/window.h"

#include "base/checked.h"
#include "core/range.h"

namespace airlock::window {

void Window::configure(AddressMode mode, Reach reach) {
  mode_ = mode;
  reach_ = reach;
  if (reach == Reach::kNothing) return;  // what was touched before stays to be looked at
  touched_mode_ = mode;
  touched_first_ = Touched().first;
  touched_end_ = Touched().end;
}

Touched Window::touched() const {
  return {.mode = touched_mode_,
          .first = touched_first_.load(std::memory_order_relaxed),
          .end = touched_end_.load(std::memory_order_relaxed)};
}

// The extremes are soon found: after that this is two loads of what nobody writes.
void Window::note(std::uint64_t address, std::uint64_t length) const {
  std::uint64_t first = touched_first_.load(std::memory_order_relaxed);
  while (address < first &&
         !touched_first_.compare_exchange_weak(first, address, std::memory_order_relaxed)) {
  }
  // tidy: cannot overflow because the range lies in memory that was mapped
  const std::uint64_t last = address + length;
  std::uint64_t end = touched_end_.load(std::memory_order_relaxed);
  while (last > end && !touched_end_.compare_exchange_weak(end, last, std::memory_order_relaxed)) {
  }
}

Result<SharedSpan> Window::translate(DriverAddress address, std::uint64_t length,
                                     Access access) const {
  const std::uint64_t value = std::to_underlying(address);
  const std::uint64_t base =
      mode_ == AddressMode::kBus ? bus_base_.load(std::memory_order_relaxed) : 0;
  const bool unset = mode_ == AddressMode::kOffset && value == 0;
  const bool placed = base != std::to_underlying(kUnplaced);
  if (reach_ != Reach::kNothing && length != 0 && !unset) {
    if (placed && airlock_range_inside(value, length, base, region_.size())) {
      const shm::SharedBytes inside = TRY(region_.slice(value - base, length));
      note(value, length);
      return SharedSpan(inside);
    }
    if (reach_ == Reach::kRegionAndGuest) {
      const shm::SharedBytes inside = TRY(guest_.find(value, length, access));
      note(value, length);
      return SharedSpan(inside);
    }
  }
  return fail(
      {.code = Errc::kAddressOutside, .detail = saturate<std::uint32_t>(length), .address = value});
}

}  // namespace airlock::window
