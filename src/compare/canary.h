// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>

namespace airlock::compare {

namespace internal {
/// The inverse of an odd number, modulo 2^64, by Newton's method.
constexpr std::uint64_t inverse(std::uint64_t odd) {
  std::uint64_t x = odd;
  for (int i = 0; i < 5; ++i)
    x *= 2 - odd * x;
  return x;
}
}  // namespace internal

/// The pattern that a guest's private memory is filled with: each word of 8 bytes, wherever it
/// turns up, says of which key and from where it is. The mix can be turned back, so that a scan
/// needs no table; a word of something else passes for one of `words` with a chance of
/// words / 2^64.
class Canary {
 public:
  static constexpr std::uint64_t kWordBytes = 8;

  explicit constexpr Canary(std::uint64_t key) : key_(key) {}

  /// What stands at byte index * kWordBytes of the private memory.
  [[nodiscard]] constexpr std::uint64_t word(std::uint64_t index) const {
    std::uint64_t value = (index ^ key_) * kFirst;
    value ^= value >> kHalf;
    value *= kSecond;
    return value ^ value >> kHalf;
  }
  /// Which of the first `words` words this is; nothing if it is none of them.
  [[nodiscard]] constexpr std::optional<std::uint64_t> index_of(std::uint64_t value,
                                                                std::uint64_t words) const {
    value ^= value >> kHalf;
    value *= kSecondBack;
    value ^= value >> kHalf;
    const std::uint64_t index = (value * kFirstBack) ^ key_;
    return index < words ? std::optional(index) : std::nullopt;
  }

  /// Calls `found` with the index of each whole word of `bytes` that is one of the first `words`.
  template <class F>
  void each_in(std::span<const std::byte> bytes, std::uint64_t words, const F& found) const {
    for (; bytes.size() >= kWordBytes; bytes = bytes.subspan(kWordBytes)) {
      std::uint64_t value = 0;
      std::memcpy(&value, bytes.data(), sizeof value);
      if (value == 0) continue;  // most of what there is is empty, and soon passed by
      if (const auto index = index_of(value, words)) found(*index);
    }
  }

  /// Fills `target` as what stands at byte `offset` of the private memory; both are multiples of
  /// kWordBytes (CHECK).
  void fill(std::span<std::byte> target, std::uint64_t offset) const;

 private:
  static constexpr unsigned kHalf = 32;
  static constexpr std::uint64_t kFirst = 0x9e3779b97f4a7c15;
  static constexpr std::uint64_t kSecond = 0xd6e8feb86659fd93;
  static constexpr std::uint64_t kFirstBack = internal::inverse(kFirst);
  static constexpr std::uint64_t kSecondBack = internal::inverse(kSecond);
  static_assert(kFirst * kFirstBack == 1 && kSecond * kSecondBack == 1);

  std::uint64_t key_;
};

/// Buffers of private memory that a driver gave to a device: `count` of `length` bytes, the first
/// at `first`, each `stride` (at least as much) after the one before. Multiples of
/// Canary::kWordBytes.
struct Declared {
  std::uint64_t first = 0;
  std::uint64_t stride = 1;
  std::uint64_t length = 0;
  std::uint64_t count = 0;

  [[nodiscard]] constexpr bool contains(std::uint64_t offset) const {
    return offset >= first && (offset - first) / stride < count &&
           (offset - first) % stride < length;
  }
};

}  // namespace airlock::compare
