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
constexpr std::uint64_t kFrameBytes = RigSealer::kFrameBytes;
constexpr std::uint64_t kStatusAt = sizeof(spec::VirtioBlkReqHeader);
constexpr std::uint8_t kNoStatus = 0xff;  // what a device that writes no status leaves behind
// How long a wait looks at the ring before it sleeps.
constexpr std::chrono::microseconds kSpin{50};

spec::VirtioBlkReqHeader header_for(const RigDisk::Request& request) {
  spec::VirtioBlkReqHeader header;
  header.type = Le32(request.write ? spec::VIRTIO_BLK_T_OUT : spec::VIRTIO_BLK_T_IN);
  header.sector = Le64(request.sector);
  return header;
}

}  // namespace

Result<std::unique_ptr<RigDisk>> RigDisk::open(Access& access, DeviceLink& device,
                                               crypt::Algorithm encryption) {
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
  const QueueKeys keys = QueueKeys::make(encryption);
  std::optional<RigSealer> sealer;
  if (const crypt::SharedSecret secret = keys.secret()) {
    sealer.emplace(TRY(crypt::QueueCipher::create(*secret, 0, crypt::Side::kDriver)),
                   access.memory());
  }
  TRY(access.start(
      device,
      {.features = features, .size = kQueueSize, .areas = ring.published_areas(), .keys = keys},
      {.notify = notify.fd(), .interrupt = interrupt.fd()}));
  return std::unique_ptr<RigDisk>(new RigDisk(access, std::move(ring), std::move(notify),
                                              std::move(interrupt), std::to_underlying(frames),
                                              std::move(sealer)));
}

DiskCounts RigDisk::counts() const {
  DiskCounts counts = counts_;
  if (sealer_) counts.sealed_bytes = sealer_->data_bytes();
  return counts;
}

std::uint64_t RigDisk::frame(std::uint64_t slot) const {
  return frames_ + slot * kFrameBytes;
}

Result<void> RigDisk::submit(const Request& request) {
  if (free_.empty()) return fail(Errc::kQueueFull);
  const std::uint32_t index = free_.back();
  // What is sealed into its room itself is not copied there first.
  const auto direction =
      request.write && !sealer_ ? pool::Direction::kToDevice : pool::Direction::kFromDevice;
  auto mapped = access_.map(request.buffer, direction);
  if (!mapped) {
    ++counts_.io_errors;
    return fail(mapped.error());
  }
  Slot& slot = slots_[index];
  slot = {.mapped = *mapped,
          .cookie = request.cookie,
          .write = request.write,
          .since = Clock::now(),
          .chain = {}};
  if (auto put = sealer_ ? put_sealed(*sealer_, index, request) : put_in_ring(index, request);
      !put) {
    static_cast<void>(access_.unmap(*mapped, 0));
    return put;
  }
  free_.pop_back();
  return {};
}

Result<void> RigDisk::put_in_ring(std::uint32_t slot, const Request& request) {
  const shm::SharedBytes memory = access_.memory();
  const spec::VirtioBlkReqHeader header = header_for(request);
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

RigSealer::Place RigDisk::place_of(std::uint32_t slot) const {
  return {.frame = frame(slot), .data = std::to_underlying(slots_[slot].mapped.offset)};
}

Result<void> RigDisk::put_sealed(RigSealer& sealer, std::uint32_t slot, const Request& request) {
  using Bytes = std::span<const std::byte>;
  const auto length = static_cast<std::uint32_t>(request.buffer.size());
  slots_[slot].chain =
      TRY(sealer.seal(place_of(slot), header_for(request),
                      request.write ? Bytes(request.buffer) : Bytes(), request.write ? 0 : length));
  const std::uint64_t at = frame(slot);
  const ring::Buffer head{.offset = window::RegionOffset{at}, .length = RigSealer::kTagAt};
  const ring::Buffer tag{.offset = window::RegionOffset{at + RigSealer::kTagAt},
                         .length = RigSealer::kTag};
  const ring::Buffer data{.offset = slots_[slot].mapped.offset, .length = length};
  const ring::Buffer end{.offset = window::RegionOffset{at + RigSealer::kStatusAt},
                         .length = RigSealer::kStatusBytes + RigSealer::kTag};
  const std::array<ring::Buffer, 4> written{head, data, tag, end};
  const std::array<ring::Buffer, 4> read{head, tag, data, end};
  const std::span<const ring::Buffer> buffers = request.write ? written : read;
  const std::size_t readable = request.write ? 3 : 2;
  TRY(ring_.submit(buffers.first(readable), buffers.subspan(readable), slot));
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

Result<std::uint8_t> RigDisk::status_of(std::uint32_t slot, std::uint32_t written) {
  const Slot& of = slots_.at(slot);
  const std::span<std::byte> read = of.write ? std::span<std::byte>() : of.mapped.buffer;
  if (sealer_) return sealer_->open(of.chain, place_of(slot), written, read);
  const auto status = access_.memory().load_relaxed<std::uint8_t>(frame(slot) + kStatusAt);
  if (status == spec::VIRTIO_BLK_S_OK && written != read.size() + 1) {
    return fail({.code = Errc::kBadLength, .detail = written});  // HD-3
  }
  return status;
}

Result<RigDisk::Done> RigDisk::finish(const ring::Completion& completion) {
  const auto index = static_cast<std::uint32_t>(completion.cookie);
  const Slot& slot = slots_.at(index);
  Done done{.cookie = slot.cookie, .error = std::nullopt};
  const std::uint8_t status = TRY(status_of(index, completion.written_bytes));
  if (status != spec::VIRTIO_BLK_S_OK) {
    done.error = Error{.code = status == spec::VIRTIO_BLK_S_UNSUPP ? Errc::kNotSupportedByDevice
                                                                   : Errc::kIoError};
    ++counts_.io_errors;
  }
  // What was opened is where it belongs.
  const bool copied = !done.error && !slot.write && !sealer_;
  TRY(access_.unmap(slot.mapped, copied ? slot.mapped.buffer.size() : 0));
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
