// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

namespace airlock::pool {

/// Which slots of one area are free: the arithmetic of the pool, without memory, lock or peer.
///
/// Free blocks are kept in lists by size (one a size below 64 slots, eight a power of two above)
/// with a bitmap of the lists that are not empty, and merge with their neighbours as they come
/// back. The block given back last is taken first, so a busy driver stays in the same cache lines.
/// take() of a slot-aligned count and give() are O(1); where a large or an aligned request finds
/// nothing that way, it looks at each free block once before it fails, so that it fails only where
/// there is no room. Everything here is private memory: no device can reach it (HD-10).
///
/// Counts and positions are in slots. Not thread-safe. Misuse is our own bug (CHECK).
class SlotMap {
 public:
  /// An area of `slots` free ones, of which the first is number `origin` of the region.
  SlotMap(std::uint32_t origin, std::uint32_t slots);

  /// Takes `count` (not zero) adjacent slots whose number in the region is a multiple of
  /// `alignment`, a power of two. Returns the first, counted from the area's start; nothing where
  /// there is no such room now.
  [[nodiscard]] std::optional<std::uint32_t> take(std::uint32_t count, std::uint32_t alignment);
  /// Gives back exactly what one take() returned.
  void give(std::uint32_t first, std::uint32_t count);

  [[nodiscard]] std::uint32_t size() const { return static_cast<std::uint32_t>(slots_.size()); }
  /// Adjacent free slots that are one block each: 1 when everything is free again. For tests.
  [[nodiscard]] std::uint32_t free_blocks() const { return free_blocks_; }

 private:
  static constexpr std::uint32_t kNone = 0xffff'ffff;
  static constexpr std::uint32_t kExact = 64;  // sizes below have a list each
  static constexpr std::uint32_t kLists = 320;

  // A block is known at its ends: `count` and `state` at its head, and for a free block at its tail
  // too. Everything between is kInside, so that no stale mark is ever taken for a block.
  enum class State : std::uint8_t { kInside, kTaken, kFree, kFreeTail };
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
  void insert(std::uint32_t first, std::uint32_t count);
  void remove(std::uint32_t first);

  std::uint32_t origin_;
  std::uint32_t free_blocks_ = 0;
  std::vector<Slot> slots_;
  std::array<std::uint32_t, kLists> heads_;
  std::array<std::uint64_t, kLists / 64> occupied_{};
};

}  // namespace airlock::pool
