// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <vector>

#include "ring/concepts.h"
#include "testing/test_region.h"

namespace airlock::testing {

/// Both halves of one queue over one region, beside a naive model of what a queue is: a request
/// goes from submitted to available to in flight to pushed to used to gone. Each operation is done
/// to the queue and to the model; its result says whether they agree. Any format, any order of
/// calls.
template <ring::DriverQueueLike Driver, ring::DeviceQueueLike Device>
class QueuePair {
 public:
  /// Buffers of a request, as lengths in bytes.
  struct Shape {
    std::vector<std::uint32_t> readable;
    std::vector<std::uint32_t> writable;
  };

  /// The areas are at `block`, data at `data`; whatever was there is overwritten.
  QueuePair(TestRegion& region, ring::QueueSize size, window::RegionOffset block,
            window::RegionOffset data)
      : region_(&region),
        size_(size),
        data_(data),
        driver_(MUST(Driver::create({.size = size,
                                     .areas = ring::Layout(size).block_at(block),
                                     .publisher = region.publisher()},
                                    region.bytes()))),
        device_(MUST(
            Device::create({.size = size, .areas = driver_.published_areas()}, region.window()))),
        free_(size.value()) {}

  [[nodiscard]] bool submit(const Shape& shape) {
    Request request{.cookie = next_cookie_++, .readable = {}, .writable = {}};
    request.readable = place(shape.readable);
    request.writable = place(shape.writable);
    const auto count = static_cast<std::uint32_t>(shape.readable.size() + shape.writable.size());
    const auto token = driver_.submit(request.readable, request.writable, request.cookie);
    if (count == 0) return !token && token.error().code == Errc::kBadLength;
    if (count > size_.value()) return !token && token.error().code == Errc::kChainTooLong;
    if (count > free_) return !token && token.error().code == Errc::kQueueFull;
    if (!token) return false;
    request.token = *token;
    free_ -= count;
    submitted_.push_back(request);
    return agree();
  }

  [[nodiscard]] bool publish() {
    const bool expected = !submitted_.empty() && !no_notify_;
    const bool notify = driver_.publish();
    move_all(submitted_, available_);
    return notify == expected && agree();
  }

  [[nodiscard]] bool pop() {
    ring::Chain chain;
    const auto popped = device_.pop(chain);
    if (!popped) return false;
    if (available_.empty()) return !popped->has_value() && agree();
    const Request request = available_.front();
    available_.pop_front();
    in_flight_.push_back({.request = request, .head = chain.head()});
    return *popped == chain.head() && same(chain.readable(), request.readable) &&
           same(chain.writable(), request.writable) &&
           chain.readable_bytes() == bytes(request.readable) &&
           chain.writable_bytes() == bytes(request.writable) && agree();
  }

  /// Returns the chain in flight at `place` (modulo how many there are), with `written` bytes
  /// (modulo what it takes); nothing if none is in flight.
  [[nodiscard]] bool push(std::size_t place, std::uint32_t written) {
    if (in_flight_.empty()) return true;
    const auto at = in_flight_.begin() + static_cast<std::ptrdiff_t>(place % in_flight_.size());
    const std::uint64_t limit = bytes(at->request.writable);
    at->request.written = static_cast<std::uint32_t>(written % (limit + 1));
    if (!device_.push_used(at->head, at->request.written)) return false;
    pushed_.push_back(at->request);
    in_flight_.erase(at);
    return agree();
  }

  [[nodiscard]] bool publish_used() {
    unsignalled_ = unsignalled_ || !pushed_.empty();
    device_.publish();
    move_all(pushed_, used_);
    const bool expected = unsignalled_ && !no_interrupt_;
    unsignalled_ = false;
    return device_.driver_wants_interrupt() == expected && agree();
  }

  [[nodiscard]] bool poll() {
    const auto polled = driver_.poll();
    if (!polled) return false;
    if (used_.empty()) return !polled->has_value() && agree();
    const Request request = used_.front();
    used_.pop_front();
    free_ += static_cast<std::uint32_t>(request.readable.size() + request.writable.size());
    return *polled == ring::Completion{.token = request.token,
                                       .cookie = request.cookie,
                                       .written_bytes = request.written} &&
           agree();
  }

