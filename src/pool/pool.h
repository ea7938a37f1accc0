// SPDX-License-Identifier: Apache-2.0
//
// The driver's allocator in the region: what swiotlb is to Linux, for a device that can touch
// nothing else.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/result.h"
#include "pool/buffer.h"
#include "pool/slot_map.h"
#include "shm/shared_bytes.h"
#include "window/address.h"

namespace airlock::pool {

/// The unit of allocation, as in swiotlb.
inline constexpr std::uint64_t kSlotBytes = 2048;
inline constexpr std::uint64_t kPageBytes = 4096;
/// Look for room in the area of the calling thread first.
inline constexpr std::uint32_t kHomeOfThread = 0xffff'ffff;

/// Who gets bytes by a mapping.
enum class Direction : std::uint8_t { kToDevice, kFromDevice, kBidirectional };

/// When slots are zeroed. Either way once a cycle, and never does a device see bytes that an
/// earlier mapping put there (HD-26); a clean slot that the device scribbled on holds its own
/// bytes.
enum class Scrub : std::uint8_t {
  kOnUnmap,  // at once: nothing lingers in the region
  kOnMap,    // when the slots are used next, as far as they are not overwritten
};

// Of these two all members have 8 bytes: a copy by words of 8 never spans two that were just
// written.

/// A live mapping, as map() returned it. A plain value; unmap() checks all of it against the
/// private record (HD-27).
struct Mapped {
  window::RegionOffset offset{};
  std::uint64_t bytes = 0;
  std::uint64_t generation = 0;
};

/// Use of part of an InPlaceBuffer by a request in flight: while it lasts, the slots are not
/// reused.
struct Pinned {
  window::RegionOffset offset{};  // of the first byte used
  window::RegionOffset buffer{};
  std::uint64_t generation = 0;
};

struct Stats {
  std::uint64_t nslabs = 0;      // slots in all
  std::uint64_t used = 0;        // slots taken now
  std::uint64_t high_water = 0;  // slots taken at most, each area at its own time
  std::uint64_t maps = 0;
  std::uint64_t bytes_to_device = 0;    // copied into the region
  std::uint64_t bytes_from_device = 0;  // copied out of it
  std::uint64_t full = 0;               // requests refused with kPoolFull
  std::uint64_t too_large = 0;          // refused with kTooLarge
  std::uint64_t bad_handles = 0;        // handles that matched no record
};

/// Gives out the slots of one region. All its state is private memory; it reads nothing from the
/// region to decide by (HD-10, DMB-DR5).
///
/// Threads: any thread may call anything at any time; one handle belongs to one thread at a time.
/// An area has a lock and counters of its own; the lock is not held while bytes are copied, and
/// leans towards the thread that uses the area most, which pays for no locked instruction. Each
/// search starts at the area of its queue, or its thread, and goes on to the others if that is
/// full.
///
/// Where devices share a region it is divided between pools, one for each (create_parts()). A part
/// is a quota: what is given out of it, for however long and to whichever device it is shown,
/// counts against it alone, so nobody can take what is another's.
///
/// Errors: kPoolFull is back-pressure: the same request succeeds after enough has been given back
/// (HD-30). kTooLarge is final: more than max_mapping_bytes().
class Pool {
 public:
  struct Options {
    std::uint64_t first_usable = kPageBytes;  // offset; pages, at least one (DMB-DR3)
    std::uint32_t areas = 1;                  // a mapping lies in one area
    Scrub scrub = Scrub::kOnUnmap;
    std::uint64_t usable_bytes = 0;  // whole pages; 0: to the end of the region
  };

  /// A pool over all of `region`, whose memory must stay mapped for longer than the pool lives.
  /// What the region contains is taken for garbage (DEF-7). Errors: kTooSmall, kNotAligned,
  /// kTooLarge (more slots than 2^31).
  static Result<std::unique_ptr<Pool>> create(const shm::SharedBytes& region,
                                              const Options& options);
  /// Pools of these sizes (whole pages), one behind the other, none of which gives out what is in
  /// another; each pins what any of them gave out. Together they are at most the region but its
  /// first page, and they go together. Errors: as create().
  static Result<std::vector<std::unique_ptr<Pool>>> create_parts(
      const shm::SharedBytes& region, std::span<const std::uint64_t> part_bytes,
      Scrub scrub = Scrub::kOnUnmap);
  /// Every buffer must be gone; mappings left over are forgotten.
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  /// Copies `source` (not empty) into slots and zeroes the rest of the last one. The source is read
  /// again by sync_for_device() only. Room is sought in area `home` first (modulo their number): a
  /// queue that gives its own number has an arena of its own.
  /// Errors: kPoolFull, kTooLarge, kBadLength (empty).
  Result<Mapped> map_to_device(std::span<const std::byte> source,
                               std::uint32_t home = kHomeOfThread);
  /// Slots, zeroed, for target.size() bytes from the device; unmap() copies them to `target`, which
  /// must live until then. Errors: as above.
  Result<Mapped> map_from_device(std::span<std::byte> target, std::uint32_t home = kHomeOfThread);
  /// Both. Errors: as above.
  Result<Mapped> map_bidirectional(std::span<std::byte> buffer, std::uint32_t home = kHomeOfThread);

