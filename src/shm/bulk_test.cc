// SPDX-License-Identifier: Apache-2.0
//
// Goal: bulk copies are memcpy and memset at any length and alignment, and touch nothing beside.
// Method: lengths around each border between the ways to do it, in buffers with a margin.
#include "shm/bulk.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

namespace airlock::shm {
namespace {

constexpr std::size_t kMargin = 64;
constexpr std::byte kUntouched{0xee};
constexpr std::array<std::size_t, 17> kLengths{
    0, 1, 31, 127, 128, 2047, 2048, 2049, 2175, 2176, 4095, 4096, 4097, 16383, 16384, 16385, 70000};

std::vector<std::byte> pattern(std::size_t size) {
  std::vector<std::byte> bytes(size);
  for (std::size_t i = 0; i < size; i++)
    bytes[i] = std::byte((i % 251) + 1);
  return bytes;
}

bool all(const std::byte* first, std::size_t count, std::byte value) {
  return std::all_of(first, first + count, [&](std::byte b) { return b == value; });
}

TEST(Bulk, CopiesEachLengthFromAndToAnyAlignment) {
  for (const std::size_t length : kLengths) {
    for (const std::size_t shift : {0U, 1U, 16U, 33U}) {
      const auto source = pattern(length + shift);
      std::vector<std::byte> target(length + 2 * kMargin, kUntouched);
      std::byte* const at = target.data() + kMargin - shift;
      bulk_copy(at, source.data() + shift, length);
      EXPECT_TRUE(std::equal(at, at + length, source.data() + shift)) << length << ", " << shift;
      EXPECT_TRUE(all(target.data(), kMargin - shift, kUntouched)) << length << ", " << shift;
      EXPECT_TRUE(all(at + length, kMargin + shift, kUntouched)) << length << ", " << shift;
    }
  }
}

TEST(Bulk, ZeroesEachLengthAtAnyAlignment) {
  for (const std::size_t length : kLengths) {
    for (const std::size_t shift : {0U, 1U, 16U, 33U}) {
      std::vector<std::byte> target(length + 2 * kMargin, kUntouched);
      std::byte* const at = target.data() + kMargin - shift;
      bulk_zero(at, length);
      EXPECT_TRUE(all(at, length, std::byte{0})) << length << ", " << shift;
      EXPECT_TRUE(all(target.data(), kMargin - shift, kUntouched)) << length << ", " << shift;
      EXPECT_TRUE(all(at + length, kMargin + shift, kUntouched)) << length << ", " << shift;
    }
  }
}

}  // namespace
}  // namespace airlock::shm
