// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>

namespace airlock::pool {

/// A mutex that leans towards one thread. Whoever took it kStreak times in a row, with nobody
/// between, becomes its leader, and then takes it by plain loads and stores: no locked instruction,
/// which would wait until all bytes just copied have left the store buffer. Another thread that
/// comes takes the lead away first, by membarrier(2); that costs microseconds, but at most once in
/// kStreak times, and until the next streak it is an ordinary mutex for all.
///
/// It stays one where the kernel has no membarrier or a filter forbids it, and for who comes after
/// kLeaders others have led. Not recursive. For short sections: who takes the lead away spins while
/// the leader is inside. models/spin/biased_lock.pml shows that one at a time is.
class BiasedLock {
 public:
  static constexpr std::uint32_t kStreak = 4096;
  static constexpr std::size_t kLeaders = 8;

  BiasedLock() = default;
  BiasedLock(const BiasedLock&) = delete;
  BiasedLock& operator=(const BiasedLock&) = delete;

 private:
  // A thread that leads, or led. Each has a flag of its own: a store that comes late says nothing
  // of a successor.
  struct Leader {
    std::uint64_t thread = 0;  // written once, before anybody can see it
    std::atomic<bool> inside{false};
  };

 public:
  /// Holds the lock for as long as it lives.
  class [[nodiscard]] Hold {
   public:
    explicit Hold(BiasedLock& lock) : lock_(lock), leader_(lock.enter(this_thread())) {
      if (leader_ == nullptr) lock_.lock_for_anyone(this_thread());
    }
    ~Hold() {
      if (leader_ != nullptr) {
        leader_->inside.store(false, std::memory_order_release);  // pairs with take_lead_away()
      } else {
        lock_.mutex_.unlock();
      }
    }
    Hold(const Hold&) = delete;
    Hold& operator=(const Hold&) = delete;

   private:
    BiasedLock& lock_;
    Leader* const leader_;  // none: held by the mutex
  };

  /// A number that no other thread of the process has or had; never 0.
  static std::uint64_t this_thread() {
    if (own_number == 0) own_number = next_number.fetch_add(1, std::memory_order_relaxed);
    return own_number;
  }
  /// Whether the calling thread takes it without a locked instruction. For tests.
  [[nodiscard]] bool is_led_by_this_thread() const {
    const Leader* const leader = leader_.load(std::memory_order_acquire);
    return leader != nullptr && leader->thread == this_thread();
  }

 private:
  // The leader says that it is inside and then looks whether it still leads; who takes the lead
  // away says so and then looks whether the leader is inside. Nothing orders the leader's two steps
  // but the program, and the other's membarrier, which is a fence in this thread too: before both,
  // between them or after them. Wherever it is, one sees the other.
  [[nodiscard]] Leader* enter(std::uint64_t self) {
    Leader* const leader = leader_.load(std::memory_order_acquire);
    if (leader == nullptr || leader->thread != self) return nullptr;
    leader->inside.store(true, std::memory_order_relaxed);
    std::atomic_signal_fence(std::memory_order_seq_cst);
    if (leader_.load(std::memory_order_relaxed) == leader) [[likely]]
      return leader;
    leader->inside.store(false, std::memory_order_release);
    return nullptr;
  }
  void lock_for_anyone(std::uint64_t self);
  void take_lead_away();
  [[nodiscard]] Leader* place_for(std::uint64_t self);

  static inline std::atomic<std::uint64_t> next_number{1};
  static inline constinit thread_local std::uint64_t own_number = 0;

  std::atomic<Leader*> leader_{nullptr};  // written by who holds `mutex_`
  std::mutex mutex_;                      // for all below, and for who does not lead
  std::uint64_t last_ = 0;
  std::uint32_t streak_ = 0;
  std::array<Leader, kLeaders> leaders_;
};

}  // namespace airlock::pool
