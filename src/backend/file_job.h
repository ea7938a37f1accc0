// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/uio.h>

#include <bit>
#include <cstdint>
#include <span>
#include <vector>

#include "backend/block_backend.h"
#include "backend/file_target.h"

namespace airlock::backend {

/// Where a piece of memory for the kernel starts, as a number.
[[nodiscard]] inline std::uintptr_t address_of(const iovec& vector) {
  return std::bit_cast<std::uintptr_t>(vector.iov_base);
}

/// One request on its way through a file: which system call comes next, and what its result means.
/// Knows nothing of how calls are made, so every engine continues short transfers, retries
/// interrupted ones and replaces unsupported ones alike.
///
///     job.start(request, target);
///     while (!job.done()) job.advance(<the result of job.call(), bytes or -errno>);
///
/// One thread at a time. Usable again after start(): its memory is that of its largest request, so
/// that a deep queue that has few requests at a time costs little.
class FileJob {
 public:
  enum class Call : std::uint8_t {
    kReadv,      // vectors(), offset()
    kWritev,     // vectors(), offset(), write_flags()
    kSync,       // fdatasync
    kPunch,      // fallocate, FALLOC_FL_PUNCH_HOLE | KEEP_SIZE: offset(), length()
    kZeroRange,  // fallocate, FALLOC_FL_ZERO_RANGE | KEEP_SIZE: offset(), length()
    kDiscard,    // ioctl BLKDISCARD: offset(), length()
    kNone,       // done
  };

  /// `request`, its segments and `target` stay valid until done().
  void start(const BlockRequest& request, FileTarget& target);

  [[nodiscard]] bool done() const { return call_ == Call::kNone; }
  [[nodiscard]] Call call() const { return call_; }

  /// The descriptor for call(): the direct one if everything is aligned as that wants.
  [[nodiscard]] int fd() const;
  /// The next piece of memory, neighbours merged: at most kVectors pieces and kBytesMost bytes.
  [[nodiscard]] std::span<const iovec> vectors() const { return vectors_; }
  [[nodiscard]] std::uint64_t offset() const { return request_.offset + moved_; }
  [[nodiscard]] std::uint64_t length() const { return request_.length - moved_; }
  /// RWF_DSYNC where the write has to be durable.
  [[nodiscard]] int write_flags() const;

  /// Takes the result of call(): bytes, or a negative errno.
  void advance(std::int64_t result);

  /// Makes a job that is not done, and whose call() nobody is making, done: ECANCELED.
  void cancel();

  /// Once done.
  [[nodiscard]] BlockCompletion completion() const {
    return {.token = request_.token, .error = error_, .bytes = moved_};
  }
  [[nodiscard]] const BlockRequest& request() const { return request_; }

  static constexpr std::size_t kVectors = 128;
  static constexpr std::uint64_t kBytesMost = std::uint64_t{1} << 30;
  /// An interrupted or refused call is made again this often before it counts as an error.
  static constexpr std::uint32_t kRetriesMost = 64;

 private:
  void next_transfer();
  void gather_segments();
  void gather_zeros();
  void moved(std::uint64_t bytes);
  void refused(int error);
  void choose_discard();
  void choose_zeroing();
  /// Whether to try a call that may be unsupported.
  [[nodiscard]] bool worth_trying(Call call, const std::atomic<bool>& refused) const;
  /// Whether success promises that what was written is stable.
  [[nodiscard]] bool promises_stable() const {
    return request_.durable || request_.op == BlockOp::kFlush;
  }
  /// Whether call() is what makes it stable: its failure may be all that is ever told of a loss.
  [[nodiscard]] bool makes_stable() const {
    return call_ == Call::kSync || (call_ == Call::kWritev && request_.durable);
  }
  void remember_loss(int error);
  void finish(int error);

  BlockRequest request_;
  FileTarget* target_ = nullptr;
  Call call_ = Call::kNone;
  int error_ = 0;
  std::uint64_t moved_ = 0;  // bytes
  std::uint32_t retries_ = 0;
  bool aligned_ = false;        // vectors_ are what O_DIRECT wants
  Call refused_ = Call::kNone;  // the last call that this request was refused
  std::vector<iovec> vectors_;  // kept for its memory
};

/// Makes job.call() once, with preadv2's `flags` added; bytes or -errno, for advance(). Blocks,
/// unless flags say RWF_NOWAIT.
[[nodiscard]] std::int64_t perform(const FileJob& job, int flags = 0);

}  // namespace airlock::backend
