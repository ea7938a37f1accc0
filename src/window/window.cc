// SPDX-License-Identifier: Apache-2.0
#include "window/window.h"

#include "base/checked.h"
#include "core/range.h"

namespace airlock::window {

void Window::configure(AddressMode mode, Reach reach) {
  mode_ = mode;
  reach_ = reach;
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
      return SharedSpan(TRY(region_.slice(value - base, length)));
    }
    if (reach_ == Reach::kRegionAndGuest) {
      return SharedSpan(TRY(guest_.find(value, length, access)));
    }
  }
  return fail(
      {.code = Errc::kAddressOutside, .detail = saturate<std::uint32_t>(length), .address = value});
}

}  // namespace airlock::window
