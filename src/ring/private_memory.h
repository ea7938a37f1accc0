// SPDX-License-Identifier: Apache-2.0
//
// Where an encrypted queue's chains are in the clear: memory of this process.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace airlock::ring {

/// Zeroed memory for one chain, page aligned, so that a disk can be read into it directly. Movable.
/// Pages of its own: where it came of the heap, freeing it would have glibc look into /proc, which
/// a device has no more.
class PrivateMemory {
 public:
  static constexpr std::size_t kAlignment = 4096;

  PrivateMemory() = default;
  /// Throws std::bad_alloc.
  explicit PrivateMemory(std::size_t bytes);

  [[nodiscard]] std::span<std::byte> bytes() const {
    return {memory_.get(), memory_.get_deleter().size};
  }

 private:
  struct Unmap {
    std::size_t size;
    void operator()(std::byte* memory) const;
  };

  std::unique_ptr<std::byte, Unmap> memory_;
};

/// What chains had and have no more: as long as a queue's chains resemble each other none of them
/// needs new memory. One queue's, so that what is left in it is the same driver's.
class SpareMemory {
 public:
  /// At least `bytes`, maybe with what an earlier chain left there.
  [[nodiscard]] PrivateMemory take(std::size_t bytes);
  void give(PrivateMemory memory);

 private:
  static constexpr std::size_t kBytesMost = std::size_t{16} << 20;  // kept; the rest is freed

  std::vector<PrivateMemory> spare_;  // the last is the one given last
  std::size_t bytes_ = 0;
};

}  // namespace airlock::ring
