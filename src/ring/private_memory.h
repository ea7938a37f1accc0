// SPDX-License-Identifier: Apache-2.0
//
// Where an encrypted queue's chains are in the clear: memory of this process.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <span>
#include <vector>

namespace airlock::ring {

/// Zeroed memory for one chain, page aligned, so that a disk can be read into it directly. Movable.
class PrivateMemory {
 public:
  static constexpr std::size_t kAlignment = 4096;

  PrivateMemory() = default;
  explicit PrivateMemory(std::size_t bytes);

  [[nodiscard]] std::span<std::byte> bytes() const { return {memory_.get(), size_}; }

 private:
  struct Free {
    void operator()(std::byte* memory) const {
      ::operator delete(memory, std::align_val_t{kAlignment});
    }
  };

  std::unique_ptr<std::byte, Free> memory_;
  std::size_t size_ = 0;
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
