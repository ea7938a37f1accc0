// SPDX-License-Identifier: Apache-2.0
//
// Little-endian integers of the wire. No implicit conversion, so endianness can't be forgotten.
#pragma once

#include <bit>
#include <concepts>
#include <cstdint>

namespace airlock {

template <std::unsigned_integral T>
class Le {
 public:
  constexpr Le() = default;
  constexpr explicit Le(T value) : raw_(convert(value)) {}

  [[nodiscard]] constexpr T get() const { return convert(raw_); }
  constexpr void set(T value) { raw_ = convert(value); }

  friend constexpr bool operator==(Le, Le) = default;

 private:
  static constexpr T convert(T value) {
    if constexpr (std::endian::native == std::endian::little) {
      return value;
    } else {
      return std::byteswap(value);
    }
  }

  T raw_ = 0;
};

using Le16 = Le<std::uint16_t>;
using Le32 = Le<std::uint32_t>;
using Le64 = Le<std::uint64_t>;
static_assert(sizeof(Le16) == 2 && sizeof(Le32) == 4 && sizeof(Le64) == 8);

}  // namespace airlock
