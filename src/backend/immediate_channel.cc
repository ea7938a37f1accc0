// SPDX-License-Identifier: Apache-2.0
#include "backend/immediate_channel.h"

#include <cerrno>

namespace airlock::backend {

ImmediateChannel::ImmediateChannel(bool read_only, std::uint32_t depth)
    : read_only_(read_only), depth_(depth) {
  done_.reserve(depth);
}

Result<void> ImmediateChannel::submit(const BlockRequest& request) {
  if (done_.size() >= depth_) return fail(Errc::kQueueFull);
  BlockCompletion completion{.token = request.token};
  if (read_only_ && request.op != BlockOp::kRead && request.op != BlockOp::kFlush) {
    completion.error = EROFS;
  } else {
    perform(request);
    completion.bytes = request.length;
  }
  done_.push_back(completion);
  return {};
}

std::size_t ImmediateChannel::reap(std::span<BlockCompletion> target) {
  return done_.take(target);
}

}  // namespace airlock::backend
