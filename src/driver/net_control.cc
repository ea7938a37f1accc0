// SPDX-License-Identifier: Apache-2.0
#include "driver/net_control.h"

#include <array>
#include <utility>

#include "driver/sealed_message.h"
#include "spec/virtio_net.h"

namespace airlock::driver {

namespace {

// Of the one page that a command has.
constexpr std::uint64_t kAckAt = 64;
constexpr std::uint64_t kDataAt = 128;
constexpr std::uint64_t kDataMax = pool::kPageBytes - kDataAt - crypt::kTagBytes;
constexpr std::uint32_t kAckBytes = 1;
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
  if (ring_.cipher() != nullptr) return judge(TRY(run_sealed(command_class, command, data)));
  shared.put(0, spec::VirtioNetCtrlHdr{.command_class = command_class, .command = command});
  shared.store_relaxed<std::uint8_t>(kAckAt, kNoAck);
  shared.copy_in(kDataAt, data);
  const std::array<ring::Buffer, 2> readable{
      {{.offset = window::RegionOffset{page}, .length = sizeof(spec::VirtioNetCtrlHdr)},
       {.offset = window::RegionOffset{page + kDataAt},
        .length = static_cast<std::uint32_t>(data.size())}}};
  const std::span<const ring::Buffer> used = std::span(readable).first(data.empty() ? 1 : 2);
  TRY(exchange(used, kAckBytes));
  return judge(shared.load_relaxed<std::uint8_t>(kAckAt));
}

// VIRTIO 1.3, 5.1.6.5.
Result<void> NetControl::judge(std::uint8_t ack) {
  if (ack == spec::VIRTIO_NET_OK) return {};
  if (ack == spec::VIRTIO_NET_ERR) return fail(Errc::kNotSupportedByDevice);
  return fail({.code = Errc::kMalformed, .detail = ack});
}

// The same as two messages: the command with its data, and the answer.
Result<std::uint8_t> NetControl::run_sealed(std::uint8_t command_class, std::uint8_t command,
                                            std::span<const std::byte> data) {
  crypt::QueueCipher& cipher = *ring_.cipher();
  const spec::VirtioNetCtrlHdr header{.command_class = command_class, .command = command};
  const auto length = static_cast<std::uint32_t>(sizeof header + data.size());
  const auto sealed = static_cast<std::uint32_t>(length + crypt::kTagBytes);
  constexpr auto kSealedAck = static_cast<std::uint32_t>(kAckBytes + crypt::kTagBytes);
  const crypt::SealedChain chain = TRY(cipher.next_chain(sealed, kSealedAck));
  seal_message(cipher, chain, length, {std::as_bytes(std::span(&header, 1)), data}, memory_.bytes(),
               kDataAt);
  const ring::Buffer readable{
      .offset = window::RegionOffset{std::to_underlying(memory_.offset()) + kDataAt},
      .length = sealed};
  std::array<std::byte, kAckBytes> ack{};
  const auto open = [&] {
    return open_message(cipher, chain, kSealedAck, memory_.bytes(), kAckAt, ack);
  };
  const auto exchanged = exchange(std::span(&readable, 1), kSealedAck);
  const auto opened = exchanged ? open() : fail(exchanged.error());
  if (opened) return std::to_integer<std::uint8_t>(ack[0]);
  ring_.stop_device(opened.error());  // ENC-8, ENC-9
  return fail(opened.error());
}

// Until the device has answered what is in the page.
Result<void> NetControl::exchange(std::span<const ring::Buffer> readable,
                                  std::uint32_t answer_bytes) {
  const ring::Buffer writable{
      .offset = window::RegionOffset{std::to_underlying(memory_.offset()) + kAckAt},
      .length = answer_bytes};
  TRY(ring_.ring().submit(readable, std::span(&writable, 1), 0));
  ring_.kick();
  ring::Completion completion;
  const auto waited = ring_.wait([&] { return ring_.take(completion); }, Deadline::after(timeout_));
  if (!waited) {
    // The page is the device's until a reset.
    ring_.stop_device(waited.error());
    return fail(waited.error());
  }
  if (completion.written_bytes != answer_bytes) {
    return fail({.code = Errc::kBadLength, .detail = completion.written_bytes});
  }
  return {};
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
