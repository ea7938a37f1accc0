// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <poll.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "backend/block_backend.h"
#include "shm/sealed_memfd.h"

namespace airlock::testing {

using backend::BlockBackend;
using backend::BlockChannel;
using backend::BlockCompletion;
using backend::BlockOp;
using backend::BlockRequest;

/// Shared memory for segments, and a channel's requests one by one or many at once.
class BlockBench {
 public:
  static constexpr std::uint64_t kBytes = std::uint64_t{4} << 20;

  [[nodiscard]] shm::SharedBytes region() const { return mapping_.bytes(); }
  [[nodiscard]] shm::SharedBytes at(std::uint64_t offset, std::uint64_t length) const {
    return MUST(region().slice(offset, length));
  }

  /// The completions of `count` requests, whenever they come.
  static std::vector<BlockCompletion> wait(BlockChannel& channel, std::size_t count) {
    std::vector<BlockCompletion> all;
    std::array<BlockCompletion, 16> some;
    while (all.size() < count) {
      const std::size_t got = channel.reap(some);
      all.insert(all.end(), some.begin(), some.begin() + static_cast<std::ptrdiff_t>(got));
      if (got > 0) continue;
      CHECK(channel.completion_fd() >= 0);
      pollfd fd{.fd = channel.completion_fd(), .events = POLLIN, .revents = 0};
      CHECK(::poll(&fd, 1, 30'000) != 0);
    }
    EXPECT_EQ(all.size(), count);
    return all;
  }

  static BlockCompletion run(BlockChannel& channel, const BlockRequest& request) {
    EXPECT_TRUE(channel.submit(request));
    return wait(channel, 1).front();
  }

  /// Writes `bytes`, through the start of the region.
  BlockCompletion write(BlockChannel& channel, std::uint64_t offset,
                        const std::vector<std::byte>& bytes) const {
    const shm::SharedBytes memory = at(0, bytes.size());
    memory.copy_in(0, bytes);
    return run(channel, {.op = BlockOp::kWrite,
                         .offset = offset,
                         .length = bytes.size(),
                         .segments = std::span(&memory, 1)});
  }
  std::vector<std::byte> read(BlockChannel& channel, std::uint64_t offset,
                              std::uint64_t length) const {
    const shm::SharedBytes memory = at(0, length);
    const BlockCompletion done = run(channel, {.op = BlockOp::kRead,
                                               .offset = offset,
                                               .length = length,
                                               .segments = std::span(&memory, 1)});
    EXPECT_EQ(done.error, 0);
    EXPECT_EQ(done.bytes, length);
    std::vector<std::byte> bytes(length);
    memory.copy_out(0, bytes);
    return bytes;
  }

 private:
  shm::SealedMemfd memfd_ = MUST(shm::SealedMemfd::create({.name = "test", .size = kBytes}));
  shm::Mapping mapping_ = MUST(memfd_.map());
};

inline std::vector<std::byte> random_bytes(std::mt19937_64& random, std::size_t count) {
  std::vector<std::byte> bytes(count);
  std::ranges::generate(bytes, [&] { return static_cast<std::byte>(random()); });
  return bytes;
}

/// Random requests, several at once, odd segments, against a copy of the disk in plain memory.
/// Requests in flight together don't overlap: their order is nobody's promise.
inline void compare_with_model(BlockBackend& backend, const BlockBench& bench, std::uint32_t seed) {
  constexpr std::uint64_t kAreas = 8;
  constexpr int kRounds = 60;
  std::mt19937_64 random(seed);
  const std::uint64_t area =
      std::min(backend.geometry().capacity_bytes, BlockBench::kBytes) / kAreas;
  auto channel = MUST(backend.open_channel(bench.region(), kAreas));
  std::vector<std::byte> model = bench.read(*channel, 0, area * kAreas);
  std::array<std::vector<shm::SharedBytes>, kAreas> segments;
  for (int round = 0; round < kRounds; ++round) {
    std::array<BlockRequest, kAreas> requests;
    for (std::uint64_t i = 0; i < kAreas; ++i) {
      const std::uint64_t sectors = area / 512;
      const std::uint64_t first = random() % sectors;
      BlockRequest& request = requests[i];
      request = {.token = i,
                 .op = static_cast<BlockOp>(random() % 5),
                 .may_unmap = random() % 2 == 0,
                 .durable = random() % 8 == 0,
                 .offset = area * i + first * 512,
                 .length = (1 + random() % std::min<std::uint64_t>(sectors - first, 64)) * 512};
      if (request.op == BlockOp::kFlush) request.offset = request.length = 0;
      segments[i].clear();
      std::uint64_t cut = 0;
      while (cut < request.length && request.op <= BlockOp::kWrite) {
        const std::uint64_t piece = std::min(request.length - cut, 1 + random() % 3000);
        segments[i].push_back(bench.at(area * i + cut, piece));
        cut += piece;
      }
      if (request.op == BlockOp::kWrite) {
        bench.region().copy_in(area * i, random_bytes(random, request.length));
      }
      request.segments = segments[i];
      ASSERT_TRUE(channel->submit(request));
    }
    for (const BlockCompletion& done : BlockBench::wait(*channel, kAreas)) {
      ASSERT_EQ(done.error, 0);
      const BlockRequest& request = requests.at(done.token);
      ASSERT_EQ(done.bytes, request.length);
      const std::span<std::byte> expected =
          std::span(model).subspan(request.offset, request.length);
      std::vector<std::byte> memory(request.length);
      bench.region().copy_out(area * done.token, memory);
      if (request.op == BlockOp::kRead) {
        ASSERT_TRUE(std::ranges::equal(memory, expected)) << "round " << round;
      } else if (request.op == BlockOp::kWrite) {
        std::ranges::copy(memory, expected.begin());
      } else if (request.op == BlockOp::kWriteZeroes || request.op == BlockOp::kDiscard) {
        std::ranges::fill(expected, std::byte{0});  // these backends zero what they discard
      }
    }
  }
  EXPECT_EQ(bench.read(*channel, 0, model.size()), model);
}

}  // namespace airlock::testing
