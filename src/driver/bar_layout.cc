// SPDX-License-Identifier: Apache-2.0
#include "driver/bar_layout.h"

#include "base/checked.h"
#include "core/range.h"

namespace airlock::driver {

namespace {

constexpr std::uint64_t kLowStart = std::uint64_t{2} << 30;
constexpr std::uint64_t kHighStart = std::uint64_t{4} << 30;
constexpr std::uint64_t kSizeEnd = std::uint64_t{1} << 46;
constexpr std::uint64_t kHighEnd = std::uint64_t{1} << 52;

}  // namespace

Result<BarAddresses> place_bars(const Bars& bars) {
  BarAddresses addresses{};
  std::uint64_t low = kLowStart;
  std::uint64_t high = kHighStart;
  for (std::uint32_t i = 0; i < bars.size(); i++) {
    const Bar& bar = bars[i];
    if (bar.size == 0 || bar.is_io) continue;
    if (!airlock_is_power_of_two(bar.size)) {
      return fail({.code = Errc::kNotPowerOfTwo, .detail = i, .address = bar.size});
    }
    if (bar.is_64bit && (i + 1 == bars.size() || bars[i + 1].size != 0)) {
      return fail({.code = Errc::kMalformed, .detail = spec::PCI_BASE_ADDRESS_0 + (4 * i)});
    }
    std::uint64_t& next = bar.is_64bit ? high : low;
    const std::uint64_t end = bar.is_64bit ? kHighEnd : kHighStart;
    const auto address = checked_align_up(next, bar.size);
    if (bar.size >= kSizeEnd || !address || !airlock_range_within(*address, bar.size, end)) {
      return fail({.code = Errc::kTooLarge, .detail = i, .address = bar.size});
    }
    addresses[i] = *address;
    next = *address + bar.size;
  }
  return addresses;
}

}  // namespace airlock::driver
