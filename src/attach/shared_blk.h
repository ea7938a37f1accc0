// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "base/event_fd.h"
#include "driver/blk.h"

namespace airlock::attach {

/// A disk that any number of threads use at once, each waiting for its own request. It has no
/// thread of its own: of those that wait for a queue, one looks after it for all of them, by its
/// interrupt or by looks that become rarer (PollPace), and hands that over when its own request is
/// done. With nothing in flight nobody looks, and the process uses no CPU.
class SharedBlk {
 public:
  struct Options {
    driver::Blk::Options blk{};
    /// How often a device that is silent is asked whether it still lives.
    std::chrono::milliseconds silence{1000};
  };

  /// `blk` is used by nobody else any more. Errors: those of EventFd.
  static Result<std::unique_ptr<SharedBlk>> create(std::unique_ptr<driver::Blk> blk,
                                                   const Options& options);
  /// Nobody may be inside.
  ~SharedBlk() = default;
  SharedBlk(const SharedBlk&) = delete;
  SharedBlk& operator=(const SharedBlk&) = delete;

  [[nodiscard]] const driver::BlkInfo& info() const { return blk_->info(); }
  /// One lane a queue; who has several streams of requests spreads them.
  [[nodiscard]] std::size_t lanes() const { return lanes_.size(); }

  /// One request, waited for. Any thread. After Blk::Options::timeout the device counts as broken
  /// (HD-19), and whoever waits for it gets the error: no request outlives that.
  /// Errors: those of BlkQueue::submit(); what the device answered; what broke it.
  Result<void> run(std::size_t lane, const driver::BlkRequest& request);

  /// Why the disk is of no use any more, if so.
  [[nodiscard]] std::optional<Error> broken() const { return blk_->device().broken(); }

 private:
  // One caller's request. Under the lane's lock.
  struct Call {
    std::condition_variable turn;  // it is done, or nobody looks after the lane
    driver::Deadline deadline;
    std::optional<Error> error;
    bool done = false;
  };
  struct Lane {
    Lane(driver::BlkQueue& its_queue, EventFd its_wake, std::chrono::microseconds spin)
        : queue(its_queue), wake(std::move(its_wake)), pace(spin) {}

    std::mutex lock;
    driver::BlkQueue& queue;
    std::map<std::uint64_t, Call*> calls;  // by their request's id, so the oldest is first
    EventFd wake;                          // for the one that sleeps, when there is news
    driver::PollPace pace;
    bool led = false;     // somebody looks after it
    bool asleep = false;  // and waits in the kernel
  };

  SharedBlk(std::unique_ptr<driver::Blk> blk, const Options& options)
      : blk_(std::move(blk)), options_(options) {}
  void lead(Lane& lane, const Call& own, std::unique_lock<std::mutex>& held);
  static bool collect(Lane& lane);
  void nap(Lane& lane, std::unique_lock<std::mutex>& held);
  void check_life(Lane& lane);

  std::unique_ptr<driver::Blk> blk_;
  Options options_;
  std::vector<std::unique_ptr<Lane>> lanes_;
};

}  // namespace airlock::attach
