// SPDX-License-Identifier: Apache-2.0
#include "attach/shared_blk.h"

#include <array>

#include "driver/wait.h"

namespace airlock::attach {

using driver::BlkQueue;
using driver::BlkRequest;
using driver::Deadline;
using driver::PollPace;

Result<std::unique_ptr<SharedBlk>> SharedBlk::create(std::unique_ptr<driver::Blk> blk,
                                                     const Options& options) {
  std::unique_ptr<SharedBlk> shared(new SharedBlk(std::move(blk), options));
  for (std::size_t i = 0; i < shared->blk_->queue_count(); i++) {
    shared->lanes_.push_back(
        std::make_unique<Lane>(shared->blk_->queue(i), TRY(EventFd::create()), options.blk.spin));
  }
  return shared;
}

Result<void> SharedBlk::run(std::size_t lane_index, const BlkRequest& request) {
  Lane& lane = *lanes_.at(lane_index);
  std::unique_lock held(lane.lock);
  if (const auto error = broken()) return fail(*error);
  const std::uint64_t id = TRY(lane.queue.submit(request));
  Call call{.turn = {},
            .deadline = Deadline::after(options_.blk.timeout),
            .error = std::nullopt,
            .done = false};
  lane.calls.emplace(id, &call);
  lane.queue.kick();
  // Who polls is to look sooner now; and no interrupt tells of a notification that failed.
  const bool polled = lane.queue.interrupt_fd() < 0;
  if (lane.asleep && (polled || lane.queue.broken())) lane.wake.signal();
  while (!call.done) {
    if (lane.led) {
      call.turn.wait(held, [&] { return call.done || !lane.led; });
      continue;
    }
    lane.led = true;
    lead(lane, call, held);
    lane.led = false;
    if (!lane.calls.empty()) lane.calls.begin()->second->turn.notify_one();
  }
  if (call.error) return fail(*call.error);
  return {};
}

// Looks after the lane until the caller's own request is done.
void SharedBlk::lead(Lane& lane, const Call& own, std::unique_lock<std::mutex>& held) {
  lane.pace.start(PollPace::Clock::now());
  Deadline life = Deadline::after(options_.silence);
  for (;;) {
    if (collect(lane)) {
      lane.pace.came(PollPace::Clock::now());
      life = Deadline::after(options_.silence);
    }
    if (own.done) return;
    nap(lane, held);
    if (!life.passed()) continue;
    check_life(lane);
    life = Deadline::after(options_.silence);
  }
}

// Ends the calls whose requests are done: whether there were any.
bool SharedBlk::collect(Lane& lane) {
  bool any = false;
  while (const auto completion = lane.queue.poll()) {
    const auto found = lane.calls.find(completion->id);
    CHECK(found != lane.calls.end());
    Call& call = *found->second;
    lane.calls.erase(found);
    call.error = completion->error;
    call.done = true;
    call.turn.notify_one();
    any = true;
  }
  return any;
}

// A moment without the lock, in which others submit: until there is news, or another look is due.
void SharedBlk::nap(Lane& lane, std::unique_lock<std::mutex>& held) {
  auto pause = lane.pace.pause(PollPace::Clock::now());
  if (pause.count() == 0) {
    held.unlock();
    driver::pause_for(pause);
    held.lock();
    return;
  }
  // What waits for the pool alone has no interrupt to wait for.
  const int fd = lane.queue.interrupt_fd();
  const bool interrupts = fd >= 0 && lane.queue.in_flight();
  if (interrupts) {
    if (lane.queue.arm() || !lane.queue.in_flight()) return;
    pause = options_.silence;
  }
  const std::array<int, 3> fds{lane.wake.fd(), interrupts ? fd : -1,
                               interrupts ? blk_->device().transport().interrupt_fd(0) : -1};
  lane.asleep = true;
  held.unlock();
  (void)driver::wait_readable(fds, pause);
  held.lock();
  lane.asleep = false;
  if (interrupts) lane.queue.disarm();
  if (lane.wake.drain()) lane.pace.start(PollPace::Clock::now());
}

// A device that is gone, or in need, may have no way to say so. One that answers nothing for too
// long is broken, and what it holds comes back with that error (HD-19, HD-23).
void SharedBlk::check_life(Lane& lane) {
  driver::VirtioDevice& device = blk_->device();
  if (const auto alive = device.check(); !alive) return lane.queue.stop(alive.error());
  if (lane.calls.empty()) return;
  const Deadline& oldest = lane.calls.begin()->second->deadline;
  if (oldest.passed()) lane.queue.stop(device.fail_device(oldest.error()).error());
}

}  // namespace airlock::attach
