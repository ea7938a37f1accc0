// SPDX-License-Identifier: Apache-2.0
//
// What Linux does in place of our pool, to compare with: pool_bench.cc and `airlock compare` do.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <thread>
#include <vector>

#include "base/relax.h"
#include "shm/shared_bytes.h"

namespace airlock::pool {

/// The algorithm of swiotlb, said again (kernel/dma/swiotlb.c of Linux 6.12): areas with a lock
/// each; slots of 2 KiB in segments of 128, which no mapping crosses, so that 256 KiB are the most;
/// each slot knows how many free ones follow in its segment; a search goes on, slot by slot, from
/// where the last mapping ended, and in steps of a page from a page on. Every mapping is copied in,
/// whatever its direction, and copied out in full if the device may have written. Nothing is
/// zeroed.
///
/// Threads: any. As in Linux, a handle is believed.
class LinuxModel {
 public:
  static constexpr std::uint64_t kSlotBytes = 2048;
  static constexpr std::uint32_t kSegmentSlots = 128;
  static constexpr std::uint64_t kLargest = kSegmentSlots * kSlotBytes;

  /// `region` must stay mapped; what is beyond whole segments for each area goes unused.
  LinuxModel(const shm::SharedBytes& region, std::uint32_t areas)
      : region_(region),
        area_slots_(static_cast<std::uint32_t>(region.size() / kSlotBytes / areas) / kSegmentSlots *
                    kSegmentSlots),
        slots_(std::size_t{area_slots_} * areas) {
    for (std::uint32_t i = 0; i < slots_.size(); i++)
      slots_[i].free = kSegmentSlots - (i % kSegmentSlots);
    for (std::uint32_t i = 0; i < areas; i++)
      areas_.push_back(std::make_unique<Area>());
  }

  /// The first slot of a copy of `bytes` (at most kLargest), sought in area `home` first; nothing
  /// if there is no room. swiotlb_tbl_map_single().
  std::optional<std::uint32_t> map(std::span<std::byte> bytes, std::uint32_t home) {
    const auto count = static_cast<std::uint32_t>((bytes.size() + kSlotBytes - 1) / kSlotBytes);
    for (std::uint32_t i = 0; i < areas_.size(); i++) {
      const auto number = static_cast<std::uint32_t>((home + i) % areas_.size());
      const auto first = search(number, count, bytes.size());
      if (!first) continue;
      for (std::uint32_t slot = 0; slot < count; slot++)
        slots_[*first + slot].original = bytes.data() + (slot * kSlotBytes);
      region_.copy_in(*first * kSlotBytes, bytes);
      return first;
    }
    return std::nullopt;
  }

  /// Ends a mapping of `bytes`; copies them out first if `from_device`.
  /// swiotlb_tbl_unmap_single().
  void unmap(std::uint32_t first, std::uint64_t bytes, bool from_device) {
    if (from_device) region_.copy_out(first * kSlotBytes, {slots_[first].original, bytes});
    release(first, static_cast<std::uint32_t>((bytes + kSlotBytes - 1) / kSlotBytes));
  }

  [[nodiscard]] std::uint64_t used() const { return used_.load(std::memory_order_relaxed); }
  /// At most so far, in slots (DT-10).
  [[nodiscard]] std::uint64_t most_used() const { return most_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint32_t size() const { return static_cast<std::uint32_t>(slots_.size()); }

 private:
  struct Slot {
    std::byte* original = nullptr;
    std::uint64_t bytes = 0;
    std::uint32_t free = 0;  // `list`: free slots from here on, in this segment
  };
  // A spin lock, that gives way to a holder which does not run.
  struct alignas(64) Area {
    void lock() {
      for (int tries = 0; taken.exchange(true, std::memory_order_acquire); tries++) {
        while (taken.load(std::memory_order_relaxed)) {
          if (++tries % 128 == 0) std::this_thread::yield();
          relax();
        }
      }
    }
    void unlock() { taken.store(false, std::memory_order_release); }

    std::atomic<bool> taken{false};
    std::uint32_t index = 0;
    std::uint32_t used = 0;
  };

  // swiotlb_search_pool_area()
  std::optional<std::uint32_t> search(std::uint32_t number, std::uint32_t count,
                                      std::uint64_t bytes) {
    Area& area = *areas_[number];
    const std::uint32_t base = number * area_slots_;
    const std::uint32_t stride = bytes >= 2 * kSlotBytes ? 2 : 1;
    const std::scoped_lock held(area);
    if (count > area_slots_ - area.used) return std::nullopt;
    std::uint32_t index = (area.index + stride - 1) / stride * stride % area_slots_;
    for (std::uint32_t checked = 0; checked < area_slots_; checked += stride) {
      if (slots_[base + index].free >= count) {
        take(base + index, count, bytes);
        area.index = (index + count) % area_slots_;
        area.used += count;
        count_used(count);
        return base + index;
      }
      index = (index + stride) % area_slots_;
    }
    return std::nullopt;
  }

  void take(std::uint32_t first, std::uint32_t count, std::uint64_t bytes) {
    for (std::uint32_t i = 0; i < count; i++) {
      slots_[first + i].free = 0;
      slots_[first + i].bytes = bytes - (i * kSlotBytes);
    }
    count_back(first, 0);
  }

  // swiotlb_release_slots()
  void release(std::uint32_t first, std::uint32_t count) {
    Area& area = *areas_[first / area_slots_];
    {
      const std::scoped_lock held(area);
      const std::uint32_t end = first + count;
      std::uint32_t free = end % kSegmentSlots != 0 ? slots_[end].free : 0;
      for (std::uint32_t i = end; i > first; i--)
        slots_[i - 1] = {.free = ++free};
      count_back(first, free);
      area.used -= count;
    }
    used_.fetch_sub(count, std::memory_order_relaxed);
  }

  // Says to the free slots before `first`, in its segment, that `free` follow there.
  void count_back(std::uint32_t first, std::uint32_t free) {
    for (std::uint32_t i = first; i % kSegmentSlots != 0 && slots_[i - 1].free != 0; i--)
      slots_[i - 1].free = ++free;
  }

  // inc_used_and_hiwater(), which every distribution's kernel has (CONFIG_DEBUG_FS).
  void count_used(std::uint32_t count) {
    const std::uint64_t now = used_.fetch_add(count, std::memory_order_relaxed) + count;
    std::uint64_t most = most_.load(std::memory_order_relaxed);
    while (most < now && !most_.compare_exchange_weak(most, now, std::memory_order_relaxed)) {
    }
  }

  shm::SharedBytes region_;
  std::uint32_t area_slots_;
  std::vector<Slot> slots_;
  std::vector<std::unique_ptr<Area>> areas_;
  std::atomic<std::uint64_t> used_{0};
  std::atomic<std::uint64_t> most_{0};
};

}  // namespace airlock::pool
