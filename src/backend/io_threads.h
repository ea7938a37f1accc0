// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "backend/file_job.h"
#include "base/event_fd.h"
#include "base/result.h"

namespace airlock::backend {

/// A few threads that make the blocking calls of jobs, so that a queue's thread doesn't. Jobs
/// belong to the caller and are the threads' from push() to the pop() that returns them.
///
/// push(), cancel(), pop() and the destructor: one thread at a time.
class IoThreads {
 public:
  struct Options {
    std::uint32_t threads = 1;
    std::uint32_t depth = 1;  // most jobs at once: nothing is allocated later
  };

  /// Starts the threads. Errors: kSystem.
  static Result<std::unique_ptr<IoThreads>> start(const Options& options);
  /// Finishes what was pushed and joins the threads.
  ~IoThreads();
  IoThreads(const IoThreads&) = delete;
  IoThreads& operator=(const IoThreads&) = delete;

  /// Hands over a job that is not done. More than `depth` at once is our own bug (CHECK).
  void push(FileJob* job);
  /// Jobs end with ECANCELED where they would have made their next call, from now on. Every job
  /// still comes back by pop().
  void cancel() { cancelled_.store(true, std::memory_order_relaxed); }
  /// A finished job, or nullptr if there is none now.
  [[nodiscard]] FileJob* pop();
  /// Readable while pop() has something to return.
  [[nodiscard]] int fd() const { return finished_event_.fd(); }

 private:
  IoThreads(const Options& options, EventFd finished_event);
  void run();
  /// Blocks; nullptr when it is time to end.
  FileJob* next();
  void finished(FileJob* job);

  const std::uint32_t depth_;
  EventFd finished_event_;
  std::mutex mutex_;  // guards all below but the threads
  std::condition_variable work_;
  std::vector<FileJob*> waiting_;  // a ring of depth_ places
  std::size_t waiting_first_ = 0;
  std::size_t waiting_count_ = 0;
  std::vector<FileJob*> finished_;
  bool ending_ = false;
  std::atomic<bool> any_finished_ = false;  // spares pop() the lock while there is nothing
  std::atomic<bool> cancelled_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace airlock::backend
