// SPDX-License-Identifier: Apache-2.0
#include "driver/net_receiver.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <utility>

#include "driver/sealed_message.h"

namespace airlock::driver {

namespace {

constexpr std::uint32_t kMergeableBytes = 4096;  // of a buffer, where frames may take several
// Of the ring: so many are shown to the device even while there are frames to hand out.
constexpr std::uint32_t kShowShare = 4;
// Dropped by one look.
constexpr unsigned kNonsenseMax = 64;

std::uint32_t buffer_bytes_for(const NetInfo& info, bool sealed) {
  if (info.mergeable) return kMergeableBytes;
  return whole_frame_buffer_bytes(info, sealed ? crypt::kTagBytes : 0);
}

}  // namespace

NetReceiver::NetReceiver(VirtioDevice& device, const Limits& limits)
    : ring_(device, limits.spin),
      limits_(limits),
      buffer_bytes_(buffer_bytes_for(limits.info, device.encrypts())),
      frame_(limits.info.mergeable ? kReceivedFrameMax : buffer_bytes_ - kNetHeaderBytes) {}

NetReceiver::~NetReceiver() {
  stop({.code = Errc::kWrongState});
  detach();
}

Result<std::optional<NetReceived>> NetReceiver::poll() {
  if (!ready_ && !assemble()) {
    if (const auto& error = ring_.broken()) return fail(*error);
    return std::nullopt;
  }
  ready_ = false;
  return received_;
}

Result<void> NetReceiver::wait(std::chrono::milliseconds timeout) {
  return ring_.wait([this] { return ready_ || assemble(); }, Deadline::after(timeout));
}

bool NetReceiver::arm() {
  ring_.arm();
  return ready_ || assemble();
}

Result<void> NetReceiver::attach(std::unique_ptr<Queue> queue) {
  ring_.attach(std::move(queue));
  assembly_ = {};
  ready_ = false;
  unshown_ = 0;
  const std::uint64_t slots = ring_.ring().size().value();
  buffer_count_ = static_cast<std::uint32_t>(std::min(slots, limits_.pool_bytes / buffer_bytes_));
  if (buffer_count_ == 0) return fail({.code = Errc::kTooLarge, .address = buffer_bytes_});
  buffers_ = TRY(ring_.device().pool().allocate_coherent(
      std::uint64_t{buffer_count_} * buffer_bytes_, pool::kPageBytes));
  if (ring_.cipher() != nullptr) {
    sealed_.assign(buffer_count_, {});
    opened_.resize(buffer_bytes_);
  }
  ring_.begin();
  for (std::uint32_t i = 0; i < buffer_count_; i++)
    give_back(i);
  return {};
}

void NetReceiver::start() {
  unshown_ = 0;
  ring_.kick();
}

void NetReceiver::stop(const Error& error) {
  ring_.stop(error);
  ready_ = false;
}

void NetReceiver::detach() {
  ring_.detach();
  buffers_.reset();
}

// Puts the next frame together: whether one is ready.
bool NetReceiver::assemble() {
  ring::Completion completion;
  unsigned nonsense = 0;
  while (nonsense < kNonsenseMax && ring_.take(completion)) {
    const auto whole = take_buffer(completion);
    if (!whole) {
      ring_.stop_device(whole.error());
      return false;
    }
    give_back(static_cast<std::uint32_t>(completion.cookie));
    if (unshown_ >= buffer_count_ / kShowShare) start();
    if (!*whole) continue;
    if (accept()) {
      ready_ = true;
      return true;
    }
    ++ring_.counters().nonsense;
    ++nonsense;
  }
  if (unshown_ > 0) start();
  return false;
}

// Copies out what the device wrote to a buffer: whether the frame is complete. HD-3, HD-11.
Result<bool> NetReceiver::take_buffer(const ring::Completion& completion) {
  const auto index = static_cast<std::uint32_t>(completion.cookie);
  CHECK(index < buffer_count_);
  if (ring_.cipher() != nullptr) return take_sealed(completion);
  std::uint32_t skipped = 0;
  if (assembly_.buffers_left == 0) {
    const std::uint32_t written = completion.written_bytes;
    if (written < kNetHeaderBytes) return fail({.code = Errc::kBadLength, .detail = written});
    TRY(begin_frame(
        buffers_.bytes().snapshot<spec::VirtioNetHdr>(std::uint64_t{index} * buffer_bytes_)));
    skipped = kNetHeaderBytes;
  }
  const std::uint32_t bytes = completion.written_bytes - skipped;
  if (bytes > frame_.size() - assembly_.bytes) {
    return fail({.code = Errc::kBadLength, .detail = completion.written_bytes});
  }
  const std::uint64_t at = std::uint64_t{index} * buffer_bytes_ + skipped;
  buffers_.bytes().copy_out(at, std::span(frame_).subspan(assembly_.bytes, bytes));
  assembly_.bytes += bytes;
  assembly_.buffers_left--;
  return assembly_.buffers_left == 0;
}

// The same of an encrypted queue: nothing of it is looked at before all of it is known to be the
// device's. ENC-9.
Result<bool> NetReceiver::take_sealed(const ring::Completion& completion) {
  const auto index = static_cast<std::uint32_t>(completion.cookie);
  std::span<const std::byte> message =
      TRY(open_message(*ring_.cipher(), sealed_[index], completion.written_bytes, buffers_.bytes(),
                       std::uint64_t{index} * buffer_bytes_, opened_));
  const auto bad_length = [&completion] {
    return fail({.code = Errc::kBadLength, .detail = completion.written_bytes});
  };
  if (assembly_.buffers_left == 0) {
    if (message.size() < kNetHeaderBytes) return bad_length();
    spec::VirtioNetHdr header;
    std::memcpy(&header, message.data(), sizeof header);
    TRY(begin_frame(header));
    message = message.subspan(kNetHeaderBytes);
  }
  if (message.size() > frame_.size() - assembly_.bytes) return bad_length();
  std::ranges::copy(message, frame_.begin() + static_cast<std::ptrdiff_t>(assembly_.bytes));
  assembly_.bytes += message.size();
  assembly_.buffers_left--;
  return assembly_.buffers_left == 0;
}

// VIRTIO 1.3, 5.1.6.4: the first buffer has the header, which says how many there are.
Result<void> NetReceiver::begin_frame(const spec::VirtioNetHdr& header) {
  assembly_.header = header;
  assembly_.bytes = 0;
  assembly_.buffers_left = 1;
  if (!limits_.info.mergeable) return {};
  const std::uint16_t count = assembly_.header.num_buffers.get();
  if (count == 0 || count > buffer_count_) {
    return fail({.code = Errc::kMalformed, .detail = offsetof(spec::VirtioNetHdr, num_buffers)});
  }
  assembly_.buffers_left = count;
  return {};
}

// Whether the frame and its header make sense; if so they are in received_.
bool NetReceiver::accept() {
  const auto says = judge_received(assembly_.header, assembly_.bytes, limits_.info);
  if (!says) return false;
  received_ = {.frame = std::span(frame_).first(assembly_.bytes),
               .missing_checksum = says->missing_checksum,
               .checksum_checked = says->checksum_checked};
  ++ring_.counters().frames;
  ring_.counters().bytes += assembly_.bytes;
  return true;
}

// A buffer is the device's again: what is in it, it wrote itself.
void NetReceiver::give_back(std::uint32_t index) {
  if (!ring_.usable()) return;
  const std::uint64_t at =
      std::to_underlying(buffers_.offset()) + std::uint64_t{index} * buffer_bytes_;
  const ring::Buffer buffer{.offset = window::RegionOffset{at}, .length = buffer_bytes_};
  if (ring_.cipher() != nullptr) {
    const auto chain = ring_.cipher()->next_chain(0, buffer_bytes_);
    if (!chain) return ring_.stop_device(chain.error());
    sealed_[index] = *chain;
  }
  const auto put = ring_.ring().submit({}, std::span(&buffer, 1), index);
  if (!put) return ring_.stop_device(put.error());
  unshown_++;
}

}  // namespace airlock::driver
