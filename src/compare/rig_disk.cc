// SPDX-License-Identifier: Apache-2.0
#include "compare/rig_disk.h"

#include <poll.h>

#include <array>
#include <utility>

#include "base/relax.h"
#include "spec/virtio_blk.h"

namespace airlock::compare {

namespace {

// What a request has in coherent memory: its header, then its status.
constexpr std::uint64_t kFrameBytes = 64;
constexpr std::uint64_t kStatusAt = sizeof(spec::VirtioBlkReqHeader);
constexpr std::uint8_t kNoStatus = 0xff;  // what a device that writes no status leaves behind
// How long a wait looks at the ring before it sleeps.
constexpr std::chrono::microseconds kSpin{50};

}  // namespace

Result<std::unique_ptr<RigDisk>> RigDisk::open(Access& access, DeviceLink& device) {
  const std::uint64_t features = TRY(access.choose(TRY(device.offered())));
  const ring::QueueSize size = TRY(ring::QueueSize::from(kQueueSize));
  const ring::Layout layout(size);
  const window::RegionOffset block = TRY(access.allocate_coherent(layout.block_bytes()));
  const window::RegionOffset frames = TRY(access.allocate_coherent(kDepthMost * kFrameBytes));
  const ring::DriverQueueConfig config{
      .size = size, .areas = layout.block_at(block), .publisher = access.publisher()};
  auto ring = TRY(ring::DriverQueue::create(config, access.memory()));
  ring.want_interrupts(false);
  EventFd notify = TRY(EventFd::create_shared());
  EventFd interrupt = TRY(EventFd::create_shared());
  TRY(access.start(device,
                   {.features = features, .size = kQueueSize, .areas = ring.published_areas()},
                   {.notify = notify.fd(), .interrupt = interrupt.fd()}));
  return std::unique_ptr<RigDisk>(new RigDisk(access, std::move(ring), std::move(notify),
                                              std::move(interrupt), std::to_underlying(frames)));
}

std::uint64_t RigDisk::frame(std::uint64_t slot) const {
  return frames_ + slot * kFrameBytes;
}

Result<void> RigDisk::submit(const Request& request) {
  if (free_.empty()) return fail(Errc::kQueueFull);
  const std::uint32_t index = free_.back();
  const auto direction = request.write ? pool::Direction::kToDevice : pool::Direction::kFromDevice;
  auto mapped = access_.map(request.buffer, direction);
  if (!mapped) {
    ++counts_.io_errors;
    return fail(mapped.error());
  }
  Slot& slot = slots_[index];
  slot = {
      .mapped = *mapped, .cookie = request.cookie, .write = request.write, .since = Clock::now()};
  if (auto put = put_in_ring(index, request); !put) {
    static_cast<void>(access_.unmap(*mapped, 0));
    return put;
  }
  free_.pop_back();
  return {};
}

Result<void> RigDisk::put_in_ring(std::uint32_t slot, const Request& request) {
  const shm::SharedBytes memory = access_.memory();
  spec::VirtioBlkReqHeader header;
  header.type = Le32(request.write ? spec::VIRTIO_BLK_T_OUT : spec::VIRTIO_BLK_T_IN);
  header.sector = Le64(request.sector);
  memory.put(frame(slot), header);
  memory.store_relaxed<std::uint8_t>(frame(slot) + kStatusAt, kNoStatus);
  const ring::Buffer head{.offset = window::RegionOffset{frame(slot)}, .length = sizeof header};
  const ring::Buffer data{.offset = slots_[slot].mapped.offset,
                          .length = static_cast<std::uint32_t>(request.buffer.size())};
  const ring::Buffer status{.offset = window::RegionOffset{frame(slot) + kStatusAt}, .length = 1};
  const std::array<ring::Buffer, 3> buffers{head, data, status};
  const std::size_t readable = request.write ? 2 : 1;
  TRY(ring_.submit(std::span(buffers).first(readable), std::span(buffers).subspan(readable), slot));
  return {};
}

void RigDisk::kick() {
  if (!ring_.publish()) return;
  ++counts_.notifications;
  notify_.signal();
}

Result<bool> RigDisk::look() {
  if (found_) return true;
  ring::Completion completion;
  if (!TRY(ring_.poll(completion))) return false;
  found_ = completion;
  return true;
}

Result<std::optional<RigDisk::Done>> RigDisk::poll() {
  static_cast<void>(TRY(look()));
  const auto completion = std::exchange(found_, std::nullopt);
  if (!completion) return std::nullopt;
  return TRY(finish(*completion));
}

Result<RigDisk::Done> RigDisk::finish(const ring::Completion& completion) {
  const auto index = static_cast<std::uint32_t>(completion.cookie);
  const Slot& slot = slots_.at(index);
  const std::uint64_t data = slot.mapped.buffer.size();
  Done done{.cookie = slot.cookie, .error = std::nullopt};
  const auto status = access_.memory().load_relaxed<std::uint8_t>(frame(index) + kStatusAt);
  const std::uint64_t expected = slot.write ? 1 : data + 1;
  if (status != spec::VIRTIO_BLK_S_OK) {
    done.error = Error{.code = status == spec::VIRTIO_BLK_S_UNSUPP ? Errc::kNotSupportedByDevice
                                                                   : Errc::kIoError};
    ++counts_.io_errors;
  } else if (completion.written_bytes != expected) {
    return fail({.code = Errc::kBadLength, .detail = completion.written_bytes});  // HD-3
  }
  TRY(access_.unmap(slot.mapped, done.error || slot.write ? 0 : data));
  counts_.mapped_ns +=
      static_cast<std::uint64_t>(std::chrono::nanoseconds(Clock::now() - slot.since).count());
  free_.push_back(index);
  return done;
}

Result<void> RigDisk::wait(std::chrono::milliseconds timeout) {
  const auto spin_end = Clock::now() + kSpin;
  do {
    if (TRY(look())) return {};
    relax();
  } while (Clock::now() < spin_end);
  const auto end = Clock::now() + timeout;
  ring_.want_interrupts(true);
  Result<bool> there = look();
  while (there && !*there) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(end - Clock::now());
    if (left.count() <= 0) {
      there = fail({.code = Errc::kTimeout, .detail = static_cast<std::uint32_t>(timeout.count())});
      break;
    }
    pollfd watched = {.fd = interrupt_.fd(), .events = POLLIN, .revents = 0};
    static_cast<void>(::poll(&watched, 1, static_cast<int>(left.count())));
    if (interrupt_.drain()) ++counts_.interrupts;
    there = look();
  }
  ring_.want_interrupts(false);
  if (!there) return fail(there.error());
  return {};
}

}  // namespace airlock::compare
