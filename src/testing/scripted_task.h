// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <future>
#include <thread>

#include "base/event_fd.h"
#include "device/queue_task.h"

namespace airlock::testing {

/// A driver (offer) and a backend (finish) in the hands of the test, without a ring between.
struct Script {
  std::atomic<int> offered{0};     // chains that the driver made available
  std::atomic<int> finishable{0};  // I/O that the backend has done
  std::atomic<int> taken{0};
  std::atomic<int> returned{0};
  std::atomic<int> discarded{0};
  std::atomic<bool> notify_me{true};
  std::atomic<bool> lie{false};
  std::atomic<bool> lie_when_armed{false};  // only where the worker is about to sleep
  std::atomic<bool> ring_gone{false};
  std::atomic<bool> discarding{false};  // the worker has heard that nothing is to be returned
  std::atomic<int> calls{0};            // of poll() and drain()
  std::atomic<int> farewells{0};        // the worker has said that it won't look until it is woken
  EventFd completions = MUST(EventFd::create());
};

/// A queue without a ring: what there is to do is the script's.
class ScriptedTask : public device::QueueTask {
 public:
  explicit ScriptedTask(Script& script) : script_(script) {}

  Result<bool> poll() override {
    ++script_.calls;
    if (script_.lie || (script_.lie_when_armed && script_.notify_me))
      return fail(Errc::kBadIndexJump);
    bool progress = reap(script_.returned);
    while (script_.taken < script_.offered) {
      ++script_.taken;
      ++in_flight_;
      progress = true;
    }
    return progress;
  }
  void want_notifications(bool wanted) override { script_.notify_me = wanted; }
  void idle_for(std::chrono::nanoseconds idle) override {
    if (idle == std::chrono::nanoseconds::max()) ++script_.farewells;
  }
  [[nodiscard]] int completion_fd() const override { return script_.completions.fd(); }
  [[nodiscard]] std::size_t in_flight() const override { return in_flight_; }
  void drain(bool discard) override {
    ++script_.calls;
    reap(discard ? script_.discarded : script_.returned);
    if (discard) script_.discarding = true;
  }
  [[nodiscard]] Result<void> rebind() override {
    if (script_.ring_gone) return fail(Errc::kAddressOutside);
    return {};
  }

 private:
  bool reap(std::atomic<int>& counter) {
    static_cast<void>(script_.completions.drain());
    bool progress = false;
    while (in_flight_ > 0 && script_.finishable > 0) {
      --script_.finishable;
      --in_flight_;
      ++counter;
      progress = true;
    }
    return progress;
  }

  Script& script_;
  std::size_t in_flight_ = 0;
};

/// Returns when `predicate` holds; a test that waits in vain is ended by its time limit.
template <class Predicate>
void wait_until(Predicate predicate) {
  while (!predicate())
    std::this_thread::yield();
}

inline void finish_one(Script& script) {
  ++script.finishable;
  script.completions.signal();
}

/// A worker that spins calls its task all the time; one that sleeps is found, sooner or later, not
/// to have called it for 30 ms.
inline void wait_until_asleep(const Script& script) {
  int before = -1;
  while (before != script.calls) {
    before = script.calls;
    std::promise<void> never;
    never.get_future().wait_for(std::chrono::milliseconds(30));
  }
}

}  // namespace airlock::testing
