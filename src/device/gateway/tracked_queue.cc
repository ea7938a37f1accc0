// SPDX-License-Identifier: Apache-2.0
#include "device/gateway/tracked_queue.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "ring/barrier.h"
#include "ring/layout.h"

namespace airlock::device {

namespace {

constexpr std::uint64_t kLine = 64;

constexpr std::uint64_t line_up(std::uint64_t bytes) {
  return (bytes + kLine - 1) / kLine * kLine;  // tidy: cannot overflow because a ring is small
}

}  // namespace

std::uint64_t TrackedQueue::device_area_offset(ring::QueueSize size) {
  return line_up(ring::Layout(size).driver().bytes);
}

std::uint64_t TrackedQueue::area_bytes(ring::QueueSize size) {
  return device_area_offset(size) + line_up(ring::Layout(size).device().bytes);
}

Result<TrackedQueue> TrackedQueue::create(const ring::QueueConfig& config,
                                          const window::Window& window, ChainWatcher* watcher) {
  return TrackedQueue(TRY(ring::SplitDeviceQueue::create(config, window)), config.size, watcher);
}

TrackedQueue::TrackedQueue(ring::SplitDeviceQueue driver, ring::QueueSize size,
                           ChainWatcher* watcher)
    : driver_(std::move(driver)),
      size_(size),
      watcher_(watcher),
      avail_(shm::SharedBytes()),
      used_(shm::SharedBytes()),
      records_(size.value()) {}

Result<bool> TrackedQueue::forward() {
  bool any = false;
  while (const auto head = TRY(driver_.pop(chain_))) {
    // Of a split ring it is the chain's head: the place of its first descriptor.
    const std::uint16_t index = std::to_underlying(*head);
    records_[index] = {
        .sequence = sequence_++, .writable_bytes = chain_.writable_bytes(), .in_flight = true};
    ++in_flight_;
    const auto done = watcher_ != nullptr ? watcher_->taken(driver_.queue(), chain_) : std::nullopt;
    if (done) {
      answer(index, *done);
      continue;
    }
    if (attached_) make_available(index);
    any = true;
  }
  if (any && attached_) avail_.publish_index(next_avail_);
  return any;
}

void TrackedQueue::make_available(std::uint16_t head) {
  records_[head].seen = true;
  avail_.put(next_avail_.slot(size_), head);
  ++next_avail_;
}

void TrackedQueue::make_available_again(std::uint16_t head) {
  const auto done = watcher_ != nullptr
                        ? watcher_->again(driver_.queue(), head, records_[head].seen)
                        : std::nullopt;
  if (done) return answer(head, *done);
  make_available(head);
}

void TrackedQueue::answer(std::uint16_t head, std::uint32_t written) {
  Record& record = records_[head];
  record.in_flight = false;
  --in_flight_;
  answered_ = true;
  // Where the driver broke its queue meanwhile, that is all there is to do.
  static_cast<void>(driver_.push_used(ring::Head{head}, std::min(written, record.writable_bytes)));
}

Result<TrackedQueue::Returned> TrackedQueue::backward() {
  if (!attached_) return Returned{};
  const ring::RingIndex before = next_used_;
  std::optional<Error> violation;
  do {
    if (const auto taken = take_back(); !taken) violation = taken.error();
    // With events it tells of the very next one; and of what came before it saw that, this look
    // tells. Pairs with the barrier between the backend's used.idx and its look at used_event.
    avail_.set_used_event(next_used_);
    ring::full_barrier();
  } while (!violation && used_.acquire_index() != next_used_);
  Returned returned{.any = std::exchange(answered_, false) || next_used_ != before};
  if (returned.any) {
    driver_.publish();
    returned.interrupt = driver_.driver_wants_interrupt();
  }
  if (violation) return fail(*violation);
  return returned;
}

Result<void> TrackedQueue::take_back() {
  const ring::RingIndex end = used_.acquire_index();
  if (std::uint16_t{end - next_used_} > in_flight_) {
    return fail({.code = Errc::kBadIndexJump, .queue = driver_.queue(), .detail = end.value()});
  }
  for (; next_used_ != end; ++next_used_) {
    const ring::UsedElement element = used_.snapshot(next_used_.slot(size_));
    if (element.id >= records_.size()) {
      return fail({.code = Errc::kBadIndex, .queue = driver_.queue(), .detail = element.id});
    }
    Record& record = records_[element.id];
    if (!std::exchange(record.in_flight, false)) {
      return fail({.code = Errc::kNotOutstanding, .queue = driver_.queue(), .detail = element.id});
    }
    --in_flight_;
    // A backend that claims to have written more is believed as far as there was room.
    const std::uint32_t written = std::min(element.length, record.writable_bytes);
    const auto head = static_cast<std::uint16_t>(element.id);
    if (watcher_ != nullptr) watcher_->returned(driver_.queue(), head, written);
    // Where the driver broke its queue meanwhile, that is all there is to do.
    static_cast<void>(driver_.push_used(ring::Head{head}, written));
  }
  return {};
}

void TrackedQueue::restart(const shm::SharedBytes& areas) {
  const ring::Layout layout(size_);
  areas.fill_zero(0, area_bytes(size_));
  avail_ = ring::AvailWriter(MUST(areas.slice(0, layout.driver().bytes)));
  used_ = ring::UsedReader(MUST(areas.slice(device_area_offset(size_), layout.device().bytes)));
  attached_ = true;
  next_avail_ = ring::RingIndex();
  next_used_ = ring::RingIndex();
  std::vector<std::uint16_t> heads;
  for (std::size_t head = 0; head < records_.size(); ++head) {
    if (records_[head].in_flight) heads.push_back(static_cast<std::uint16_t>(head));
  }
  std::ranges::sort(heads, {}, [this](std::uint16_t head) { return records_[head].sequence; });
  for (const std::uint16_t head : heads)
    make_available_again(head);
  avail_.publish_index(next_avail_);
}

void TrackedQueue::detach() {
  attached_ = false;
  avail_ = ring::AvailWriter(shm::SharedBytes());
  used_ = ring::UsedReader(shm::SharedBytes());
}

}  // namespace airlock::device
