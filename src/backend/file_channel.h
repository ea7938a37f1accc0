// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "backend/block_backend.h"
#include "backend/file_job.h"
#include "backend/file_target.h"
#include "base/fifo.h"

namespace airlock::backend {

/// What the engines of a file share: the jobs, and the short way of a request that needs no
/// waiting.
///
/// A transfer that the page cache can do at once is done in submit() (RWF_NOWAIT): that is several
/// times faster than any hand-over. What would block goes to the engine.
class FileChannel : public BlockChannel {
 public:
  FileChannel(FileTarget& target, std::uint32_t depth);

  Result<void> submit(const BlockRequest& request) final;
  std::size_t reap(std::span<BlockCompletion> target) final;
  void cancel() final;

 protected:
  using JobIndex = std::uint32_t;

  /// Starts or continues a job that is not done. Never refuses: there are no more jobs than
  /// `depth`.
  virtual void engine_start(JobIndex index) = 0;
  /// Hands what was started to the kernel, and calls finished() for jobs that are done.
  virtual void engine_poll() = 0;
  /// Cancels what it has not started, and starts nothing further; engine_poll() brings it all.
  virtual void engine_cancel() = 0;

  [[nodiscard]] bool cancelled() const { return cancelled_; }
  void finished(JobIndex index) { finished_.push_back(index); }
  [[nodiscard]] FileJob& job(JobIndex index) { return jobs_[index]; }
  [[nodiscard]] JobIndex index_of(const FileJob* job) const {
    return static_cast<JobIndex>(job - jobs_.data());
  }
  [[nodiscard]] std::uint32_t depth() const { return depth_; }
  [[nodiscard]] FileTarget& target() { return *target_; }

 private:
  /// Attempts in vain make the next ones rarer: a file that is not cached is left to the engine.
  struct Patience {
    std::uint32_t skip = 0;     // attempts to leave out
    std::uint32_t penalty = 0;  // how many after the next failure
  };
  static constexpr std::uint32_t kPenaltyMost = 64;

  void try_at_once(FileJob& job);

  FileTarget* target_;
  std::uint32_t depth_;
  std::vector<FileJob> jobs_;  // those that were needed so far; none ever moves
  std::vector<JobIndex> free_;
  Fifo<JobIndex> finished_;
  Patience read_patience_;
  Patience write_patience_;
  bool cancelled_ = false;
};

}  // namespace airlock::backend
