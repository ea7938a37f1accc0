// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <iterator>
#include <set>
#include <utility>
#include <vector>

#include "ring/concepts.h"
#include "testing/queue_wish.h"
#include "testing/test_region.h"

namespace airlock::testing {

/// Both halves of one queue over one region, beside a naive model of what a queue is: a request
/// goes from submitted to available to in flight to pushed to used to gone. Each operation is done
/// to both; its result says whether they agree. Any format, any features, any order of calls.
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
            window::RegionOffset data, const ring::Features& features = {},
            const ring::IndirectTables& tables = {})
      : region_(&region),
        size_(size),
        data_(data),
        features_(features),
        table_entries_(features.indirect ? tables.entries : std::uint16_t{0}),
        driver_(MUST(Driver::create({.size = size,
                                     .areas = ring::Layout(size, features.format).block_at(block),
                                     .publisher = region.publisher(),
                                     .features = features,
                                     .tables = tables},
                                    region.bytes()))),
        device_(MUST(
            Device::create({.size = size, .areas = driver_.published_areas(), .features = features},
                           region.window()))),
        free_(size.value()),
        notifications_(features),
        interrupts_(features) {}

  [[nodiscard]] bool submit(const Shape& shape) {
    Request request{.cookie = next_cookie_++,
                    .readable = place(shape.readable),
                    .writable = place(shape.writable)};
    const auto count = static_cast<std::uint32_t>(shape.readable.size() + shape.writable.size());
    const std::uint32_t slots = slots_of(request);
    const auto token = driver_.submit(request.readable, request.writable, request.cookie);
    if (count == 0) return !token && token.error().code == Errc::kBadLength;
    if (count > size_.value()) return !token && token.error().code == Errc::kChainTooLong;
    if (slots > free_) return !token && token.error().code == Errc::kQueueFull;
    if (!token || driver_.slots_for(count) != slots) return false;
    request.token = *token;
    free_ -= slots;
    submitted_.push_back(std::move(request));
    return agree();
  }

  [[nodiscard]] bool publish() {
    const bool as_wished = notifications_.granted(submitted_.size(), driver_.publish());
    move_all(submitted_, available_);
    return as_wished && agree();
  }

  [[nodiscard]] bool pop() {
    ring::Chain chain;
    const auto popped = device_.pop(chain);
    if (!popped) return false;
    if (available_.empty()) {
      notifications_.found_none();
      return !popped->has_value() && agree();
    }
    in_flight_.push_back(std::move(available_.front()));
    available_.pop_front();
    notifications_.took_one();
    Request& request = in_flight_.back();
    request.head = chain.head();
    return *popped == chain.head() && same(chain.readable(), request.readable) &&
           same(chain.writable(), request.writable) &&
           chain.readable_bytes() == bytes(request.readable) &&
           chain.writable_bytes() == bytes(request.writable) && agree();
  }

  /// Returns the chain in flight at `place` (modulo how many there are), with `written` bytes
  /// (modulo what it takes); nothing if none is in flight. In order it may have to wait.
  [[nodiscard]] bool push(std::size_t place, std::uint32_t written) {
    if (can_push() == 0) return true;
    const auto at =
        std::ranges::find_if(in_flight_, [nth = place % can_push()](const Request& one) mutable {
          return !one.returned && nth-- == 0;
        });
    const std::uint64_t limit = bytes(at->writable);
    at->written = static_cast<std::uint32_t>(written % (limit + 1));
    at->returned = true;
    if (!device_.push_used(at->head, at->written)) return false;
    if (!features_.in_order) {
      pushed_.push_back(std::move(*at));
      in_flight_.erase(at);
    }
    while (!in_flight_.empty() && in_flight_.front().returned) {
      pushed_.push_back(std::move(in_flight_.front()));
      in_flight_.pop_front();
    }
    return agree();
  }

  [[nodiscard]] bool publish_used() {
    device_.publish();
    const bool as_wished = interrupts_.granted(pushed_.size(), device_.driver_wants_interrupt());
    move_all(pushed_, used_);
    return as_wished && agree();
  }

  [[nodiscard]] bool poll() {
    const auto polled = driver_.poll();
    if (!polled) return false;
    if (used_.empty()) {
      interrupts_.found_none();
      return !polled->has_value() && agree();
    }
    const Request request = std::move(used_.front());
    used_.pop_front();
    interrupts_.took_one();
    free_ += slots_of(request);
    return *polled == ring::Completion{.token = request.token,
                                       .cookie = request.cookie,
                                       .written_bytes = request.written} &&
           agree();
  }

  [[nodiscard]] bool want_interrupts(bool wanted) {
    interrupts_.want(wanted);
    driver_.want_interrupts(wanted);
    return agree();
  }
  [[nodiscard]] bool suppress_notifications(bool suppressed) {
    notifications_.want(!suppressed);
    device_.suppress_notifications(suppressed);
    return agree();
  }

  /// Ends the driver's half: each request that it still has comes back once, and no other.
  [[nodiscard]] bool abandon() {
    std::multiset<std::uint64_t> expected;
    for (const auto* requests : {&submitted_, &available_, &in_flight_, &pushed_, &used_}) {
      for (const Request& request : *requests)
        expected.insert(request.cookie);
    }
    driver_.abandon();
    std::multiset<std::uint64_t> taken;
    while (const auto outstanding = driver_.take_outstanding())
      taken.insert(outstanding->cookie);
    return taken == expected && driver_.free_slots() == size_.value();
  }

  /// Whether an operation has anything to do now.
  [[nodiscard]] bool can_publish() const { return !submitted_.empty(); }
  [[nodiscard]] bool can_pop() const { return !available_.empty(); }
  [[nodiscard]] std::size_t can_push() const {
    return static_cast<std::size_t>(
        std::ranges::count_if(in_flight_, [](const Request& one) { return !one.returned; }));
  }
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
    ring::Head head{};  // once in flight
    std::uint32_t written = 0;
    bool returned = false;  // in order: it waits for those before it
  };

  [[nodiscard]] std::uint32_t slots_of(const Request& request) const {
    const std::size_t count = request.readable.size() + request.writable.size();
    const bool in_table = count >= 2 && count <= table_entries_;
    return in_table ? 1 : static_cast<std::uint32_t>(count);
  }

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
    std::ranges::move(source, std::back_inserter(target));
    source.clear();
  }
  [[nodiscard]] bool agree() const {
    const std::size_t outstanding =
        submitted_.size() + available_.size() + in_flight_.size() + pushed_.size() + used_.size();
    return driver_.outstanding() == outstanding && driver_.free_slots() == free_ &&
           device_.in_flight() == can_push() && !driver_.broken() && !device_.broken();
  }

  TestRegion* region_;
  ring::QueueSize size_;
  window::RegionOffset data_;
  ring::Features features_;
  std::uint16_t table_entries_;  // 0: there are no tables
  Driver driver_;
  Device device_;
  std::uint32_t free_;
  std::deque<Request> submitted_;
  std::deque<Request> available_;
  std::deque<Request> in_flight_;
  std::deque<Request> pushed_;
  std::deque<Request> used_;
  std::uint64_t next_cookie_ = 1;
  std::uint64_t next_place_ = 0;
  QueueWish notifications_;  // the device's
  QueueWish interrupts_;     // the driver's
};

}  // namespace airlock::testing
