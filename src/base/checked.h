// SPDX-License-Identifier: Apache-2.0
//
// Arithmetic that says when it does not fit. Bounds checks are core/range.h's.
#pragma once

#include <concepts>
#include <cstdint>
#include <limits>
#include <optional>

namespace airlock {

template <std::integral T>
[[nodiscard]] constexpr std::optional<T> checked_add(T a, T b) {
  T sum{};
  if (__builtin_add_overflow(a, b, &sum)) return std::nullopt;
  return sum;
}

template <std::integral T>
[[nodiscard]] constexpr std::optional<T> checked_multiply(T a, T b) {
  T product{};
  if (__builtin_mul_overflow(a, b, &product)) return std::nullopt;
  return product;
}

/// `value` rounded up to a multiple of `alignment`, a power of two; nothing where that overflows.
[[nodiscard]] constexpr std::optional<std::uint64_t> checked_align_up(std::uint64_t value,
                                                                      std::uint64_t alignment) {
  const auto sum = checked_add(value, alignment - 1);
  if (!sum) return std::nullopt;
  return *sum & ~(alignment - 1);
}

/// The nearest value of a narrower type, for reports: never for a decision.
template <std::unsigned_integral To, std::unsigned_integral From>
[[nodiscard]] constexpr To saturate(From value) {
  constexpr From kMax = std::numeric_limits<To>::max();
  return static_cast<To>(value < kMax ? value : kMax);
}

}  // namespace airlock
