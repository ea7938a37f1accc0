// SPDX-License-Identifier: Apache-2.0
//
// Goal: threads share a pool without races (run under tsan) and never share a slot. Method: each
// thread writes its own number into what it maps, and looks for it after the others had their turn.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <thread>
#include <vector>

#include "pool/pool.h"
#include "shm/sealed_memfd.h"

namespace airlock::pool {
namespace {

constexpr int kThreads = 4;
constexpr int kRounds = 2000;

void map_and_check(Pool& pool, unsigned number) {
  std::array<std::byte, 3000> buffer{};
  for (int round = 0; round < kRounds; round++) {
    const auto size = static_cast<std::size_t>(1 + (round * 37) % 3000);
    const auto bytes = std::span(buffer).first(size);
    std::ranges::fill(bytes, std::byte(number));
    const auto mapped = pool.map_bidirectional(bytes);
    if (!mapped) {
      ASSERT_EQ(mapped.error().code, Errc::kPoolFull);
      std::this_thread::yield();
      continue;
    }
    std::ranges::fill(bytes, std::byte{0});
    ASSERT_TRUE(pool.unmap(*mapped, size));
    ASSERT_TRUE(std::ranges::all_of(bytes, [&](std::byte b) { return b == std::byte(number); }));
  }
}

void use_in_place(Pool& pool, unsigned number) {
  for (int round = 0; round < kRounds; round++) {
    auto buffer = pool.allocate(3000);
    if (!buffer) continue;
    std::ranges::fill(buffer->span(), std::byte(number));
    const Pinned pinned = MUST(pool.pin(buffer->span().subspan(2500)));
    ASSERT_EQ(buffer->span()[2999], std::byte(number));
    buffer->reset();
    ASSERT_TRUE(pool.unpin(pinned));
    (void)pool.stats();
  }
}

void run(std::uint32_t areas) {
  const auto memfd = MUST(shm::SealedMemfd::create({.size = 32768}));
  const shm::Mapping mapping = MUST(memfd.map());
  const auto pool = MUST(Pool::create(mapping.bytes(), {.areas = areas}));
  {
    std::vector<std::jthread> threads;
    for (unsigned i = 1; i <= kThreads; i++) {
      threads.emplace_back([&pool, i] { map_and_check(*pool, i); });
    }
    threads.emplace_back([&pool] { use_in_place(*pool, 0x77); });
  }
  EXPECT_EQ(pool->stats().used, 0U);
  EXPECT_EQ(pool->stats().bad_handles, 0U);
}

TEST(PoolThreads, ShareOneArea) {
  run(1);
}

TEST(PoolThreads, ShareAreasOfTheirOwn) {
  run(3);
}

}  // namespace
}  // namespace airlock::pool
