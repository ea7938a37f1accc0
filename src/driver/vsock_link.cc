// SPDX-License-Identifier: Apache-2.0
#include "driver/vsock_link.h"

#include <array>

#include "base/check.h"
#include "driver/wait.h"

namespace airlock::driver {

namespace {

using Header = spec::VirtioVsockHdr;
constexpr std::uint32_t kEventBytes = sizeof(spec::VirtioVsockEvent);
constexpr std::uint32_t kEventStride = 64;

/// Both numbers are below 2^32, and ours.
constexpr std::uint32_t stride_of(std::uint32_t bytes) {
  return (bytes + kEventStride - 1) / kEventStride * kEventStride;
}

}  // namespace

Result<VsockLink::Part> VsockLink::make_part(std::uint16_t index, std::uint32_t buffer_bytes) {
  Part part;
  part.queue = TRY(device_.create_queue(index, {.size_max = limits_.queue_size}));
  part.stride = stride_of(buffer_bytes);
  const std::uint64_t bytes = std::uint64_t{part.queue->ring().size().value()} * part.stride;
  part.memory = TRY(device_.pool().allocate_coherent(bytes, pool::kPageBytes));
  part.queue->ring().want_interrupts(false);
  return part;
}

Result<void> VsockLink::attach() {
  TRY(device_.enable_interrupts(spec::VIRTIO_VSOCK_QUEUES));
  rx_ = TRY(make_part(spec::VIRTIO_VSOCK_QUEUE_RX, limits_.receive_bytes));
  tx_ = TRY(make_part(spec::VIRTIO_VSOCK_QUEUE_TX, limits_.send_bytes));
  event_ = TRY(make_part(spec::VIRTIO_VSOCK_QUEUE_EVENT, kEventBytes));
  const std::uint32_t frames = tx_.queue->ring().size().value();
  for (std::uint32_t i = 0; i < frames; ++i)
    free_frames_.push_back(i);
  while (rx_.queue->ring().free_slots() > 0)
    TRY(post(rx_, rx_.queue->ring().outstanding(), limits_.receive_bytes));
  while (event_.queue->ring().free_slots() > 0)
    TRY(post(event_, event_.queue->ring().outstanding(), kEventBytes));
  return {};
}

Result<void> VsockLink::post(Part& part, std::uint64_t buffer, std::uint32_t bytes) {
  const ring::Buffer writable{
      .offset =
          window::RegionOffset{std::to_underlying(part.memory.offset()) + buffer * part.stride},
      .length = bytes};
  TRY(broken_by(part.queue->ring().submit({}, std::span(&writable, 1), buffer)));
  return {};
}

Result<void> VsockLink::notify(Part& part) {
  if (!part.queue->ring().publish()) return {};
  return broken_by(part.queue->notify());
}

Result<void> VsockLink::kick() {
  TRY(notify(rx_));
  TRY(notify(event_));
  return notify(tx_);
}

Result<void> VsockLink::send(const Header& header, std::span<const std::byte> payload) {
  CHECK(has_room() && payload.size() <= payload_max());
  if (const auto error = device_.broken()) return fail(*error);
  const std::uint64_t frame = free_frames_.back();
  const std::uint64_t at = frame * tx_.stride;
  tx_.memory.bytes().put(at, header);
  tx_.memory.bytes().copy_in(at + sizeof header, payload);
  const ring::Buffer readable{
      .offset = window::RegionOffset{std::to_underlying(tx_.memory.offset()) + at},
      .length = static_cast<std::uint32_t>(sizeof header + payload.size())};
  TRY(broken_by(tx_.queue->ring().submit(std::span(&readable, 1), {}, frame)));
  free_frames_.pop_back();
  return notify(tx_);
}

Result<bool> VsockLink::reap_part(Part& part, Fifo<ring::Completion>& target) {
  bool any = false;
  for (;;) {
    const auto completion = TRY(broken_by(part.queue->ring().poll()));
    if (!completion) return any;
    target.push_back(*completion);
    any = true;
  }
}

Result<bool> VsockLink::reap() {
  if (const auto error = device_.broken()) return fail(*error);
  bool any = TRY(reap_part(rx_, received_));
  any |= TRY(reap_part(event_, events_));
  any |= TRY(reap_part(tx_, sent_));
  while (!sent_.empty()) {
    free_frames_.push_back(sent_.front().cookie);
    sent_.pop_front();
  }
  if (any) rounds_ = 0;
  return any;
}

Result<std::optional<VsockLink::Packet>> VsockLink::receive() {
  if (received_.empty()) {
    TRY(reap());
    // What was given back, the device hears of when there is nothing else to do.
    if (received_.empty()) {
      TRY(notify(rx_));
      return std::nullopt;
    }
  }
  const ring::Completion completion = received_.front();
  received_.pop_front();
  const std::uint64_t at = completion.cookie * rx_.stride;
  // HD-3: at least the header, and what the header claims, has to have been written.
  if (completion.written_bytes < sizeof(Header)) {
    return device_.fail_device({.code = Errc::kBadLength, .detail = completion.written_bytes});
  }
  Packet packet;
  packet.header = rx_.memory.bytes().snapshot<Header>(at);
  const std::uint32_t length = packet.header.len.get();
  if (length > completion.written_bytes - sizeof(Header)) {
    return device_.fail_device({.code = Errc::kBadLength, .detail = length});
  }
  payload_.resize(length);
  rx_.memory.bytes().copy_out(at + sizeof(Header), payload_);
  packet.payload = payload_;
  TRY(post(rx_, completion.cookie, limits_.receive_bytes));
  return packet;
}

Result<bool> VsockLink::take_transport_reset() {
  bool any = false;
  while (!events_.empty()) {
    const ring::Completion completion = events_.front();
    events_.pop_front();
    const auto event =
        event_.memory.bytes().snapshot<spec::VirtioVsockEvent>(completion.cookie * event_.stride);
    if (completion.written_bytes < kEventBytes) {
      return device_.fail_device({.code = Errc::kBadLength, .detail = completion.written_bytes});
    }
    any |= event.id.get() == spec::VIRTIO_VSOCK_EVENT_TRANSPORT_RESET;
    TRY(post(event_, completion.cookie, kEventBytes));
    TRY(notify(event_));
  }
  return any;
}

Result<void> VsockLink::wait(const Deadline& deadline) {
  TRY(notify(rx_));
  const std::array<Part*, 3> parts{&rx_, &tx_, &event_};
  for (Part* part : parts)
    part->queue->ring().want_interrupts(true);
  // What came before the device saw that brings no interrupt.
  const bool any = TRY(reap());
  bool in_time = true;
  if (!any && rx_.queue->interrupt_fd() < 0) {
    pause_between_polls(rounds_++);
    in_time = !deadline.passed();
  } else if (!any) {
    const std::array<int, 4> fds{rx_.queue->interrupt_fd(), tx_.queue->interrupt_fd(),
                                 event_.queue->interrupt_fd(), device_.transport().interrupt_fd(0)};
    in_time = wait_readable(fds, deadline);
  }
  for (Part* part : parts) {
    part->queue->ring().want_interrupts(false);
    static_cast<void>(device_.transport().take_interrupt(part->queue->vector()));
  }
  // A device in need says so by the vector of the configuration, or not at all.
  if (device_.transport().take_interrupt(0) || !in_time) TRY(device_.check());
  if (!in_time) return fail(deadline.error());
  return {};
}

}  // namespace airlock::driver
