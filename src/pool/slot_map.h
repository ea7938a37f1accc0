// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

namespace airlock::pool {

/// Which slots of one area are free: the arithmetic of the pool, without memory, lock or peer.
///
/// What comes back is parked first, by its exact size, and the next request of that size takes the
/// block parked last: a busy driver stays in the same cache lines, at the cost of two loads. Blocks
/// of 64 slots and more, and all parked ones once they are kParkedMost slots or a request finds no
/// other room, merge with their neighbours and go into lists by size (one a size below 64 slots,
/// eight a power of two above) with a bitmap of the lists that are not empty. So a large request
/// takes the head of the first list of which any block will do. take() and give() are O(1); each
/// block that was parked is merged at most once. Where a request of 64 slots or more, or an aligned
/// one, finds nothing that way, it looks at the blocks of its own list, if aligned at all, before
/// it fails, so that it fails only where there is no room.
/// Everything here is private memory: no device can reach it (HD-10).
///
/// Counts and positions are in slots. Not thread-safe. Misuse is our own bug (CHECK).
class SlotMap {
 public:
  static constexpr std::uint32_t kNone = 0xffff'ffff;

  /// An area of `slots` free ones, of which the first is number `origin` of the region.
  SlotMap(std::uint32_t origin, std::uint32_t slots);

  /// Takes `count` (not zero) adjacent slots whose number in the region is a multiple of
  /// `alignment`, a power of two. Returns the first, counted from the area's start; kNone where
  /// there is no such room now.
  [[nodiscard]] std::uint32_t take(std::uint32_t count, std::uint32_t alignment);
  /// Gives back exactly what one take() returned.
  void give(std::uint32_t first, std::uint32_t count);
  /// Merges all that is parked.
  void settle();

  [[nodiscard]] std::uint32_t size() const { return static_cast<std::uint32_t>(slots_.size()); }
  /// Blocks of adjacent free slots, parked ones not counted: 1 when everything is free again, after
  /// settle(). For tests.
  [[nodiscard]] std::uint32_t free_blocks() const { return free_blocks_; }

 private:
  static constexpr std::uint32_t kExact = 64;  // sizes below have a list each
  static constexpr std::uint32_t kLists = 320;
  static constexpr std::uint32_t kParkedMost = 1024;  // slots: 2 MiB, what a core's cache may hold

  // A block is known at its ends: `count` and `state` at its head, and for a free block at its tail
  // too. Everything between is kInside, so that no stale mark is ever taken for a block.
  enum class State : std::uint8_t { kInside, kTaken, kParked, kFree, kFreeTail };
  struct Slot {
    std::uint32_t count = 0;
    std::uint32_t next = kNone;
    std::uint32_t previous = kNone;
    State state = State::kInside;
  };

  static std::uint32_t list_of(std::uint32_t count);
  static std::uint32_t first_sure_list(std::uint32_t count);
  [[nodiscard]] std::uint32_t next_list(std::uint32_t from) const;
  [[nodiscard]] std::optional<std::uint32_t> fit(std::uint32_t block, std::uint32_t count,
                                                 std::uint32_t alignment) const;
  [[nodiscard]] std::optional<std::uint32_t> find(std::uint32_t count, std::uint32_t alignment,
                                                  std::uint32_t& block) const;
  [[nodiscard]] std::uint32_t take_merged(std::uint32_t count, std::uint32_t alignment);
  void merge(std::uint32_t first, std::uint32_t count);
  void insert(std::uint32_t first, std::uint32_t count);
  void remove(std::uint32_t first);

  std::uint32_t origin_;
  std::uint32_t free_blocks_ = 0;
  std::uint32_t parked_slots_ = 0;
  std::vector<Slot> slots_;
  std::array<std::uint32_t, kExact> parked_;  // by size: the first slot of the block parked last
  std::array<std::uint32_t, kLists> heads_;
  std::array<std::uint64_t, kLists / 64> occupied_{};
};

}  // namespace airlock::pool
