// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>

#include "base/result.h"
#include "spec/pci.h"

namespace airlock::driver {

/// What a BAR is, as its register's type bits say, and how big.
struct Bar {
  std::uint64_t size = 0;  // bytes; 0: there is none
  bool is_64bit = false;   // takes the next register too
  bool is_io = false;      // not placed, never used
};
using Bars = std::array<Bar, spec::PCI_STD_NUM_BARS>;
using BarAddresses = std::array<std::uint64_t, spec::PCI_STD_NUM_BARS>;

/// Gives each memory BAR an address of its own, as firmware would: 32-bit ones from 2 GiB, 64-bit
/// ones from 4 GiB on, each at a multiple of its size; 0 for all others.
/// Errors, with the BAR's number as detail where it fits: kNotPowerOfTwo, kTooLarge (no room below
/// 4 GiB, or a BAR of 2^46 bytes and more), kMalformed (the upper half of a 64-bit BAR in use).
Result<BarAddresses> place_bars(const Bars& bars);

}  // namespace airlock::driver
