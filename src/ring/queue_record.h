// SPDX-License-Identifier: Apache-2.0
//
// How far a device's queue got, kept where another process finds it: docs/RESTART.md.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "ring/packed_position.h"
#include "ring/queue_size.h"
#include "shm/shared_bytes.h"
#include "spec/queue_state.h"

namespace airlock::ring {

/// The record of one queue, or none: then the queue starts empty and leaves nothing behind. A view,
/// as SharedBytes is. One thread at a time.
///
/// A queue that has one returns chains in the order in which they were made available, so that what
/// is in flight is all that was made available and not returned; and it returns each by one store.
class QueueRecord {
 public:
  /// Of a packed ring: where the used descriptor goes that was shown last, and the one after it. If
  /// nobody got round to showing it, `position` is where the queue stands, else `next`.
  struct Progress {
    PackedPosition position;
    PackedPosition next;

    friend bool operator==(const Progress&, const Progress&) = default;
  };

  QueueRecord() = default;
  /// `bytes` are a spec::VirtqState, aligned to eight.
  explicit QueueRecord(const shm::SharedBytes& bytes) : bytes_(bytes) {}

  explicit operator bool() const { return !bytes_.empty(); }

  /// Whether a queue was begun and not forgotten: there is something to go on from.
  [[nodiscard]] bool live() const {
    return !bytes_.empty() && load().live.get() != spec::QUEUE_STATE_NONE;
  }
  /// What a live record says of a queue of this kind; nullopt if it is not live, or none. Who wrote
  /// it is believed to have meant well, and not to have been right. Errors: kWrongState: it is of
  /// another kind of queue, or names a slot that there is not.
  [[nodiscard]] Result<std::optional<Progress>> find(Format format, QueueSize size) const;

  /// The queue is live from now on, and stands at `start`.
  void begin(Format format, QueueSize size, PackedPosition start = {}) const;
  /// To be called before the used descriptor at `position` is shown, after which the queue stands
  /// at `next`: one store, for both.
  void advance(PackedPosition position, PackedPosition next) const {
    bytes_.store_relaxed<Le32>(offsetof(spec::VirtqState, position), both(position, next));
  }
  /// The queue is gone, with all that it had in flight.
  void forget() const { store({}); }

 private:
  static Le32 both(PackedPosition position, PackedPosition next) {
    return Le32(position.off_wrap() | std::uint32_t{next.off_wrap()} << 16);
  }
  // All of it at once: there is no half a record.
  [[nodiscard]] spec::VirtqState load() const {
    return std::bit_cast<spec::VirtqState>(bytes_.load_acquire<std::uint64_t>(0));
  }
  void store(const spec::VirtqState& state) const {
    bytes_.store_release<std::uint64_t>(0, std::bit_cast<std::uint64_t>(state));
  }

  shm::SharedBytes bytes_;
};

}  // namespace airlock::ring
