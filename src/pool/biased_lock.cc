// SPDX-License-Identifier: Apache-2.0
#include "pool/biased_lock.h"

#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <thread>

#include "base/check.h"

namespace airlock::pool {

namespace {

bool membarrier(int command) {
  return ::syscall(SYS_membarrier, command, 0, 0) == 0;
}

// Asked once, and tried.
bool has_membarrier() {
  static const bool kHas = membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) &&
                           membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED);
  return kHas;
}

}  // namespace

void BiasedLock::lock_for_anyone(std::uint64_t self) {
  mutex_.lock();
  if (leader_.load(std::memory_order_relaxed) != nullptr) take_lead_away();
  if (last_ != self) {
    last_ = self;
    streak_ = 0;
  }
  if (++streak_ < kStreak) return;
  streak_ = 0;
  // This time it is held by the mutex: from the next time on.
  if (has_membarrier()) leader_.store(place_for(self), std::memory_order_release);
}

void BiasedLock::take_lead_away() {
  const Leader* const leader = leader_.exchange(nullptr, std::memory_order_relaxed);
  CHECK(membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED));  // there it was when somebody began to lead
  // Pairs with the release in ~Hold(): what the leader did inside is seen here.
  while (leader->inside.load(std::memory_order_acquire))
    std::this_thread::yield();
}

BiasedLock::Leader* BiasedLock::place_for(std::uint64_t self) {
  for (Leader& leader : leaders_) {
    if (leader.thread == 0) leader.thread = self;
    if (leader.thread == self) return &leader;
  }
  return nullptr;
}

}  // namespace airlock::pool