  [[nodiscard]] bool want_interrupts(bool wanted) {
    no_interrupt_ = !wanted;
    driver_.want_interrupts(wanted);
    return agree();
  }
  [[nodiscard]] bool suppress_notifications(bool suppressed) {
    no_notify_ = suppressed;
    device_.suppress_notifications(suppressed);
    return agree();
  }

  /// Ends the driver's half: each request that it still has comes back once, and no other.
  [[nodiscard]] bool abandon() {
    std::vector<std::uint64_t> expected;
    for (const auto* requests : {&submitted_, &available_, &pushed_, &used_}) {
      for (const Request& request : *requests)
        expected.push_back(request.cookie);
    }
    for (const InFlight& flight : in_flight_)
      expected.push_back(flight.request.cookie);
    driver_.abandon();
    std::vector<std::uint64_t> taken;
    while (const auto outstanding = driver_.take_outstanding())
      taken.push_back(outstanding->cookie);
    std::ranges::sort(expected);
    std::ranges::sort(taken);
    return taken == expected && driver_.free_slots() == size_.value();
  }

  /// Whether an operation has anything to do now.
  [[nodiscard]] bool can_publish() const { return !submitted_.empty(); }
  [[nodiscard]] bool can_pop() const { return !available_.empty(); }
  [[nodiscard]] std::size_t can_push() const { return in_flight_.size(); }
  [[nodiscard]] bool can_publish_used() const { return !pushed_.empty(); }
  [[nodiscard]] bool can_poll() const { return !used_.empty(); }
  [[nodiscard]] std::uint32_t free_slots() const { return free_; }

 private:
  using Buffers = std::vector<ring::Buffer>;
  struct Request {
    std::uint64_t cookie = 0;
    Buffers readable;
    Buffers writable;
    ring::Token token{};
    std::uint32_t written = 0;
  };
  struct InFlight {
    Request request;
    ring::Head head{};
  };

  // Different offsets for different buffers, so that a mix-up shows.
  Buffers place(const std::vector<std::uint32_t>& lengths) {
    Buffers buffers;
    for (const std::uint32_t length : lengths) {
      const std::uint64_t room = region_->bytes().size() - std::to_underlying(data_) - length;
      next_place_ = (next_place_ + 17) % room;
      buffers.push_back({.offset = window::RegionOffset{std::to_underlying(data_) + next_place_},
                         .length = length});
    }
    return buffers;
  }
  static std::uint64_t bytes(const Buffers& buffers) {
    std::uint64_t sum = 0;
    for (const ring::Buffer& buffer : buffers)
      sum += buffer.length;
    return sum;
  }
  [[nodiscard]] bool same(std::span<const window::SharedSpan> spans, const Buffers& buffers) const {
    const auto* const start = region_->bytes().in_place().data();
    return std::ranges::equal(
        spans, buffers, [&](const window::SharedSpan& span, const ring::Buffer& buffer) {
          return span.size() == buffer.length &&
                 span.in_place().data() == start + std::to_underlying(buffer.offset);
        });
  }
  static void move_all(std::deque<Request>& source, std::deque<Request>& target) {
    target.insert(target.end(), source.begin(), source.end());
    source.clear();
  }
  [[nodiscard]] bool agree() const {
    const std::size_t outstanding =
        submitted_.size() + available_.size() + in_flight_.size() + pushed_.size() + used_.size();
    return driver_.outstanding() == outstanding && driver_.free_slots() == free_ &&
           device_.in_flight() == in_flight_.size() && !driver_.broken() && !device_.broken();
  }

  TestRegion* region_;
  ring::QueueSize size_;
  window::RegionOffset data_;
  Driver driver_;
  Device device_;
  std::uint32_t free_;
  std::deque<Request> submitted_;
  std::deque<Request> available_;
  std::deque<InFlight> in_flight_;
  std::deque<Request> pushed_;
  std::deque<Request> used_;
  std::uint64_t next_cookie_ = 1;
  std::uint64_t next_place_ = 0;
  bool unsignalled_ = false;
  bool no_interrupt_ = false;
  bool no_notify_ = false;
};

}  // namespace airlock::testing
