// SPDX-License-Identifier: Apache-2.0
#include "compare/rig_net.h"

#include <array>
#include <utility>

#include "spec/virtio_net.h"

namespace airlock::compare {

namespace {

constexpr std::uint32_t kNetHeader = sizeof(spec::VirtioNetHdr);
// From one header to the next: a cache line.
constexpr std::uint64_t kHeaderStride = 64;

// A checksum that is left out was not negotiated: the device drops such a frame, and looks at
// nothing but its header. VIRTIO 1.3, 5.1.6.2.
spec::VirtioNetHdr net_header_for(const RigDriver::Request& request) {
  spec::VirtioNetHdr header;
  if (request.refused) header.flags = spec::VIRTIO_NET_HDR_F_NEEDS_CSUM;
  return header;
}

}  // namespace

Result<std::unique_ptr<RigNet>> RigNet::open(Access& access, DeviceLink& device) {
  const std::uint64_t features = TRY(access.choose(TRY(device.offered())));
  RigQueue receive = TRY(RigQueue::create(access));
  RigQueue transmit = TRY(RigQueue::create(access));
  const window::RegionOffset headers = TRY(access.allocate_coherent(kDepthMost * kHeaderStride));
  const std::array links{receive.link(features), transmit.link(features)};
  TRY(access.start(device, links));
  return std::unique_ptr<RigNet>(
      new RigNet(access, std::move(receive), std::move(transmit), std::to_underlying(headers)));
}

Result<void> RigNet::submit(const Request& request) {
  const std::uint32_t slot = TRY(slots_.take(
      request, request.write ? pool::Direction::kToDevice : pool::Direction::kFromDevice));
  if (auto put = put_in_ring(slot, request); !put) {
    slots_.abandon(slot);
    return put;
  }
  return {};
}

Result<void> RigNet::put_in_ring(std::uint32_t slot, const Request& request) {
  const std::uint64_t at = headers_ + slot * kHeaderStride;
  access_.memory().put(at, net_header_for(request));
  const ring::Buffer head{.offset = window::RegionOffset{at}, .length = kNetHeader};
  const ring::Buffer frame{.offset = slots_.at(slot).mapped.offset,
                           .length = static_cast<std::uint32_t>(request.buffer.size())};
  const std::array<ring::Buffer, 2> buffers{head, frame};
  if (request.write) {
    TRY(transmit_.ring().submit(buffers, {}, slot));
  } else {
    TRY(receive_.ring().submit({}, buffers, slot));
  }
  return {};
}

void RigNet::kick() {
  receive_.kick();
  transmit_.kick();
}

Result<std::optional<RigDriver::Done>> RigNet::poll() {
  for (RigQueue* const queue : {&receive_, &transmit_}) {
    if (const auto completion = TRY(queue->take())) return TRY(finish(*completion));
  }
  return std::nullopt;
}

// The ring has seen to it that no more was written than there was room for.
Result<RigDriver::Done> RigNet::finish(const ring::Completion& completion) {
  const auto index = static_cast<std::uint32_t>(completion.cookie);
  const Request request = slots_.at(index).request;
  Done done{.cookie = request.cookie, .error = std::nullopt};
  std::uint64_t frame_bytes = 0;
  if (!request.write) {
    const std::uint32_t written = completion.written_bytes;
    if (written < kNetHeader) return fail({.code = Errc::kBadLength, .detail = written});
    frame_bytes = written - kNetHeader;
    if (frame_bytes != request.buffer.size()) {
      done.error = Error{.code = Errc::kBadLength, .detail = written};
      slots_.count_error();
    }
  }
  TRY(slots_.release(index, frame_bytes));
  return done;
}

Result<void> RigNet::wait(std::chrono::milliseconds timeout) {
  const std::array queues{&receive_, &transmit_};
  return RigQueue::wait(queues, timeout);
}

std::uint32_t RigNet::in_flight() const {
  return receive_.ring().outstanding() + transmit_.ring().outstanding();
}

DriverCounts RigNet::counts() const {
  DriverCounts counts = slots_.counts();
  counts.notifications = receive_.notifications() + transmit_.notifications();
  return counts;
}

}  // namespace airlock::compare
