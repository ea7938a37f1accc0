// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "backend/block_backend.h"
#include "backend/nbd/nbd_export.h"

namespace airlock::backend {

/// One request of NBD, as a server is sent it.
struct NbdCommand {
  enum class Kind : std::uint8_t { kRead, kWrite, kFlush, kTrim, kZero };
  Kind kind = Kind::kRead;
  std::uint64_t offset = 0;     // bytes; all but flush
  std::uint32_t length = 0;     // the same
  std::byte* memory = nullptr;  // read, write: `length` bytes, valid until it is answered
  bool durable = false;         // write, trim, zero: NBD_CMD_FLAG_FUA
  bool keep_allocated = false;  // zero: NBD_CMD_FLAG_NO_HOLE
};

/// One request of a disk on its way through NBD: which command comes next, and what its answer
/// means. Knows nothing of connections, so that a command can be sent again on another one: it
/// stays the same until it is answered.
///
///     job.start(request, exported);
///     while (!job.done()) { <send job.command()>; job.answered(<errno>); }
///
/// A command's memory is the request's own where that is in one piece. Otherwise the bytes go
/// through a buffer, as NBD has no lists of pieces. One thread at a time; usable again.
class NbdJob {
 public:
  /// Bytes that go through the buffer with one command, at most.
  static constexpr std::uint32_t kBufferBytes = std::uint32_t{1} << 20;
  /// Pieces of memory from here on go without it.
  static constexpr std::uint32_t kPieceLeast = std::uint32_t{128} << 10;
  /// A server may take long for what it zeroes: other requests wait for no more than this.
  static constexpr std::uint32_t kZeroBytes = std::uint32_t{1} << 30;

  /// `request`, its segments and `exported` stay valid until done().
  void start(const BlockRequest& request, const NbdExport& exported);

  [[nodiscard]] bool done() const { return done_; }
  [[nodiscard]] const NbdCommand& command() const { return command_; }
  /// Takes the answer to command(): 0, or the errno it stands for.
  void answered(int error);
  /// Ends a job that is not done, and whose command nobody is answering.
  void fail(int error) { finish(error); }

  /// Once done.
  [[nodiscard]] BlockCompletion completion() const {
    return {.token = request_.token, .error = error_, .bytes = moved_};
  }

 private:
  void next();
  void next_transfer();
  void next_range();
  [[nodiscard]] std::span<std::byte> piece() const;
  void gather(std::span<std::byte> target) const;
  void scatter(std::span<const std::byte> source) const;
  void move_on(std::uint64_t bytes);
  void finish(int error) {
    error_ = error;
    done_ = true;
  }

  BlockRequest request_;
  const NbdExport* exported_ = nullptr;
  NbdCommand command_;
  bool done_ = true;
  bool buffered_ = false;  // command_.memory is buffer_
  bool flushing_ = false;  // after a write that has to be durable
  int error_ = 0;
  std::uint64_t moved_ = 0;          // bytes
  std::size_t segment_ = 0;          // where the next byte is
  std::uint64_t segment_moved_ = 0;  // bytes of that segment
  std::vector<std::byte> buffer_;    // kept for its memory
};

}  // namespace airlock::backend
