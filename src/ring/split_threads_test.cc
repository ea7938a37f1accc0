// SPDX-License-Identifier: Apache-2.0
//
// Goal: a driver and a device on two threads exchange requests without a race (run under tsan), and
// neither sleeps while the other has work for it. Method: each request carries a number, which the
// device answers; both sides sleep with a deadline that only a lost wakeup reaches. With flags,
// with events, and with every feature.
#include <gtest/gtest.h>
#include <poll.h>

#include <array>
#include <atomic>
#include <string>
#include <thread>
#include <tuple>

#include "base/event_fd.h"
#include "ring/split_device_queue.h"
#include "ring/split_driver_queue.h"
#include "testing/test_region.h"

namespace airlock::ring {
namespace {

constexpr std::uint32_t kSlots = 16;
constexpr std::uint32_t kMessage = 64;  // bytes each way
constexpr std::uint64_t kRequests = 50'000;

// kSleepAsked: each side asked to be told at the start, and once only.
enum class Waiting { kSpin, kSleep, kSleepAsked };

class SplitThreads : public ::testing::TestWithParam<std::tuple<Waiting, Features>> {
 protected:
  [[nodiscard]] Waiting waiting() const { return std::get<0>(GetParam()); }
  [[nodiscard]] Features features() const { return std::get<1>(GetParam()); }
  [[nodiscard]] bool sleeps() const { return waiting() != Waiting::kSpin; }
  [[nodiscard]] bool asks() const { return waiting() == Waiting::kSleep; }

  // Waits for a wakeup; false if none came in time.
  static bool wait(const EventFd& event) {
    pollfd poller = {.fd = event.fd(), .events = POLLIN, .revents = 0};
    if (::poll(&poller, 1, 20'000) != 1) return false;
    return event.drain();
  }

  void run_device() {
    Chain chain{kSlots};
    std::uint64_t done = 0;
    while (done < kRequests && !failed_) {
      if (serve(chain, done)) continue;
      if (!sleeps()) {
        std::this_thread::yield();
        continue;
      }
      if (asks()) device_->suppress_notifications(false);
      if (!serve(chain, done) && done < kRequests && !wait(notify_)) return give_up("device");
      if (asks()) device_->suppress_notifications(true);
    }
  }

  // Answers what is available; false if nothing was.
  bool serve(Chain& chain, std::uint64_t& done) {
    bool any = false;
    for (;;) {
      const auto head = device_->pop(chain);
      if (!head) {
        give_up("pop");
        return true;
      }
      if (!*head) break;
      any = true;
      const auto number = chain.read<Le64>(0);
      const std::array answer{Le64(number->get() ^ ~std::uint64_t{0})};
      MUST(chain.write(0, std::as_bytes(std::span(answer))));
      MUST(device_->push_used(**head, sizeof answer));
      ++done;
      if (done % 3 == 0) flush();
    }
    flush();
    return any;
  }
  void flush() {
    device_->publish();
    if (device_->driver_wants_interrupt() && sleeps()) interrupt_.signal();
  }

  void run_driver() {
    std::uint64_t sent = 0;
    std::uint64_t received = 0;
    std::array<std::uint64_t, kSlots / 2> numbers{};  // what each place carries
    std::vector<std::uint64_t> free;
    for (std::uint64_t i = 0; i < kSlots / 2; ++i)
      free.push_back(i);
    while (received < kRequests && !failed_) {
      while (sent < kRequests && !free.empty()) {
        send(free.back(), numbers[free.back()] = sent++);
        free.pop_back();
        if (sent % 5 == 0 && driver_->publish() && sleeps()) notify_.signal();
      }
      if (driver_->publish() && sleeps()) notify_.signal();
      if (receive(numbers, free, received)) continue;
      if (!sleeps()) {
        std::this_thread::yield();
        continue;
      }
      if (asks()) driver_->want_interrupts(true);
      if (!receive(numbers, free, received) && !wait(interrupt_)) return give_up("driver");
      if (asks()) driver_->want_interrupts(false);
    }
  }

  [[nodiscard]] std::uint64_t place(std::uint64_t index) const {
    return std::to_underlying(data_) + index * 2 * kMessage;
  }
  void send(std::uint64_t index, std::uint64_t number) {
    const std::array message{Le64(number)};
    region_.bytes().copy_in(place(index), std::as_bytes(std::span(message)));
    const std::array readable{
        Buffer{.offset = window::RegionOffset{place(index)}, .length = kMessage}};
    const std::array writable{
        Buffer{.offset = window::RegionOffset{place(index) + kMessage}, .length = kMessage}};
    MUST(driver_->submit(readable, writable, index));
  }
  bool receive(const std::array<std::uint64_t, kSlots / 2>& numbers,
               std::vector<std::uint64_t>& free, std::uint64_t& received) {
    bool any = false;
    for (;;) {
      const auto polled = driver_->poll();
      if (!polled) {
        give_up("poll");
        return true;
      }
      if (!*polled) return any;
      const Completion& done = **polled;
      const auto answer = region_.bytes().snapshot<std::uint64_t>(place(done.cookie) + kMessage);
      if (answer != ~numbers[done.cookie] || done.written_bytes != 8) give_up("answer");
      free.push_back(done.cookie);
      ++received;
      any = true;
    }
  }

  void give_up(const char* what) {
    failed_ = true;
    ADD_FAILURE() << what;
  }

  testing::TestRegion region_;
  QueueSize size_ = MUST(QueueSize::from(kSlots));
  Layout layout_{size_};
  window::RegionOffset data_ = region_.allocate(std::uint64_t{kSlots} * kMessage);
  std::optional<SplitDriverQueue> driver_ = MUST(SplitDriverQueue::create(
      {.size = size_,
       .areas = layout_.block_at(region_.allocate(layout_.block_bytes(), 64)),
       .publisher = region_.publisher(),
       .features = features(),
       .tables = {.start = region_.allocate(IndirectTables::bytes(size_, 2), 64), .entries = 2}},
      region_.bytes()));
  std::optional<SplitDeviceQueue> device_ = MUST(SplitDeviceQueue::create(
      {.size = size_, .areas = driver_->published_areas(), .features = features()},
      region_.window()));
  EventFd notify_ = MUST(EventFd::create());
  EventFd interrupt_ = MUST(EventFd::create());
  std::atomic<bool> failed_ = false;
};

std::string ring_name(const ::testing::TestParamInfo<std::tuple<Waiting, Features>>& info) {
  const auto& [waiting, features] = info.param;
  const std::string how = waiting == Waiting::kSpin    ? "Spin"
                          : waiting == Waiting::kSleep ? "Sleep"
                                                       : "SleepAsked";
  return how + (features.in_order ? "All" : features.event_idx ? "Event" : "Flags");
}

INSTANTIATE_TEST_SUITE_P(
    Rings, SplitThreads,
    ::testing::Combine(
        ::testing::Values(Waiting::kSpin, Waiting::kSleep, Waiting::kSleepAsked),
        ::testing::Values(Features{}, Features{.event_idx = true},
                          Features{.indirect = true, .event_idx = true, .in_order = true})),
    ring_name);

// HD-22; VIRTIO 1.3, 2.7.7, 2.7.10, 2.7.13.3.1.
TEST_P(SplitThreads, ExchangeRequestsWithoutARaceOrALostWakeup) {
  std::jthread device([this] { run_device(); });
  run_driver();
}

}  // namespace
}  // namespace airlock::ring
