// SPDX-License-Identifier: Apache-2.0
#include "driver/net_sender.h"

#include <algorithm>
#include <array>
#include <utility>

#include "core/range.h"
#include "driver/sealed_message.h"
#include "spec/virtio_net.h"

namespace airlock::driver {

namespace {

// From one header to the next: a cache line, so that the device's reading of one disturbs no other.
constexpr std::uint64_t kHeaderStride = 64;
// Of the pool, for the frames of an encrypted queue, which stand where headers do otherwise.
constexpr std::uint64_t kSealedBytesMost = std::uint64_t{1} << 20;
constexpr std::uint32_t kFrameBuffers = 2;  // the header, the frame

spec::VirtioNetHdr header_of(const NetFrame& frame) {
  spec::VirtioNetHdr header;
  header.gso_type = spec::VIRTIO_NET_HDR_GSO_NONE;
  if (frame.missing_checksum) {
    header.flags = spec::VIRTIO_NET_HDR_F_NEEDS_CSUM;
    header.csum_start.set(frame.missing_checksum->start);
    header.csum_offset.set(frame.missing_checksum->offset);
  }
  return header;
}

}  // namespace

NetSender::~NetSender() {
  stop({.code = Errc::kWrongState});
  detach();
}

Result<std::uint64_t> NetSender::submit(const NetFrame& frame) {
  if (!ring_.usable()) return fail(ring_.broken().value_or(Error{.code = Errc::kQueueBroken}));
  TRY(validate(frame));
  if (free_.empty() || ring_.ring().free_slots() < ring_.ring().slots_for(kFrameBuffers)) reap();
  if (!ring_.usable()) return fail(ring_.broken().value_or(Error{.code = Errc::kQueueBroken}));
  if (free_.empty() || ring_.ring().free_slots() < ring_.ring().slots_for(kFrameBuffers)) {
    return fail(Errc::kQueueFull);
  }
  const std::uint32_t index = free_.back();
  Slot& slot = slots_[index];
  if (ring_.cipher() != nullptr) {
    TRY(put_sealed(index, frame));
  } else {
    const window::RegionOffset data = TRY(place(frame, slot));
    if (const auto put = put_in_ring(index, frame, data); !put) {
      release(slot);
      return fail(put.error());
    }
  }
  free_.pop_back();
  slot.open = true;
  slot.id = next_id_++;
  slot.cookie = frame.cookie;
  slot.bytes = frame.bytes.size();
  in_flight_++;
  return slot.id;
}

void NetSender::kick() {
  ring_.kick();
  if (const auto error = ring_.broken()) stop(*error);
}

std::optional<NetSent> NetSender::poll() {
  kick();
  if (done_.empty()) reap();
  if (done_.empty()) return std::nullopt;
  const NetSent sent = done_.front();
  done_.pop_front();
  return sent;
}

Result<void> NetSender::wait(std::chrono::milliseconds timeout) {
  if (inside() == 0) return fail(Errc::kWrongState);
  kick();
  const auto waited = ring_.wait(
      [this] {
        reap();
        return !done_.empty();
      },
      Deadline::after(timeout));
  if (waited || waited.error().code == Errc::kTimeout) return waited;
  stop(waited.error());
  return {};  // all of it completed
}

bool NetSender::arm() {
  ring_.arm();
  kick();
  reap();
  return !done_.empty();
}

Result<void> NetSender::attach(std::unique_ptr<Queue> queue) {
  CHECK(in_flight_ == 0);
  ring_.attach(std::move(queue));
  const std::uint32_t slots = ring_.ring().size().value();
  std::uint32_t count = slots / ring_.ring().slots_for(kFrameBuffers);
  if (count == 0) return fail({.code = Errc::kBadQueueSize, .detail = slots});
  header_stride_ = kHeaderStride;
  if (ring_.cipher() != nullptr) {
    const std::uint64_t whole = sizeof(spec::VirtioNetHdr) + kTaggedEthernetBytes +
                                std::uint64_t{limits_.info.mtu} + crypt::kTagBytes;
    // tidy: cannot overflow because an MTU has 16 bits
    header_stride_ = (whole + kHeaderStride - 1) / kHeaderStride * kHeaderStride;
    count = std::min(count, static_cast<std::uint32_t>(kSealedBytesMost / header_stride_));
  }
  headers_ = TRY(ring_.device().pool().allocate_coherent(count * header_stride_, pool::kPageBytes));
  slots_.assign(count, {});
  free_.clear();
  for (std::uint32_t i = count; i > 0; i--)
    free_.push_back(i - 1);
  ring_.begin();
  return {};
}

// HD-23. The memory of what is in flight stays as it is: the device may still read it.
void NetSender::stop(const Error& error) {
  ring_.stop(error);
  for (std::uint32_t i = 0; i < slots_.size(); i++) {
    if (slots_[i].open) finish(i, ring_.broken());
  }
}

void NetSender::detach() {
  for (Slot& slot : slots_)
    release(slot);
  slots_.clear();
  free_.clear();
  ring_.detach();
  headers_.reset();
}

Result<void> NetSender::validate(const NetFrame& frame) const {
  const std::size_t bytes = frame.bytes.size();
  const std::size_t most = kTaggedEthernetBytes + limits_.info.mtu;
  if (bytes < kEthernetBytes) {
    return fail({.code = Errc::kBadLength, .detail = static_cast<std::uint32_t>(bytes)});
  }
  if (bytes > most) return fail({.code = Errc::kTooLarge, .address = bytes});
  if (!frame.missing_checksum) return {};
  // VIRTIO 1.3, 5.1.6.2.1: only where it was negotiated.
  if (!limits_.info.completes_checksums) return fail(Errc::kNotSupportedByDevice);
  const std::uint32_t start = frame.missing_checksum->start;
  const std::uint32_t field = start + frame.missing_checksum->offset;  // below 2^17
  if (!airlock_range_within(field, sizeof(std::uint16_t), bytes)) {
    return fail({.code = Errc::kOutOfRange, .detail = sizeof(std::uint16_t), .address = field});
  }
  return {};
}

// Where the frame is in the region. Memory of the region can only be a live in-place buffer.
Result<window::RegionOffset> NetSender::place(const NetFrame& frame, Slot& slot) {
  pool::Pool& pool = ring_.device().pool();
  if (pool.contains(frame.bytes)) {
    slot.pinned = TRY(pool.pin(frame.bytes));
    slot.data = Slot::Data::kPinned;
    return slot.pinned.offset;
  }
  slot.mapped = TRY(pool.map_to_device(frame.bytes, limits_.pool_home));
  slot.data = Slot::Data::kMapped;
  ++ring_.counters().copies;
  return slot.mapped.offset;
}

Result<void> NetSender::put_in_ring(std::uint32_t index, const NetFrame& frame,
                                    window::RegionOffset data) {
  const std::uint64_t header = index * header_stride_;
  headers_.bytes().put(header, header_of(frame));
  const std::array<ring::Buffer, kFrameBuffers> buffers{
      {{.offset = window::RegionOffset{std::to_underlying(headers_.offset()) + header},
        .length = sizeof(spec::VirtioNetHdr)},
       {.offset = data, .length = static_cast<std::uint32_t>(frame.bytes.size())}}};
  return submit(buffers, index);
}

// One message: header, frame and tag. ENC-6.
Result<void> NetSender::put_sealed(std::uint32_t index, const NetFrame& frame) {
  // ENC-12: in the clear it is in the region already.
  if (ring_.device().pool().contains(frame.bytes)) return fail(Errc::kUnsupported);
  const auto length = static_cast<std::uint32_t>(sizeof(spec::VirtioNetHdr) + frame.bytes.size());
  const auto sealed = static_cast<std::uint32_t>(length + crypt::kTagBytes);
  const auto chain = ring_.cipher()->next_chain(sealed, 0);
  if (!chain) {
    ring_.stop_device(chain.error());
    return fail(chain.error());
  }
  const std::uint64_t at = index * header_stride_;
  const spec::VirtioNetHdr header = header_of(frame);
  seal_message(*ring_.cipher(), *chain, length, {std::as_bytes(std::span(&header, 1)), frame.bytes},
               headers_.bytes(), at);
  const ring::Buffer buffer{
      .offset = window::RegionOffset{std::to_underlying(headers_.offset()) + at}, .length = sealed};
  const auto put = submit(std::span(&buffer, 1), index);
  // ENC-8: it was the next chain. There was room: somebody looked before.
  if (!put) ring_.stop_device(put.error());
  return put;
}

Result<void> NetSender::submit(std::span<const ring::Buffer> buffers, std::uint32_t index) {
  const auto put = ring_.ring().submit(buffers, {}, index);
  if (put) return {};
  if (ring_.ring().broken()) ring_.stop_device(put.error());
  return fail(put.error());
}

// Takes what the device returned.
void NetSender::reap() {
  ring::Completion completion;
  while (ring_.take(completion)) {
    const auto index = static_cast<std::uint32_t>(completion.cookie);
    CHECK(index < slots_.size() && slots_[index].open);
    Slot& slot = slots_[index];
    ++ring_.counters().frames;
    ring_.counters().bytes += slot.bytes;
    release(slot);
    finish(index, std::nullopt);
    free_.push_back(index);
  }
  if (const auto error = ring_.broken()) stop(*error);
}

void NetSender::finish(std::uint32_t index, const std::optional<Error>& error) {
  Slot& slot = slots_[index];
  slot.open = false;
  NetSent& sent = done_.emplace_back();
  sent.id = slot.id;
  sent.cookie = slot.cookie;
  sent.error = error;
  in_flight_--;
}

void NetSender::release(Slot& slot) {
  pool::Pool& pool = ring_.device().pool();
  if (slot.data == Slot::Data::kMapped) MUST(pool.unmap(slot.mapped, 0));
  if (slot.data == Slot::Data::kPinned) MUST(pool.unpin(slot.pinned));
  slot.data = Slot::Data::kNone;
}

}  // namespace airlock::driver
