// SPDX-License-Identifier: Apache-2.0
//
// What lives in the region for longer than one request: buffers that an application uses in place,
// and the memory of rings. Both give their slots back, scrubbed, when they go away.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "shm/shared_bytes.h"
#include "window/address.h"

namespace airlock::pool {

class Pool;

/// One allocation that its owner holds. Movable; must not outlive its Pool. Any thread may release
/// it; one at a time.
class OwnedSlots {
 public:
  OwnedSlots() = default;
  ~OwnedSlots() { reset(); }
  OwnedSlots(OwnedSlots&& other) noexcept
      : pool_(std::exchange(other.pool_, nullptr)),
        offset_(other.offset_),
        generation_(other.generation_),
        memory_(std::exchange(other.memory_, {})) {}
  OwnedSlots& operator=(OwnedSlots&& other) noexcept {
    if (this == &other) return *this;
    reset();
    pool_ = std::exchange(other.pool_, nullptr);
    offset_ = other.offset_;
    generation_ = other.generation_;
    memory_ = std::exchange(other.memory_, {});
    return *this;
  }
  OwnedSlots(const OwnedSlots&) = delete;
  OwnedSlots& operator=(const OwnedSlots&) = delete;

  explicit operator bool() const { return pool_ != nullptr; }
  /// Where it is in the region: never 0 for one that holds memory (DMB-DR3).
  [[nodiscard]] window::RegionOffset offset() const { return offset_; }
  /// Gives the slots back: at once, or for a buffer that a request still uses when that ends.
  void reset();

 protected:
  OwnedSlots(Pool* pool, window::RegionOffset offset, std::uint32_t generation,
             const shm::SharedBytes& memory)
      : pool_(pool), offset_(offset), generation_(generation), memory_(memory) {}
  [[nodiscard]] const shm::SharedBytes& memory() const { return memory_; }

 private:
  Pool* pool_ = nullptr;
  window::RegionOffset offset_{};
  std::uint32_t generation_ = 0;
  shm::SharedBytes memory_;
};

/// Memory in the region that the application fills and reads itself: I/O on it copies nothing. The
/// device can read and change it at any time, so it holds data, never anything to decide by.
class InPlaceBuffer : public OwnedSlots {
 public:
  InPlaceBuffer() = default;
  [[nodiscard]] std::span<std::byte> span() const { return memory().in_place(); }
  [[nodiscard]] std::uint64_t size() const { return memory().size(); }

 private:
  friend class Pool;
  using OwnedSlots::OwnedSlots;
};

/// Memory in the region that driver and device both use all the time: ring areas, request headers.
class CoherentBuffer : public OwnedSlots {
 public:
  CoherentBuffer() = default;
  [[nodiscard]] const shm::SharedBytes& bytes() const { return memory(); }

 private:
  friend class Pool;
  using OwnedSlots::OwnedSlots;
};

}  // namespace airlock::pool
