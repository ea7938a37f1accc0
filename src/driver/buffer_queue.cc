// SPDX-License-Identifier: Apache-2.0
#include "driver/buffer_queue.h"

#include <algorithm>
#include <array>
#include <bit>
#include <utility>

#include "base/check.h"
#include "driver/wait.h"

namespace airlock::driver {

namespace {
// Between two looks at a device that has no interrupts.
constexpr std::chrono::microseconds kPolledPause{200};
}  // namespace

Result<std::unique_ptr<BufferQueue>> BufferQueue::create(VirtioDevice& device, const Shape& shape) {
  CHECK(shape.buffers > 0 && shape.buffer_bytes > 0);
  const std::uint32_t size_max = std::bit_ceil(shape.buffers);
  auto queue = TRY(device.create_queue(shape.index, {.size_max = size_max, .table_entries = 0}));
  Shape actual = shape;
  actual.buffers = std::min(shape.buffers, queue->ring().size().value());
  const std::uint64_t bytes = std::uint64_t{actual.buffers} * actual.buffer_bytes;
  auto memory = TRY(device.pool().allocate_coherent(bytes, pool::kPageBytes));
  return std::unique_ptr<BufferQueue>(
      new BufferQueue(device, std::move(queue), std::move(memory), actual));
}

BufferQueue::BufferQueue(VirtioDevice& device, std::unique_ptr<Queue> queue,
                         pool::CoherentBuffer memory, const Shape& shape)
    : device_(device),
      queue_(std::move(queue)),
      memory_(std::move(memory)),
      count_(shape.buffers),
      buffer_bytes_(shape.buffer_bytes) {
  for (std::uint32_t i = count_; i > 0; --i)
    free_.push_back(i - 1);
  // Always: each poll() that finds nothing asks again, so that wait() may follow it.
  queue_->ring().want_interrupts(true);
}

Result<void> BufferQueue::send(std::span<const std::byte> source) {
  if (const auto why = device_.broken()) return fail(*why);
  if (free_.empty()) return fail({.code = Errc::kQueueFull, .queue = queue_->ring().queue()});
  if (source.empty() || source.size() > buffer_bytes_) {
    return fail({.code = Errc::kBadLength,
                 .detail = saturate<std::uint32_t>(std::uint64_t{source.size()})});
  }
  const std::uint32_t buffer = free_.back();
  memory_.bytes().copy_in(place(buffer), source);
  return give(buffer, static_cast<std::uint32_t>(source.size()), false);
}

Result<void> BufferQueue::ask(std::uint32_t bytes) {
  if (const auto why = device_.broken()) return fail(*why);
  if (free_.empty()) return fail({.code = Errc::kQueueFull, .queue = queue_->ring().queue()});
  if (bytes == 0 || bytes > buffer_bytes_) {
    return fail({.code = Errc::kBadLength, .detail = bytes});
  }
  return give(free_.back(), bytes, true);
}

Result<void> BufferQueue::ask_all() {
  while (!free_.empty()) {
    TRY(ask(buffer_bytes_));
  }
  return {};
}

// The last of the free ones: it is not free any more where that works.
Result<void> BufferQueue::give(std::uint32_t buffer, std::uint32_t bytes,
                               bool for_device_to_write) {
  const std::uint64_t offset = std::to_underlying(memory_.offset()) + place(buffer);
  const ring::Buffer one{.offset = window::RegionOffset{offset}, .length = bytes};
  const std::span<const ring::Buffer> none;
  const std::span<const ring::Buffer> it(&one, 1);
  const auto token = for_device_to_write ? queue_->ring().submit(none, it, buffer)
                                         : queue_->ring().submit(it, none, buffer);
  if (!token) return fail(token.error());
  free_.pop_back();
  unannounced_ = true;
  return {};
}

Result<std::optional<BufferQueue::Returned>> BufferQueue::poll() {
  if (const auto why = device_.broken()) return fail(*why);
  const auto completion = ring::poll_one(queue_->ring());
  if (!completion) return device_.fail_device(completion.error());
  if (!*completion) return std::optional<Returned>();
  // NOLINTNEXTLINE(bugprone-unchecked-optional-access): looked at just before
  const ring::Completion& done = **completion;
  CHECK(done.cookie < count_);
  return std::optional<Returned>(
      Returned{.buffer = static_cast<std::uint32_t>(done.cookie), .written = done.written_bytes});
}

std::size_t BufferQueue::copy_out(const Returned& returned, std::span<std::byte> target,
                                  std::size_t offset) const {
  CHECK(returned.buffer < count_ && offset <= returned.written);
  const std::size_t count = std::min<std::size_t>(target.size(), returned.written - offset);
  memory_.bytes().copy_out(place(returned.buffer) + offset, target.first(count));
  return count;
}

Result<void> BufferQueue::kick() {
  if (!std::exchange(unannounced_, false)) return {};
  if (!queue_->ring().publish()) return {};
  if (const auto notified = queue_->notify(); !notified) {
    return device_.fail_device(notified.error());
  }
  return {};
}

Result<bool> BufferQueue::wait(const Deadline& deadline, int wake) {
  TRY(kick());
  const int fd = queue_->interrupt_fd();
  if (fd < 0) {
    pause_for(kPolledPause);
    TRY(device_.check());
    return !deadline.passed();
  }
  const std::array<int, 4> fds{fd, device_.transport().interrupt_fd(0), device_.broken_fd(), wake};
  const bool woken = wait_readable(fds, deadline);
  (void)device_.transport().take_interrupt(queue_->vector());
  if (!woken || device_.transport().take_interrupt(0)) TRY(device_.check());
  return woken;
}

void BufferQueue::stop() {
  if (!queue_->ring().broken()) queue_->ring().abandon();
}

}  // namespace airlock::driver
