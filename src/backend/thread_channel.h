// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "backend/file_channel.h"
#include "backend/io_threads.h"

namespace airlock::backend {

/// A file's channel where io_uring is not to be had: threads make the blocking calls.
class ThreadChannel final : public FileChannel {
 public:
  /// Errors: kSystem.
  static Result<std::unique_ptr<BlockChannel>> create(FileTarget& target, std::uint32_t depth);

  [[nodiscard]] int completion_fd() const override { return threads_->fd(); }

 private:
  ThreadChannel(FileTarget& target, std::uint32_t depth) : FileChannel(target, depth) {}
  void engine_start(JobIndex index) override { threads_->push(&job(index)); }
  void engine_poll() override;
  void engine_cancel() override { threads_->cancel(); }

  std::unique_ptr<IoThreads> threads_;  // ends before the jobs do
};

}  // namespace airlock::backend