  /// Copies [offset, offset + length) of the mapped buffer into the region again.
  /// Errors: kBadHandle; kWrongState (the mapping is from-device); kOutOfRange.
  Result<void> sync_for_device(const Mapped& mapped, std::uint64_t offset, std::uint64_t length);
  /// Copies [offset, offset + length), which the device is known to have written, out to the
  /// buffer. Errors: kBadHandle; kWrongState (the mapping is to-device); kOutOfRange.
  Result<void> sync_for_cpu(const Mapped& mapped, std::uint64_t offset, std::uint64_t length);

  /// Ends a mapping: copies the first `written` bytes back, then scrubs the slots and frees them.
  /// `written` has been checked against the ring's private record already; 0 for to-device.
  /// Errors: kBadHandle (nothing happens); kBadLength (`written` is more than was mapped, or not 0
  /// for to-device: nothing is copied, the mapping ends).
  Result<void> unmap(const Mapped& mapped, std::uint64_t written);

  /// A zeroed buffer in the region, at a multiple of `alignment` (a power of two, at least a slot).
  /// Errors: kPoolFull, kTooLarge, kBadLength (empty), kNotPowerOfTwo.
  Result<InPlaceBuffer> allocate(std::uint64_t bytes, std::uint64_t alignment = kSlotBytes);
  /// The same for rings and headers; nothing of it can be pinned.
  Result<CoherentBuffer> allocate_coherent(std::uint64_t bytes, std::uint64_t alignment);

  /// Whether these bytes are memory of the region at all: if so they can't be a mapping's source.
  [[nodiscard]] bool contains(std::span<const std::byte> bytes) const;
  /// Keeps the InPlaceBuffer around `bytes` alive for a request, be it of another part.
  /// Errors: kBadHandle (not within one live in-place buffer).
  Result<Pinned> pin(std::span<const std::byte> bytes);
  /// Errors: kBadHandle.
  Result<void> unpin(const Pinned& pinned);

  [[nodiscard]] Stats stats() const;
  /// The largest mapping that can ever succeed.
  [[nodiscard]] std::uint64_t max_mapping_bytes() const { return max_slots_ * kSlotBytes; }
  [[nodiscard]] const shm::SharedBytes& region() const { return region_; }

 private:
  friend class OwnedSlots;

  enum class Kind : std::uint8_t { kFree, kMapped, kInPlace, kCoherent };
  // What a caller wants slots for.
  struct Wanted {
    std::uint64_t bytes = 0;
    const std::byte* source = nullptr;
    std::byte* target = nullptr;
    std::uint32_t home = kHomeOfThread;
    Kind kind = Kind::kMapped;
    Direction direction = Direction::kToDevice;
  };
  // The truth about what begins at a slot. `owner` is about the slot itself.
  struct Record {
    const std::byte* source = nullptr;
    std::uint64_t bytes = 0;
    std::byte* target = nullptr;
    std::uint32_t slots = 0;
    std::uint32_t generation = 0;
    std::uint32_t pins = 0;
    std::uint32_t owner = 0;  // first slot of the in-place buffer that this slot belongs to, + 1
    Kind kind = Kind::kFree;
    Direction direction = Direction::kToDevice;
    bool released = false;  // given back, but still copied from or pinned
  };
  struct Area;
  // A slot: the area it is in, and its position there.
  struct Place {
    Area* area = nullptr;
    std::uint64_t index = 0;

    [[nodiscard]] Record& record() const;
    [[nodiscard]] std::uint64_t offset() const;
  };

  Pool(const shm::SharedBytes& region, const Options& options);
  Result<Mapped> map(const Wanted& wanted);
  Result<Place> take(const Wanted& wanted, std::uint64_t alignment);
  static void record_taken(Area& area, std::uint32_t first, const Wanted& wanted);
  Result<Place> allocate_zeroed(std::uint64_t bytes, std::uint64_t alignment, Kind kind);
  static bool matches(const Record& record, const Mapped& mapped);
  Result<Record> look_up_for_sync(const Mapped& mapped, Direction refused, std::uint64_t offset,
                                  std::uint64_t length);
  void zero_unclean(const Place& place, std::uint64_t bytes);
  void scrub_and_free(const Place& place);
  void release(window::RegionOffset offset, std::uint32_t generation);
  [[nodiscard]] bool ever_fits(std::uint64_t slots, std::uint64_t alignment) const;
  Result<Place> place_of(window::RegionOffset offset);
  [[nodiscard]] bool is_mine(window::RegionOffset offset) const;
  /// The part that `offset` lies in; this one, if in none.
  [[nodiscard]] Pool& part_with(window::RegionOffset offset);
  Result<Pinned> pin_own(std::uint64_t offset, std::uint64_t bytes);
  Result<void> unpin_own(const Pinned& pinned);
  std::unexpected<Error> bad_handle(window::RegionOffset offset);

  shm::SharedBytes region_;
  Scrub scrub_;
  std::uint64_t first_slot_ = 0;
  std::uint64_t end_slot_ = 0;
  std::uint64_t slots_per_area_ = 0;
  std::uint64_t max_slots_ = 0;
  std::vector<std::unique_ptr<Area>> areas_;
  std::vector<Pool*> others_;  // of the same region, with parts of their own
  std::atomic<std::uint64_t> too_large_{0};
  std::atomic<std::uint64_t> full_{0};
  std::atomic<std::uint64_t> bad_handles_{0};
};

}  // namespace airlock::pool
