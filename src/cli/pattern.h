// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace airlock::cli {

inline constexpr std::uint64_t kSectorBytes = 512;

/// splitmix64: the next of a sequence of well-mixed numbers.
constexpr std::uint64_t mix(std::uint64_t& state) {
  state += 0x9e3779b97f4a7c15;
  std::uint64_t z = state;
  z = (z ^ (z >> 30U)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27U)) * 0x94d049bb133111eb;
  return z ^ (z >> 31U);
}

/// What sector number `sector` holds after write number `version` of a run with `seed`: no two are
/// alike. Version 0: never written, all zeros.
inline void fill_sector(std::span<std::byte, kSectorBytes> target, std::uint64_t seed,
                        std::uint64_t sector, std::uint32_t version) {
  std::array<std::uint64_t, kSectorBytes / 8> words{};
  if (version != 0) {
    std::uint64_t state = seed ^ (sector << 24U) ^ (std::uint64_t{version} << 44U) ^ version;
    for (std::uint64_t& word : words)
      word = mix(state);
  }
  std::memcpy(target.data(), words.data(), kSectorBytes);
}

/// FNV-1a over 64-bit words: to compare two long streams by one number.
class Checksum {
 public:
  void add(std::span<const std::byte> bytes) {
    for (std::size_t at = 0; at + 8 <= bytes.size(); at += 8) {
      std::uint64_t word = 0;
      std::memcpy(&word, bytes.data() + at, 8);
      value_ = (value_ ^ word) * 0x100000001b3;
      value_ ^= value_ >> 29U;
    }
  }
  [[nodiscard]] std::uint64_t value() const { return value_; }

 private:
  std::uint64_t value_ = 0xcbf29ce484222325;
};

}  // namespace airlock::cli
