// SPDX-License-Identifier: Apache-2.0
#include "guard/interrupt_relay.h"

#include <sys/epoll.h>

#include <algorithm>
#include <utility>

namespace airlock::guard {

namespace {

// How long interrupts are held back once a storm has been noticed.
constexpr auto kPause = std::chrono::milliseconds(1);

}  // namespace

Result<std::optional<int>> InterruptRelay::assign(std::uint32_t index, std::uint32_t vector,
                                                  Fd eventfd) {
  const Key key{index, vector};
  Entry& entry = entries_[key];
  entry.vm = TRY(EventFd::adopt(std::move(eventfd)));
  if (entry.assigned) return std::nullopt;
  if (!entry.device) {
    entry.device = TRY(EventFd::create());
    entry.watch =
        TRY(poller_.watch(entry.device.fd(), held_ ? 0U : EPOLLIN, [this, key] { pass(key); }));
  }
  entry.assigned = true;
  return entry.device.fd();
}

bool InterruptRelay::deassign(std::uint32_t index, std::uint32_t vector) {
  const auto found = entries_.find({index, vector});
  if (found == entries_.end() || !found->second.assigned) return false;
  // The device's end stays: what a hostile one signals there now goes nowhere.
  found->second.assigned = false;
  found->second.vm = {};
  return true;
}

void InterruptRelay::disable(std::uint32_t index) {
  for (auto& [key, entry] : entries_) {
    if (key.first == index) deassign(key.first, key.second);
  }
}

void InterruptRelay::clear() {
  entries_.clear();
}

void InterruptRelay::signal(std::uint32_t index, std::uint32_t vector) {
  const auto found = entries_.find({index, vector});
  if (found != entries_.end() && found->second.vm) found->second.vm.signal();
}

void InterruptRelay::signal_all() {
  for (auto& [key, entry] : entries_) {
    if (entry.vm) entry.vm.signal();
  }
}

void InterruptRelay::for_each(const std::function<void(Vector)>& visit) const {
  for (const auto& [key, entry] : entries_) {
    if (!entry.assigned) continue;
    visit({.index = key.first, .vector = key.second, .eventfd = entry.device.fd()});
  }
}

std::optional<TimePoint> InterruptRelay::next_deadline() const {
  if (!held_) return std::nullopt;
  return refilled_ + kPause;
}

void InterruptRelay::resume(TimePoint now) {
  if (!held_ || now - refilled_ < kPause) return;
  held_ = false;
  for (auto& [key, entry] : entries_)
    entry.watch.wait_for(EPOLLIN);
}

void InterruptRelay::pass(Key key) {
  Entry& entry = entries_.at(key);
  if (!take_token(Clock::now())) {
    if (!held_) stormed_();
    held_ = true;
    for (auto& [other, waiting] : entries_)
      waiting.watch.wait_for(0);
    return;
  }
  if (entry.device.drain() && entry.vm) entry.vm.signal();
}

bool InterruptRelay::take_token(TimePoint now) {
  const std::chrono::duration<double> passed = now - refilled_;
  tokens_ = std::min<double>(rate_.burst, tokens_ + passed.count() * rate_.per_second);
  refilled_ = now;
  if (tokens_ < 1) return false;
  tokens_ -= 1;
  return true;
}

}  // namespace airlock::guard
