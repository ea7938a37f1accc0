// SPDX-License-Identifier: Apache-2.0
#include "driver/net_control.h"

#include <array>
#include <utility>

#include "spec/virtio_net.h"

namespace airlock::driver {

namespace {

// Of the one page that a command has.
constexpr std::uint64_t kAckAt = 64;
constexpr std::uint64_t kDataAt = 128;
constexpr std::uint64_t kDataMax = pool::kPageBytes - kDataAt;
constexpr std::uint8_t kNoAck = 0xff;  // what a device that writes none leaves behind
constexpr std::uint32_t kCommandBuffers = 3;

}  // namespace

NetControl::~NetControl() {
  stop({.code = Errc::kWrongState});
  detach();
}

Result<void> NetControl::run(std::uint8_t command_class, std::uint8_t command,
                             std::span<const std::byte> data) {
  if (!ring_.usable()) return fail(ring_.broken().value_or(Error{.code = Errc::kQueueBroken}));
  if (data.size() > kDataMax) return fail({.code = Errc::kTooLarge, .address = data.size()});
  const std::uint64_t page = std::to_underlying(memory_.offset());
  const shm::SharedBytes& shared = memory_.bytes();
  shared.put(0, spec::VirtioNetCtrlHdr{.command_class = command_class, .command = command});
  shared.store_relaxed<std::uint8_t>(kAckAt, kNoAck);
  shared.copy_in(kDataAt, data);
  const std::array<ring::Buffer, 2> readable{
      {{.offset = window::RegionOffset{page}, .length = sizeof(spec::VirtioNetCtrlHdr)},
       {.offset = window::RegionOffset{page + kDataAt},
        .length = static_cast<std::uint32_t>(data.size())}}};
  const std::uint8_t ack = TRY(exchange(std::span(readable).first(data.empty() ? 1 : 2)));
  if (ack == spec::VIRTIO_NET_OK) return {};
  if (ack == spec::VIRTIO_NET_ERR) return fail(Errc::kNotSupportedByDevice);
  return fail({.code = Errc::kMalformed, .detail = ack});
}

// The answer to what is in the page.
Result<std::uint8_t> NetControl::exchange(std::span<const ring::Buffer> readable) {
  const ring::Buffer writable{
      .offset = window::RegionOffset{std::to_underlying(memory_.offset()) + kAckAt}, .length = 1};
  TRY(ring_.ring().submit(readable, std::span(&writable, 1), 0));
  ring_.kick();
  ring::Completion completion;
  const auto waited = ring_.wait([&] { return ring_.take(completion); }, Deadline::after(timeout_));
  if (!waited) {
    // The page is the device's until a reset.
    ring_.stop_device(waited.error());
    return fail(waited.error());
  }
  if (completion.written_bytes != 1) {
    return fail({.code = Errc::kBadLength, .detail = completion.written_bytes});
  }
  return memory_.bytes().load_relaxed<std::uint8_t>(kAckAt);
}

Result<void> NetControl::attach(std::unique_ptr<Queue> queue) {
  ring_.attach(std::move(queue));
  const std::uint32_t slots = ring_.ring().size().value();
  if (slots < kCommandBuffers) return fail({.code = Errc::kBadQueueSize, .detail = slots});
  memory_ = TRY(ring_.device().pool().allocate_coherent(pool::kPageBytes, pool::kPageBytes));
  ring_.begin();
  return {};
}

void NetControl::detach() {
  ring_.detach();
  memory_.reset();
}

}  // namespace airlock::driver
