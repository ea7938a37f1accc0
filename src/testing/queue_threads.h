// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>
#include <poll.h>

#include <array>
#include <atomic>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "base/event_fd.h"
#include "ring/concepts.h"
#include "testing/test_region.h"

namespace airlock::testing {

/// What a side of a queue does that finds nothing to do: polls on; asks to be told and sleeps; or
/// asks to be told once, at the start, and sleeps each time.
enum class Waiting : std::uint8_t { kSpin, kSleep, kSleepAsked };

/// A driver and a device on two threads exchange numbers, which the device answers; both sides
/// sleep with a deadline that only a lost wakeup reaches. Any format; for a test that runs under
/// ThreadSanitizer too.
template <ring::DriverQueueLike Driver, ring::DeviceQueueLike Device>
class QueueThreads : public ::testing::TestWithParam<std::tuple<Waiting, ring::Features>> {
 protected:
  /// Everything there and back, by this thread as the driver and another one as the device.
  void exchange() {
    std::jthread device([this] { run_device(); });
    run_driver();
  }

 private:
  static constexpr std::uint32_t kSlots = 16;
  static constexpr std::uint32_t kMessage = 64;  // bytes each way
  static constexpr std::uint64_t kRequests = 50'000;
  using Numbers = std::array<std::uint64_t, kSlots / 2>;

  [[nodiscard]] static Waiting waiting() {
    return std::get<0>(::testing::TestWithParam<std::tuple<Waiting, ring::Features>>::GetParam());
  }
  [[nodiscard]] static ring::Features features() {
    return std::get<1>(::testing::TestWithParam<std::tuple<Waiting, ring::Features>>::GetParam());
  }
  [[nodiscard]] static bool sleeps() { return waiting() != Waiting::kSpin; }
  [[nodiscard]] static bool asks() { return waiting() == Waiting::kSleep; }

  // Waits for a wakeup; false if none came in time.
  static bool wait(const EventFd& event) {
    pollfd poller = {.fd = event.fd(), .events = POLLIN, .revents = 0};
    if (::poll(&poller, 1, 20'000) != 1) return false;
    return event.drain();
  }

  void run_device() {
    ring::Chain chain{kSlots};
    std::uint64_t done = 0;
    while (done < kRequests && !failed_) {
      if (serve(chain, done)) continue;
      if (!sleeps()) {
        std::this_thread::yield();
        continue;
      }
      if (asks()) device_.suppress_notifications(false);
      if (!serve(chain, done) && done < kRequests && !wait(notify_)) return give_up("device");
      if (asks()) device_.suppress_notifications(true);
    }
  }

  // Answers what is available; false if nothing was.
  bool serve(ring::Chain& chain, std::uint64_t& done) {
    bool any = false;
    for (;;) {
      const auto head = device_.pop(chain);
      if (!head) {
        give_up("pop");
        return true;
      }
      if (!*head) break;
      any = true;
      const auto number = chain.template read<Le64>(0);
      const std::array answer{Le64(number->get() ^ ~std::uint64_t{0})};
      MUST(chain.write(0, std::as_bytes(std::span(answer))));
      MUST(device_.push_used(**head, sizeof answer));
      ++done;
      if (done % 3 == 0) flush();
    }
    flush();
    return any;
  }
  void flush() {
    device_.publish();
    if (device_.driver_wants_interrupt() && sleeps()) interrupt_.signal();
  }

  void run_driver() {
    std::uint64_t sent = 0;
    std::uint64_t received = 0;
    Numbers numbers{};  // what each place carries
    std::vector<std::uint64_t> free;
    for (std::uint64_t i = 0; i < numbers.size(); ++i)
      free.push_back(i);
    while (received < kRequests && !failed_) {
      while (sent < kRequests && !free.empty()) {
        send(free.back(), numbers[free.back()] = sent++);
        free.pop_back();
        if (sent % 5 == 0 && driver_.publish() && sleeps()) notify_.signal();
      }
      if (driver_.publish() && sleeps()) notify_.signal();
      if (receive(numbers, free, received)) continue;
      if (!sleeps()) {
        std::this_thread::yield();
        continue;
      }
      if (asks()) driver_.want_interrupts(true);
      if (!receive(numbers, free, received) && !wait(interrupt_)) return give_up("driver");
      if (asks()) driver_.want_interrupts(false);
    }
  }

  [[nodiscard]] std::uint64_t place(std::uint64_t index) const {
    return std::to_underlying(data_) + index * 2 * kMessage;
  }
  void send(std::uint64_t index, std::uint64_t number) {
    const std::array message{Le64(number)};
    region_.bytes().copy_in(place(index), std::as_bytes(std::span(message)));
    const std::array readable{
        ring::Buffer{.offset = window::RegionOffset{place(index)}, .length = kMessage}};
    const std::array writable{
        ring::Buffer{.offset = window::RegionOffset{place(index) + kMessage}, .length = kMessage}};
    MUST(driver_.submit(readable, writable, index));
  }
  bool receive(const Numbers& numbers, std::vector<std::uint64_t>& free, std::uint64_t& received) {
    bool any = false;
    for (;;) {
      const auto polled = driver_.poll();
      if (!polled) {
        give_up("poll");
        return true;
      }
      if (!*polled) return any;
      const ring::Completion& done = **polled;
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

  TestRegion region_;
  ring::QueueSize size_ = MUST(ring::QueueSize::from(kSlots));
  ring::Layout layout_{size_, features().format};
  window::RegionOffset data_ = region_.allocate(std::uint64_t{kSlots} * kMessage);
  Driver driver_ = MUST(Driver::create(
      {.size = size_,
       .areas = layout_.block_at(region_.allocate(layout_.block_bytes(), 64)),
       .publisher = region_.publisher(),
       .features = features(),
       .tables = {.start = region_.allocate(ring::IndirectTables::bytes(size_, 2), 64),
                  .entries = 2}},
      region_.bytes()));
  Device device_ = MUST(
      Device::create({.size = size_, .areas = driver_.published_areas(), .features = features()},
                     region_.window()));
  EventFd notify_ = MUST(EventFd::create());
  EventFd interrupt_ = MUST(EventFd::create());
  std::atomic<bool> failed_ = false;
};

/// Every way of waiting, with flags, with events, and with every feature.
inline auto thread_params(ring::Format format) {
  return ::testing::Combine(
      ::testing::Values(Waiting::kSpin, Waiting::kSleep, Waiting::kSleepAsked),
      ::testing::Values(
          ring::Features{.format = format}, ring::Features{.format = format, .event_idx = true},
          ring::Features{.format = format, .indirect = true, .event_idx = true, .in_order = true}));
}
inline std::string thread_param_name(
    const ::testing::TestParamInfo<std::tuple<Waiting, ring::Features>>& ring) {
  const auto& [waiting, features] = ring.param;
  const std::string how = waiting == Waiting::kSpin    ? "Spin"
                          : waiting == Waiting::kSleep ? "Sleep"
                                                       : "SleepAsked";
  return how + (features.in_order ? "All" : features.event_idx ? "Event" : "Flags");
}

}  // namespace airlock::testing
