// SPDX-License-Identifier: Apache-2.0
#include "backend/thread_channel.h"

#include <algorithm>

namespace airlock::backend {

namespace {
/// Requests that a queue keeps going at once: some, since most disks are slow one by one.
constexpr std::uint32_t kThreads = 4;
}  // namespace

Result<std::unique_ptr<BlockChannel>> ThreadChannel::create(FileTarget& target,
                                                            std::uint32_t depth) {
  std::unique_ptr<ThreadChannel> channel(new ThreadChannel(target, depth));
  channel->threads_ = TRY(IoThreads::start({.threads = std::min(kThreads, depth), .depth = depth}));
  return channel;
}

void ThreadChannel::engine_poll() {
  while (const FileJob* const job = threads_->pop()) {
    finished(index_of(job));
  }
}

}  // namespace airlock::backend
