// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "window/shared_span.h"

namespace airlock::ring {

/// Names a chain that a device took from a queue and has not returned: a private name, below the
/// queue size, and in flight once. (In a split ring it is the chain's head; a packed ring's buffer
/// ids are the driver's, and any 16 bits.)
enum class Head : std::uint16_t {};

/// A descriptor chain that a device queue took and checked: a value, private to the device.
///
/// What it proves, so that nobody needs to look again:
///  - it ended, after no more buffers than the queue has entries; every index was below the entries
///    of its table, and of indirect tables there was one at most;
///  - every flag was known and negotiated;
///  - device-readable buffers come before device-writable ones;
///  - no buffer is empty, and the lengths of all add up to less than 2^32;
///  - each buffer lies in what the device may touch, whole.
/// What it does not prove: that the driver leaves the bytes alone meanwhile (read them once), or
/// that buffers don't overlap each other.
///
/// How the driver cut a request into buffers means nothing (VIRTIO 1.3, 2.7.4): read() and write()
/// count bytes from the start of the readable or the writable part. Keeps its storage when
/// refilled, so a Chain that is reused does not allocate. Valid as long as the window's memory.
class Chain {
 public:
  /// Some bytes of the readable or of the writable part.
  struct Part {
    std::uint32_t offset = 0;
    std::uint32_t length = 0;
  };

  Chain() = default;
  /// Room for `buffers` buffers from the start.
  explicit Chain(std::size_t buffers) { spans_.reserve(buffers); }

  [[nodiscard]] Head head() const { return head_; }

  /// Buffers for the device to read, in order.
  [[nodiscard]] std::span<const window::SharedSpan> readable() const {
    return std::span(spans_).first(readable_count_);
  }
  /// Buffers for the device to write, in order.
  [[nodiscard]] std::span<const window::SharedSpan> writable() const {
    return std::span(spans_).subspan(readable_count_);
  }
  [[nodiscard]] std::uint32_t readable_bytes() const { return readable_bytes_; }
  [[nodiscard]] std::uint32_t writable_bytes() const { return writable_bytes_; }

  /// Copies target.size() bytes out of the readable part, from its byte `offset` on.
  /// Errors: kOutOfRange if the part has fewer; nothing was copied then.
  [[nodiscard]] Result<void> read(std::uint32_t offset, std::span<std::byte> target) const;
  /// A private copy of a wire struct in the readable part. Errors: kOutOfRange.
  template <class T>
    requires(std::is_trivially_copyable_v<T> && std::has_unique_object_representations_v<T>)
  [[nodiscard]] Result<T> read(std::uint32_t offset) const {
    T copy{};
    if (auto done = read(offset, std::as_writable_bytes(std::span(&copy, 1))); !done) {
      return fail(done.error());
    }
    return copy;
  }
  /// Copies source.size() bytes into the writable part, from its byte `offset` on.
  /// Errors: kOutOfRange if the part has fewer; nothing was copied then.
  [[nodiscard]] Result<void> write(std::uint32_t offset, std::span<const std::byte> source) const;

  /// Appends the memory behind some bytes of the readable part to `target`, in order: for a backend
  /// that takes it without a copy. Errors: kOutOfRange, with `target` as it was.
  [[nodiscard]] Result<void> append_readable(Part part,
                                             std::vector<shm::SharedBytes>& target) const;
  /// The same of the writable part.
  [[nodiscard]] Result<void> append_writable(Part part,
                                             std::vector<shm::SharedBytes>& target) const;

 private:
  friend class ChainWalk;
  friend class SplitDeviceQueue;   // these two give it
  friend class PackedDeviceQueue;  // its head
  friend class SealedDeviceQueue;  // puts what it opened in the place of what was sealed

  std::vector<window::SharedSpan> spans_;  // readable ones first
  std::size_t readable_count_ = 0;
  std::uint32_t readable_bytes_ = 0;
  std::uint32_t writable_bytes_ = 0;
  Head head_{};
};

}  // namespace airlock::ring
