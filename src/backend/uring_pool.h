// SPDX-License-Identifier: Apache-2.0
//
// The io_urings of a disk. What a ring is asked to do is no system call, so that no filter of
// system calls sees it: a ring itself has to be held to transfers, and none may be made any more
// once the process is in a sandbox. They are made before, and go from one channel to the next.
#pragma once

#include <liburing.h>

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "base/result.h"

namespace airlock::backend {

/// A ring for `depth` jobs and one watch: the submission queue can't overflow, and the completion
/// queue, twice as large, neither. Of all that io_uring can do it does what a file's channel needs,
/// also for who has taken this process over; the kernel refuses the rest (EACCES).
class Uring : public io_uring {
 public:
  /// The ring keeps `keep_open` open, if it is a descriptor, until the last request of it is done,
  /// also when nobody is left to hear of that. Errors: kSystem (ENOSYS, EPERM: the kernel or a
  /// sandbox doesn't allow io_uring; EINVAL: it can't restrict a ring), kUnsupported (it is too
  /// old).
  static Result<std::unique_ptr<Uring>> create(std::uint32_t depth, int keep_open = -1);
  ~Uring() { io_uring_queue_exit(this); }
  Uring(const Uring&) = delete;
  Uring& operator=(const Uring&) = delete;

  [[nodiscard]] std::uint32_t depth() const { return depth_; }

 private:
  explicit Uring(const io_uring& ring, std::uint32_t depth) : io_uring(ring), depth_(depth) {}
  std::uint32_t depth_;
};

/// Rings that wait for a channel. Any thread.
class UringPool {
 public:
  /// A ring's depth at most: the kernel's have 32768 entries, and a large one is memory that it
  /// locks.
  static constexpr std::uint32_t kDepthMost = 4096;

  /// `keep_open`: as Uring::create() has it, of all rings; -1: nothing.
  explicit UringPool(int keep_open = -1) : keep_open_(keep_open) {}

  /// Makes `count` rings for channels of a depth up to `depth`, or as many as can be had. Later
  /// ones are made when they are needed, if that is possible then.
  void prepare(std::uint32_t count, std::uint32_t depth);

  /// A ring with no job in it. Errors: those of Uring::create().
  Result<std::unique_ptr<Uring>> take(std::uint32_t depth);
  /// It has no job and no registered memory any more.
  void give_back(std::unique_ptr<Uring> ring);

 private:
  int keep_open_;
  std::mutex mutex_;
  std::size_t kept_ = 0;  // at most
  std::vector<std::unique_ptr<Uring>> spare_;
};

}  // namespace airlock::backend
