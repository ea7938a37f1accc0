// SPDX-License-Identifier: Apache-2.0
#include "compare/rig_disk.h"

#include <array>
#include <utility>

#include "spec/virtio_blk.h"

namespace airlock::compare {

namespace {

// What a request has in coherent memory: its header, then its status.
constexpr std::uint64_t kFrameBytes = RigSealer::kFrameBytes;
constexpr std::uint64_t kStatusAt = sizeof(spec::VirtioBlkReqHeader);
constexpr std::uint8_t kNoStatus = 0xff;  // what a device that writes no status leaves behind

spec::VirtioBlkReqHeader blk_header_for(const RigDriver::Request& request) {
  const std::uint64_t blocks = kDiskBytes / request.buffer.size();
  const std::uint64_t offset =
      request.refused ? kDiskBytes : request.block % blocks * request.buffer.size();
  spec::VirtioBlkReqHeader header;
  header.type = Le32(request.write ? spec::VIRTIO_BLK_T_OUT : spec::VIRTIO_BLK_T_IN);
  header.sector = Le64(offset / spec::VIRTIO_BLK_SECTOR_BYTES);
  return header;
}

}  // namespace

Result<std::unique_ptr<RigDisk>> RigDisk::open(Access& access, DeviceLink& device,
                                               crypt::Algorithm encryption) {
  const std::uint64_t features = TRY(access.choose(TRY(device.offered())));
  RigQueue queue = TRY(RigQueue::create(access));
  const window::RegionOffset frames = TRY(access.allocate_coherent(kDepthMost * kFrameBytes));
  const QueueKeys keys = QueueKeys::make(encryption);
  std::optional<RigSealer> sealer;
  if (const crypt::SharedSecret secret = keys.secret()) {
    sealer.emplace(TRY(crypt::QueueCipher::create(*secret, 0, crypt::Side::kDriver)),
                   access.memory());
  }
  QueueLink link = queue.link(features);
  link.start.keys = keys;
  TRY(access.start(device, std::span(&link, 1)));
  return std::unique_ptr<RigDisk>(
      new RigDisk(access, std::move(queue), std::to_underlying(frames), std::move(sealer)));
}

DriverCounts RigDisk::counts() const {
  DriverCounts counts = slots_.counts();
  counts.notifications = queue_.notifications();
  if (sealer_) counts.sealed_bytes = sealer_->data_bytes();
  return counts;
}

std::uint64_t RigDisk::frame(std::uint64_t slot) const {
  return frames_ + slot * kFrameBytes;
}

Result<void> RigDisk::submit(const Request& request) {
  // What is sealed into its room itself is not copied there first.
  const auto direction =
      request.write && !sealer_ ? pool::Direction::kToDevice : pool::Direction::kFromDevice;
  const std::uint32_t slot = TRY(slots_.take(request, direction));
  if (auto put = sealer_ ? put_sealed(*sealer_, slot, request) : put_in_ring(slot, request); !put) {
    slots_.abandon(slot);
    return put;
  }
  return {};
}

Result<void> RigDisk::put_in_ring(std::uint32_t slot, const Request& request) {
  const shm::SharedBytes memory = access_.memory();
  const spec::VirtioBlkReqHeader header = blk_header_for(request);
  memory.put(frame(slot), header);
  memory.store_relaxed<std::uint8_t>(frame(slot) + kStatusAt, kNoStatus);
  const ring::Buffer head{.offset = window::RegionOffset{frame(slot)}, .length = sizeof header};
  const ring::Buffer data{.offset = slots_.at(slot).mapped.offset,
                          .length = static_cast<std::uint32_t>(request.buffer.size())};
  const ring::Buffer status{.offset = window::RegionOffset{frame(slot) + kStatusAt}, .length = 1};
  const std::array<ring::Buffer, 3> buffers{head, data, status};
  const std::size_t readable = request.write ? 2 : 1;
  TRY(queue_.ring().submit(std::span(buffers).first(readable), std::span(buffers).subspan(readable),
                           slot));
  return {};
}

RigSealer::Place RigDisk::place_of(std::uint32_t slot) const {
  return {.frame = frame(slot), .data = std::to_underlying(slots_.at(slot).mapped.offset)};
}

Result<void> RigDisk::put_sealed(RigSealer& sealer, std::uint32_t slot, const Request& request) {
  using Bytes = std::span<const std::byte>;
  const auto length = static_cast<std::uint32_t>(request.buffer.size());
  chains_.at(slot) =
      TRY(sealer.seal(place_of(slot), blk_header_for(request),
                      request.write ? Bytes(request.buffer) : Bytes(), request.write ? 0 : length));
  const std::uint64_t at = frame(slot);
  const ring::Buffer head{.offset = window::RegionOffset{at}, .length = RigSealer::kTagAt};
  const ring::Buffer tag{.offset = window::RegionOffset{at + RigSealer::kTagAt},
                         .length = RigSealer::kTag};
  const ring::Buffer data{.offset = slots_.at(slot).mapped.offset, .length = length};
  const ring::Buffer end{.offset = window::RegionOffset{at + RigSealer::kStatusAt},
                         .length = RigSealer::kStatusBytes + RigSealer::kTag};
  const std::array<ring::Buffer, 4> written{head, data, tag, end};
  const std::array<ring::Buffer, 4> read{head, tag, data, end};
  const std::span<const ring::Buffer> buffers = request.write ? written : read;
  const std::size_t readable = request.write ? 3 : 2;
  TRY(queue_.ring().submit(buffers.first(readable), buffers.subspan(readable), slot));
  return {};
}

Result<std::optional<RigDriver::Done>> RigDisk::poll() {
  const auto completion = TRY(queue_.take());
  if (!completion) return std::nullopt;
  return TRY(finish(*completion));
}

Result<std::uint8_t> RigDisk::status_of(std::uint32_t slot, std::uint32_t written) {
  const Request& request = slots_.at(slot).request;
  const std::span<std::byte> read = request.write ? std::span<std::byte>() : request.buffer;
  if (sealer_) return sealer_->open(chains_.at(slot), place_of(slot), written, read);
  const auto status = access_.memory().load_relaxed<std::uint8_t>(frame(slot) + kStatusAt);
  if (status == spec::VIRTIO_BLK_S_OK && written != read.size() + 1) {
    return fail({.code = Errc::kBadLength, .detail = written});  // HD-3
  }
  return status;
}

Result<RigDriver::Done> RigDisk::finish(const ring::Completion& completion) {
  const auto index = static_cast<std::uint32_t>(completion.cookie);
  const Request request = slots_.at(index).request;
  Done done{.cookie = request.cookie, .error = std::nullopt};
  const std::uint8_t status = TRY(status_of(index, completion.written_bytes));
  if (status != spec::VIRTIO_BLK_S_OK) {
    done.error = Error{.code = status == spec::VIRTIO_BLK_S_UNSUPP ? Errc::kNotSupportedByDevice
                                                                   : Errc::kIoError};
    slots_.count_error();
  } else if (request.refused) {
    return fail(Errc::kWrongState);  // a disk that goes on behind its end is none of ours
  }
  // What was opened is where it belongs.
  const bool copied = !done.error && !request.write && !sealer_;
  TRY(slots_.release(index, copied ? request.buffer.size() : 0));
  return done;
}

Result<void> RigDisk::wait(std::chrono::milliseconds timeout) {
  RigQueue* const queue = &queue_;
  return RigQueue::wait(std::span(&queue, 1), timeout);
}

}  // namespace airlock::compare
