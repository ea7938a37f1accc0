// SPDX-License-Identifier: Apache-2.0
#include "driver/net_in_place_receiver.h"

#include <algorithm>
#include <utility>

namespace airlock::driver {

namespace {

// Dropped by one look.
constexpr unsigned kNonsenseInPlaceMax = 64;

}  // namespace

NetInPlaceReceiver::NetInPlaceReceiver(VirtioDevice& device, const Limits& limits)
    : ring_(device, limits.spin),
      limits_(limits),
      buffer_bytes_(whole_frame_buffer_bytes(limits.info, 0)) {
  CHECK(!limits.info.mergeable && !device.encrypts());
}

NetInPlaceReceiver::~NetInPlaceReceiver() {
  stop({.code = Errc::kWrongState});
  detach();
}

Result<std::optional<NetReceivedInPlace>> NetInPlaceReceiver::poll() {
  if (look()) return std::exchange(ready_, std::nullopt);
  if (const auto& error = ring_.broken()) return fail(*error);
  return std::nullopt;
}

Result<void> NetInPlaceReceiver::wait(std::chrono::milliseconds timeout) {
  return ring_.wait([this] { return look(); }, Deadline::after(timeout));
}

bool NetInPlaceReceiver::arm() {
  ring_.arm();
  return look();
}

Result<void> NetInPlaceReceiver::attach(std::unique_ptr<Queue> queue) {
  ring_.attach(std::move(queue));
  const std::uint64_t slots = ring_.ring().size().value();
  const std::uint64_t count = std::min(slots, limits_.pool_bytes / buffer_bytes_);
  if (count == 0) return fail({.code = Errc::kTooLarge, .address = buffer_bytes_});
  buffers_.resize(count);
  for (auto index = static_cast<std::uint32_t>(count); index > 0; index--)
    missing_.push_back(index - 1);
  ring_.begin();
  refill();
  if (missing_.size() == buffers_.size()) return fail({.code = Errc::kPoolFull});
  return {};
}

void NetInPlaceReceiver::start() {
  ring_.kick();
}

void NetInPlaceReceiver::stop(const Error& error) {
  ring_.stop(error);
  ready_.reset();
}

void NetInPlaceReceiver::detach() {
  ring_.detach();
  buffers_.clear();
  missing_.clear();
}

// Whether a frame is ready.
bool NetInPlaceReceiver::look() {
  ring::Completion completion;
  unsigned nonsense = 0;
  while (!ready_ && nonsense < kNonsenseInPlaceMax && ring_.take(completion)) {
    const auto index = static_cast<std::uint32_t>(completion.cookie);
    const auto taken = take(index, completion.written_bytes);
    if (!taken) {
      ring_.stop_device(taken.error());
      return false;
    }
    if (*taken) continue;
    give(index);
    ++ring_.counters().nonsense;
    ++nonsense;
  }
  refill();
  ring_.kick();
  return ready_.has_value();
}

// Whether there is a frame in a buffer that the device gave back: then it is in ready_. HD-3,
// HD-11: the header is read once, and what decides is the ring's length, which is private.
Result<bool> NetInPlaceReceiver::take(std::uint32_t index, std::uint32_t written) {
  CHECK(index < buffers_.size());
  if (written < kNetHeaderBytes) return fail({.code = Errc::kBadLength, .detail = written});
  const auto header = ring_.device().pool().region().snapshot<spec::VirtioNetHdr>(
      std::to_underlying(buffers_[index].offset()));
  const auto says = judge_received(header, written - kNetHeaderBytes, limits_.info);
  if (!says) return false;
  const auto frame = buffers_[index].span().subspan(kNetHeaderBytes, written - kNetHeaderBytes);
  ready_ = NetReceivedInPlace{.buffer = std::move(buffers_[index]),
                              .frame = frame,
                              .missing_checksum = says->missing_checksum,
                              .checksum_checked = says->checksum_checked};
  missing_.push_back(index);
  ++ring_.counters().frames;
  ring_.counters().bytes += frame.size();
  return true;
}

// As far as the pool has room (HD-30); the rest when it is looked at again.
void NetInPlaceReceiver::refill() {
  while (!missing_.empty() && ring_.usable()) {
    auto buffer = ring_.device().pool().allocate(buffer_bytes_);
    if (!buffer) break;
    const std::uint32_t index = missing_.back();
    missing_.pop_back();
    buffers_[index] = std::move(*buffer);
    give(index);
  }
}

// A buffer is the device's: zeroed, or with what it wrote itself.
void NetInPlaceReceiver::give(std::uint32_t index) {
  if (!ring_.usable()) return;
  const ring::Buffer buffer{.offset = buffers_[index].offset(), .length = buffer_bytes_};
  const auto put = ring_.ring().submit({}, std::span(&buffer, 1), index);
  if (!put) ring_.stop_device(put.error());
}

}  // namespace airlock::driver
