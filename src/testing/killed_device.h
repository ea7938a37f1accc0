// SPDX-License-Identifier: Apache-2.0
//
// A queue whose driver lives on while the device's processes are killed, between any two of their
// accesses to shared memory, and others take their place.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <functional>
#include <limits>
#include <optional>
#include <vector>

#include "ring/device_queue.h"
#include "ring/driver_queue.h"
#include "shm/access_hook.h"
#include "testing/state_page.h"
#include "testing/test_region.h"

namespace airlock::testing {

/// Both halves of a queue, over a region and a state page that outlive the device's half. A request
/// is a number for the device to read and room for it to write an answer, which follows from the
/// number alone: to do it twice is harmless, as with a disk's. The driver's half, which believes
/// nothing, sees to it that no request is returned twice or unasked for.
class KilledDevice final : private shm::AccessObserver {
 public:
  struct Options {
    ring::QueueSize size;
    ring::Features features{};
  };
  static constexpr std::uint64_t kNever = std::numeric_limits<std::uint64_t>::max();

  /// `region` is not used for anything else.
  KilledDevice(TestRegion& region, const Options& options)
      : region_(&region),
        options_(options),
        driver_(MUST(ring::DriverQueue::create(
            {.size = options.size,
             .areas = ring::Layout(options.size, options.features.format)
                          .block_at(window::RegionOffset{kRing}),
             .publisher = region.publisher(),
             .features = options.features,
             .tables = {.start = window::RegionOffset{kTables}, .entries = kEntries}},
            region.bytes()))) {
    start();
  }

  /// The process is killed just before its access number `accesses` from now on, counted from 0.
  void kill_after(std::uint64_t accesses) { left_ = accesses; }
  [[nodiscard]] std::uint64_t kills() const { return kills_; }
  [[nodiscard]] std::uint64_t accesses() const { return accesses_; }
  /// Requests that the device did, those that it did again too.
  [[nodiscard]] std::uint64_t executed() const { return executed_; }

  /// A request in `slots` buffers, 1 to 3; false if there is no room for it now.
  bool submit(std::uint32_t slots) {
    const std::uint64_t place = kData + kRequestBytes * (next_ % kRequests);
    if (expected_.size() == kRequests) return false;
    region_->bytes().store_relaxed<Le64>(place, Le64(next_));
    region_->bytes().store_relaxed<Le64>(place + 8, Le64(0));
    region_->bytes().store_relaxed<Le64>(place + 16, Le64(0));
    const auto buffer = [&](std::uint64_t at) {
      return ring::Buffer{.offset = window::RegionOffset{place + at}, .length = 8};
    };
    const std::vector<ring::Buffer> readable{buffer(0)};
    std::vector<ring::Buffer> writable;
    for (std::uint32_t i = 1; i < slots; ++i)
      writable.push_back(buffer(8 * std::uint64_t{i}));
    if (!driver_.submit(readable, writable, next_)) return false;
    expected_.push_back({.number = next_++, .slots = slots, .place = place});
    static_cast<void>(driver_.publish());
    return true;
  }

  /// What a device does in a round: takes up to `most` chains, ends them in the order in which
  /// `pick(n)`, below n, draws them, keeps `keep` of them for later, and shows the rest. True if it
  /// lived to see the end of it; if not, another process takes its place at the next round.
  bool work(std::uint32_t most, std::size_t keep,
            const std::function<std::size_t(std::size_t)>& pick) {
    return alive([&] {
      ring::Chain chain;
      for (std::uint32_t i = 0; i < most && MUST(device_->pop(chain)); ++i)
        in_flight_.push_back(chain);
      while (in_flight_.size() > keep) {
        const auto at = in_flight_.begin() +
                        static_cast<std::ptrdiff_t>(pick(in_flight_.size()) % in_flight_.size());
        const ring::Chain done = *at;
        in_flight_.erase(at);
        execute(done);
      }
      device_->publish();
      static_cast<void>(device_->driver_wants_interrupt());
    });
  }

  /// Takes what was returned; false if anything of it is not as it should be.
  [[nodiscard]] bool collect() {
    for (;;) {
      const auto done = driver_.poll();
      if (!done) return false;
      if (!*done) return true;
      if (expected_.empty() || (*done)->cookie != expected_.front().number) return false;
      const Request request = expected_.front();
      expected_.pop_front();
      // In order, a driver may be told of several by one length.
      if ((*done)->written_bytes != 8 * (request.slots - 1)) return false;
      for (std::uint32_t i = 1; i < request.slots; ++i) {
        const auto answer =
            region_->bytes().load_relaxed<Le64>(request.place + (8 * std::uint64_t{i}));
        if (answer.get() != answer_to(request.number, i)) return false;
      }
    }
  }
  [[nodiscard]] std::size_t outstanding() const { return expected_.size(); }

 private:
  struct Killed {};
  struct Request {
    std::uint64_t number = 0;
    std::uint32_t slots = 0;
    std::uint64_t place = 0;
  };
  static constexpr std::uint64_t kRing = 4096;
  static constexpr std::uint64_t kTables = std::uint64_t{16} << 10;
  static constexpr std::uint64_t kData = std::uint64_t{64} << 10;
  static constexpr std::uint64_t kRequestBytes = 32;
  static constexpr std::uint64_t kRequests = 256;
  static constexpr std::uint16_t kEntries = 4;

  static std::uint64_t answer_to(std::uint64_t number, std::uint32_t part) {
    return (number << 8 | part) * 0x9e3779b97f4a7c15U;
  }

  // Another process: all that it has is the region and the state.
  void start() {
    in_flight_.clear();
    device_.reset();
    device_.emplace(MUST(ring::DeviceQueue::create({.size = options_.size,
                                                    .areas = driver_.published_areas(),
                                                    .features = options_.features,
                                                    .record = page_.record()},
                                                   region_->window())));
  }

  template <class Work>
  bool alive(const Work& work) {
    try {
      const shm::ScopedAccessHook hook(this);
      if (!device_) start();
      work();
      return true;
    } catch (const Killed&) {
      // The next one starts when there is work for it: the driver goes on meanwhile.
      device_.reset();
      left_ = kNever;
      ++kills_;
      return false;
    }
  }

  void execute(const ring::Chain& chain) {
    const auto number = MUST(chain.read<Le64>(0))
    .get();
    for (std::uint32_t i = 1; i <= chain.writable_bytes() / 8; ++i) {
      const Le64 answer(answer_to(number, i));
      MUST(chain.write(8 * (i - 1), std::as_bytes(std::span(&answer, 1))));
    }
    ++executed_;
    MUST(device_->push_used(chain.head(), chain.writable_bytes()));
  }

  void before_access(const shm::Access& /*access*/) override {
    ++accesses_;
    if (left_ == kNever) return;
    // tidy: allow throw because nothing that is killed gets to return
    if (left_-- == 0) throw Killed{};
  }

  TestRegion* region_;
  Options options_;
  StatePage page_;
  ring::DriverQueue driver_;
  std::optional<ring::DeviceQueue> device_;
  std::vector<ring::Chain> in_flight_;
  std::deque<Request> expected_;
  std::uint64_t next_ = 1;
  std::uint64_t left_ = kNever;
  std::uint64_t kills_ = 0;
  std::uint64_t accesses_ = 0;
  std::uint64_t executed_ = 0;
};

}  // namespace airlock::testing
