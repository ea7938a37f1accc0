// SPDX-License-Identifier: Apache-2.0
//
// Where a disk's bytes live. A backend is opened once, by the control thread; each queue gets a
// channel of its own, used by that queue's thread alone, so that no queue waits for another.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/result.h"
#include "shm/shared_bytes.h"

namespace airlock::backend {

inline constexpr std::uint32_t kSectorBytes = 512;

/// What a disk is like. Fixed while it is open.
struct Geometry {
  std::uint64_t capacity_bytes = 0;  // a multiple of 512, not zero
  std::uint32_t logical_block_bytes = 512;
  std::uint32_t physical_block_bytes = 512;  // a power of two times the logical one
  std::uint32_t optimal_io_bytes = 0;        // 0: not known
  bool read_only = false;
  bool can_discard = false;
  bool can_write_zeroes = false;
  std::uint32_t discard_alignment_bytes = 512;
  std::uint64_t max_discard_bytes = 0;       // in one request; 0: no limit of its own
  std::uint64_t max_write_zeroes_bytes = 0;  // the same
};

/// The physical block of a disk that reports `reported` bytes for it: the logical one where that is
/// no power of two times it, which a driver could not be told (VIRTIO 1.3, 5.2.4).
[[nodiscard]] constexpr std::uint32_t usable_physical_block(std::uint32_t logical,
                                                            std::uint32_t reported) {
  const bool usable = reported % logical == 0 && std::has_single_bit(reported / logical);
  return usable ? reported : logical;
}

enum class BlockOp : std::uint8_t { kRead, kWrite, kFlush, kDiscard, kWriteZeroes };

/// One request. The offset and the length are the caller's to check against the geometry: a range
/// beyond the capacity, or segments whose sizes don't add up to length, are our own bug (CHECK).
struct BlockRequest {
  std::uint64_t token = 0;  // comes back in the completion
  BlockOp op = BlockOp::kRead;
  bool may_unmap = false;    // write zeroes: the storage may be given back
  bool durable = false;      // write, write zeroes: complete only when it would survive a power cut
  std::uint64_t offset = 0;  // bytes; all but flush
  std::uint64_t length = 0;  // bytes, not zero; all but flush
  /// Read, write: the memory. The array and what it leads to stay valid until the completion.
  // NOLINTNEXTLINE(readability-redundant-member-init): GCC wants it, to be left out where not used
  std::span<const shm::SharedBytes> segments = {};
};

struct BlockCompletion {
  std::uint64_t token = 0;
  int error = 0;            // 0, or an errno
  std::uint64_t bytes = 0;  // read or written before the error, if there was one
};

/// A queue's way to the disk. One thread at a time; no call blocks. Requests complete in any order.
///
/// What was submitted before it is destroyed is finished first: the destructor waits, so that
/// nothing touches a segment after it.
class BlockChannel {
 public:
  BlockChannel() = default;
  virtual ~BlockChannel() = default;
  BlockChannel(const BlockChannel&) = delete;
  BlockChannel& operator=(const BlockChannel&) = delete;

  /// Takes a request. It may wait for the next reap() to start.
  /// Errors: kQueueFull, with as many in flight as the channel's depth: retry after a completion.
  /// kSystem (ECANCELED), after cancel() where that is known.
  virtual Result<void> submit(const BlockRequest& request) = 0;

  /// A hint: a request for `length` bytes at `offset` will be submitted soon, and its data may be
  /// fetched meanwhile. Cheap, and changes nothing. The range is checked as that of a request is.
  virtual void expect(BlockOp /*op*/, std::uint64_t /*offset*/, std::uint64_t /*length*/) {}

  /// Starts what waits to be started and fetches what finished; the number of completions. If
  /// `target` is full afterwards there may be more.
  virtual std::size_t reap(std::span<BlockCompletion> target) = 0;

  /// Nobody waits for the results any more: starts no further system call for what is in flight,
  /// and fails with ECANCELED what has not started. Everything still completes: reap() until then.
  /// For good. A channel that never has anything unfinished needs no more than this.
  virtual void cancel() {}

  /// Who can't wait long for what is in flight calls it again and again between calls of reap():
  /// requests that wait for something to come back (a server that is away), however long that
  /// takes, fail with EIO. Others go on.
  virtual void give_up_waiting() {}

  /// A descriptor that is readable when reap() has something to fetch that it had not when it was
  /// last called; -1 if every request is finished by the next reap().
  [[nodiscard]] virtual int completion_fd() const = 0;
};

/// An open disk. Any thread. Outlives its channels.
class BlockBackend {
 public:
  BlockBackend() = default;
  virtual ~BlockBackend() = default;
  BlockBackend(const BlockBackend&) = delete;
  BlockBackend& operator=(const BlockBackend&) = delete;

  [[nodiscard]] virtual const Geometry& geometry() const = 0;

  /// Whether requests are copies that this process makes; otherwise the kernel moves the bytes
  /// straight between the segments and where they live.
  [[nodiscard]] virtual bool copies() const { return false; }

  /// Whether what was written is still there for another process that opens it.
  [[nodiscard]] virtual bool outlives_process() const { return true; }

  /// A line for people: what it is and where. No trailing newline.
  [[nodiscard]] virtual std::string describe() const = 0;

  /// A channel with up to `depth` requests in flight, 1 to 32768, or what the engine can at most.
  /// Most segments will lie in `region`, which may be registered with the kernel; it must outlive
  /// the channel. Errors: kSystem.
  virtual Result<std::unique_ptr<BlockChannel>> open_channel(const shm::SharedBytes& region,
                                                             std::uint32_t depth) = 0;
};

}  // namespace airlock::backend
