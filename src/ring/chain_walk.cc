// SPDX-License-Identifier: Apache-2.0
#include "ring/chain_walk.h"

#include "ring/verdict.h"

namespace airlock::ring {

namespace {

// The number that explains a refused descriptor.
std::uint32_t detail_of(airlock_verdict verdict, const airlock_descriptor& descriptor) {
  if (verdict == AIRLOCK_BAD_FLAGS) return descriptor.flags;
  if (verdict == AIRLOCK_BAD_INDEX) return descriptor.next;
  return descriptor.length;
}

}  // namespace

ChainWalk::ChainWalk(Head head, QueueSize table, const window::Window& window, Chain& target)
    : window_(&window), target_(&target), state_{} {
  state_.queue_size = table.value();
  target.head_ = head;
  target.spans_.clear();
  target.readable_count_ = 0;
  target.readable_bytes_ = 0;
  target.writable_bytes_ = 0;
}

Result<void> ChainWalk::take(const airlock_descriptor& descriptor) {
  const airlock_verdict verdict = airlock_chain_step(&state_, &descriptor);
  if (verdict != AIRLOCK_OK) {
    return fail({.code = to_errc(verdict),
                 .detail = detail_of(verdict, descriptor),
                 .address = descriptor.address});
  }
  auto span = window_->translate(window::DriverAddress{descriptor.address}, descriptor.length,
                                 state_.writing ? window::Access::kWrite : window::Access::kRead);
  if (!span) return fail(span.error());
  target_->spans_.push_back(*span);
  // Readable ones come first, as the step has just made sure.
  if (!state_.writing) target_->readable_count_ = target_->spans_.size();
  target_->readable_bytes_ = state_.readable_bytes;
  target_->writable_bytes_ = state_.writable_bytes;
  return {};
}

}  // namespace airlock::ring
