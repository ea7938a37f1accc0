// SPDX-License-Identifier: Apache-2.0
//
// What a driver hands to a queue and gets back from it, whatever the ring's format.
#pragma once

#include <cstdint>
#include <optional>

#include "base/result.h"
#include "window/address.h"

namespace airlock::ring {

/// Bytes of the region that a device may read or write.
struct Buffer {
  window::RegionOffset offset{};
  std::uint32_t length = 0;  // bytes, not zero
};

/// Names an outstanding request of one queue, until its completion. An index into the driver's
/// private table (HD-29): nothing else travels through shared memory.
enum class Token : std::uint16_t {};

/// A request that the device returned, checked against the driver's own record of it.
struct Completion {
  Token token{};
  std::uint64_t cookie = 0;         // as given to submit()
  std::uint32_t written_bytes = 0;  // at most the bytes of the writable buffers
  /// False: the device returned it with a later one, and said nothing of its length; written_bytes
  /// is then all that the writable buffers have. VIRTIO 1.3, 2.7.9, 2.8.8; HD-32.
  bool length_reported = true;

  friend bool operator==(const Completion&, const Completion&) = default;
};

/// The next completion of a queue, by its poll(Completion&).
template <class Queue>
[[nodiscard]] Result<std::optional<Completion>> poll_one(Queue& queue) {
  Completion completion;
  const Result<bool> any = queue.poll(completion);
  if (!any) return fail(any.error());
  return *any ? std::optional(completion) : std::nullopt;
}

/// A request that will never be completed by the device.
struct Outstanding {
  Token token{};
  std::uint64_t cookie = 0;

  friend bool operator==(const Outstanding&, const Outstanding&) = default;
};

}  // namespace airlock::ring
