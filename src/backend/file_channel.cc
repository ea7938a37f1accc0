// SPDX-License-Identifier: Apache-2.0
#include "backend/file_channel.h"

#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace airlock::backend {

namespace {

/// Longer transfers are the engine's: a copy is work as well, and other requests wait for it.
constexpr std::uint64_t kAtOnceBytesMost = std::uint64_t{1} << 20;

// Makes a job's calls until it is done or one of them moves nothing: the last one's result.
// Whatever is wrong then, the engine's own try tells.
std::int64_t make_calls(FileJob& job, int flags) {
  std::int64_t result = 1;
  while (!job.done() && result > 0) {
    result = perform(job, flags);
    if (result > 0) job.advance(result);
  }
  return result;
}

}  // namespace

FileChannel::FileChannel(FileTarget& target, std::uint32_t depth)
    : target_(&target), depth_(depth) {
  jobs_.reserve(depth);
  free_.reserve(depth);
  finished_.reserve(depth);
}

Result<void> FileChannel::submit(const BlockRequest& request) {
  if (cancelled_) return fail(system_error(ECANCELED));
  if (free_.empty() && jobs_.size() < depth_) {
    free_.push_back(static_cast<JobIndex>(jobs_.size()));
    jobs_.emplace_back();
  }
  if (free_.empty()) return fail(Errc::kQueueFull);
  const JobIndex index = free_.back();
  free_.pop_back();
  FileJob& job = jobs_[index];
  job.start(request, *target_);
  try_at_once(job);
  if (job.done()) {
    finished(index);
  } else {
    engine_start(index);
  }
  return {};
}

void FileChannel::cancel() {
  if (std::exchange(cancelled_, true)) return;
  engine_cancel();
}

void FileChannel::try_at_once(FileJob& job) {
  const BlockRequest& request = job.request();
  const bool reads = request.op == BlockOp::kRead;
  if (!reads && request.op != BlockOp::kWrite) return;
  if (target_->in_memory) {
    static_cast<void>(make_calls(job, 0));
    return;
  }
  // Direct and durable transfers wait for the disk by nature.
  if (target_->direct || request.durable || request.length > kAtOnceBytesMost) return;
  std::atomic<bool>& refused = reads ? target_->nowait_read_refused : target_->nowait_write_refused;
  if (refused.load(std::memory_order_relaxed)) return;
  Patience& patience = reads ? read_patience_ : write_patience_;
  if (patience.skip > 0) {
    --patience.skip;
    return;
  }
  const std::int64_t result = make_calls(job, RWF_NOWAIT);
  if (job.done()) {
    patience = {};
    return;
  }
  if (result == -EOPNOTSUPP) refused.store(true, std::memory_order_relaxed);
  patience.penalty = std::min(patience.penalty * 2 + 1, kPenaltyMost);
  patience.skip = patience.penalty;
}

std::size_t FileChannel::reap(std::span<BlockCompletion> target) {
  engine_poll();
  const std::size_t count = std::min(target.size(), finished_.size());
  for (BlockCompletion& completion : target.first(count)) {
    const JobIndex index = finished_.front();
    finished_.pop_front();
    completion = jobs_[index].completion();
    free_.push_back(index);
  }
  return count;
}

}  // namespace airlock::backend
