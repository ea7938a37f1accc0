// SPDX-License-Identifier: Apache-2.0
#include "driver/blk_queue.h"

#include <algorithm>
#include <array>
#include <cstddef>

#include "core/range.h"
#include "driver/blk_sealed.h"
#include "driver/blk_wire.h"
#include "spec/virtio_blk.h"

namespace airlock::driver {

namespace {

// What a part has in shared memory besides its data.
constexpr std::uint64_t kFrameBytes = 64;
constexpr std::uint64_t kStatusAt = 16;     // after the header
constexpr std::uint64_t kPayloadAt = 32;    // a range to discard, or the device's id
constexpr std::uint8_t kNoStatus = 0xff;    // what a device that writes no status leaves behind
constexpr std::uint32_t kRequestParts = 2;  // buffers besides the data: header and status
// Entries of an indirect table: a cache line has four. Requests of more buffers, which only a small
// SIZE_MAX makes, do without a table.
constexpr std::uint32_t kTableLine = 4;
constexpr std::uint32_t kTableMost = 8;
// So many new requests are shown to the device even while there are completions to hand out.
constexpr std::uint32_t kAnnounceBatch = 8;

// One by one, each as it was written: a wider load of what the caller has just written would wait
// until all earlier stores, those to the ring among them, have left this processor.
void copy_members(const BlkRequest& from, BlkRequest& to) {
  to.op = from.op;
  to.unmap = from.unmap;
  to.offset = from.offset;
  to.target = {from.target.data(), from.target.size()};
  to.source = {from.source.data(), from.source.size()};
  to.length = from.length;
  to.cookie = from.cookie;
}

void add_buffer(std::vector<ring::Buffer>& buffers, std::uint64_t offset, std::uint32_t length) {
  ring::Buffer& buffer = buffers.emplace_back();
  buffer.offset = window::RegionOffset{offset};
  buffer.length = length;
}

std::uint32_t part_of(const ring::Completion& completion) {
  return static_cast<std::uint32_t>(completion.cookie);
}

}  // namespace

BlkQueue::BlkQueue(VirtioDevice& device, const Limits& limits)
    : device_(device),
      limits_(limits),
      spin_(limits.spin, limits.spin_cpu_percent),
      pace_(limits.spin) {}

BlkQueue::~BlkQueue() {
  stop({.code = Errc::kWrongState});
  detach();
}

Result<std::uint64_t> BlkQueue::submit(const BlkRequest& request) {
  if (broken_ || !queue_) return fail({.code = Errc::kQueueBroken});
  TRY(validate(request));
  if (free_pending_.empty()) return fail({.code = Errc::kQueueFull});
  const std::uint32_t index = free_pending_.back();
  Pending& pending = pending_[index];
  copy_members(request, pending.request);
  TRY(pin_whole(pending));
  free_pending_.pop_back();
  const std::uint64_t id = next_id_++;
  pending.id = id;
  pending.left = length_of(request);
  pending.next = request.offset;
  pending.used = true;
  pending.error.reset();
  inside_++;
  backlog_.push_back(index);
  // Behind others it has to wait: their order is kept.
  if (backlog_.size() == 1) pump();
  return id;
}

void BlkQueue::kick() {
  pump();
  if (unannounced_ == 0 || broken_) return;
  unannounced_ = 0;
  if (!queue_->ring().publish()) return;
  ++counters_.notifications;
  notified_ = true;
  const auto notified = queue_->notify();
  if (!notified) stop(device_.fail_device(notified.error()).error());
}

std::optional<BlkCompletion> BlkQueue::poll() {
  BlkCompletion completion;
  if (poll(std::span(&completion, 1)) == 0) return std::nullopt;
  return completion;
}

std::size_t BlkQueue::poll(std::span<BlkCompletion> target) {
  // A look at the ring, and a barrier to show something there, cost as much for one as for many.
  if (done_.empty() || unannounced_ >= kAnnounceBatch) {
    (void)reap();
    kick();
  }
  return done_.take(target);
}

Result<void> BlkQueue::attach(std::unique_ptr<Queue> queue) {
  CHECK(!queue_ && inside_ == 0);
  // A device that runs may use the ring already: its memory stays until detach(), whatever fails.
  queue_ = std::move(queue);
  broken_ = Error{.code = Errc::kQueueBroken};
  ring::DriverQueue& ring = queue_->ring();
  const std::uint32_t slots = ring.size().value();
  request_buffers_ = queue_->cipher() != nullptr ? BlkSealed::kRequestBuffers : kRequestParts;
  if (slots < request_buffers_ + 1) return fail({.code = Errc::kBadQueueSize, .detail = slots});
  const std::uint64_t block = limits_.info.block_bytes;
  const std::uint64_t segments = std::min(slots - request_buffers_, limits_.info.segments_max);
  const std::uint64_t by_device = segments * limits_.info.segment_bytes_max;
  part_bytes_max_ = std::min(limits_.part_bytes_max, by_device) / block * block;
  if (part_bytes_max_ == 0) {
    return fail({.code = Errc::kMalformed, .detail = offsetof(spec::VirtioBlkConfig, size_max)});
  }
  const std::uint32_t count = slots / ring.slots_for(kRequestParts);
  if (queue_->cipher() != nullptr) {
    sealed_ = TRY(BlkSealed::create(device_.pool(), *queue_->cipher(), count));
  }
  frames_ = TRY(device_.pool().allocate_coherent(count * kFrameBytes, pool::kPageBytes));
  parts_.assign(count, {});
  free_parts_.clear();
  for (std::uint32_t i = count; i > 0; i--)
    free_parts_.push_back(i - 1);
  pending_.assign(limits_.requests_max, {});
  free_pending_.clear();
  for (std::uint32_t i = limits_.requests_max; i > 0; i--)
    free_pending_.push_back(i - 1);
  broken_.reset();
  unannounced_ = 0;
  notified_ = false;
  ring.want_interrupts(false);
  return {};
}

std::uint16_t BlkQueue::table_entries() const {
  const std::uint64_t data = std::min(segments(limits_.part_bytes_max), limits_.info.segments_max);
  const std::uint64_t wanted = (kRequestParts + data + kTableLine - 1) / kTableLine * kTableLine;
  return static_cast<std::uint16_t>(std::min<std::uint64_t>(wanted, kTableMost));
}

// HD-23. The slots of what is in flight stay as they are: the device may still write to them.
void BlkQueue::stop(const Error& error) {
  if (!broken_) broken_ = error;
  if (queue_ && !queue_->ring().broken()) queue_->ring().abandon();
  backlog_.clear();
  for (std::uint32_t i = 0; i < pending_.size(); i++) {
    if (!pending_[i].used) continue;
    pending_[i].error = *broken_;
    if (pending_[i].parts > 0 && std::exchange(pending_[i].is_pinned, false)) {
      abandoned_.push_back(pending_[i].pinned);
    }
    complete(i);
  }
}

void BlkQueue::detach() {
  for (std::uint32_t i = 0; i < parts_.size(); i++) {
    if (parts_[i].live) release_part(i, 0);
  }
  for (const pool::Pinned& pinned : abandoned_)
    MUST(device_.pool().unpin(pinned));
  abandoned_.clear();
  sealed_.reset();
  queue_.reset();
  frames_.reset();
}

Result<void> BlkQueue::validate(const BlkRequest& request) const {
  const BlkInfo& info = limits_.info;
  const bool writes = request.op != BlkOp::kRead && request.op != BlkOp::kGetId;
  if (writes && request.op != BlkOp::kFlush && info.read_only) return fail(Errc::kReadOnly);
  switch (request.op) {
    case BlkOp::kFlush:
      return {};
    case BlkOp::kGetId:
      if (request.target.size() != spec::VIRTIO_BLK_ID_BYTES) {
        return fail({.code = Errc::kBadLength,
                     .detail = saturate<std::uint32_t>(std::uint64_t{request.target.size()})});
      }
      return {};
    case BlkOp::kDiscard:
      if (info.discard_bytes_max == 0) return fail(Errc::kNotSupportedByDevice);
      break;
    case BlkOp::kWriteZeroes:
      if (info.write_zeroes_bytes_max == 0) return fail(Errc::kNotSupportedByDevice);
      break;
    case BlkOp::kRead:
    case BlkOp::kWrite:
      break;
  }
  return validate_range(request.offset, length_of(request));
}

Result<void> BlkQueue::validate_range(std::uint64_t offset, std::uint64_t length) const {
  const BlkInfo& info = limits_.info;
  if (length == 0) return fail({.code = Errc::kBadLength});
  if (!airlock_is_aligned(offset | length, info.block_bytes)) {
    return fail({.code = Errc::kNotAligned, .detail = info.block_bytes, .address = offset});
  }
  if (!airlock_range_within(offset, length, info.capacity_bytes)) {
    return fail(
        {.code = Errc::kOutOfRange, .detail = saturate<std::uint32_t>(length), .address = offset});
  }
  return {};
}

// Memory of the region can only be a live in-place buffer; anything else is bounced.
Result<void> BlkQueue::pin_whole(Pending& pending) {
  const BlkRequest& request = pending.request;
  const std::span<const std::byte> memory =
      request.op == BlkOp::kWrite ? request.source : request.target;
  pending.is_pinned = has_bytes(request.op) && device_.pool().contains(memory);
  // ENC-12: in the clear it is in the region already.
  if (pending.is_pinned && sealed_) return fail(Errc::kUnsupported);
  if (pending.is_pinned) pending.pinned = TRY(device_.pool().pin(memory));
  return {};
}

// Starts what there is room for, in order.
void BlkQueue::pump() {
  while (!backlog_.empty() && !broken_) {
    const std::uint32_t index = backlog_.front();
    if (!pending_[index].error) {
      const auto issued = issue(index);
      if (broken_) return;  // everything completed
      if (issued && !*issued) return;
      if (!issued) pending_[index].error = issued.error();
    }
    Pending& pending = pending_[index];
    if (pending.error) pending.left = 0;  // the rest is not tried
    if (pending.left > 0) continue;
    backlog_.pop_front();
    if (pending.parts == 0) complete(index);
  }
}

// Puts the next part of a request into the ring: false if there is no room now. An error ends the
// request.
Result<bool> BlkQueue::issue(std::uint32_t index) {
  Pending& pending = pending_[index];
  if (pending.request.op == BlkOp::kFlush && !limits_.info.has_flush) {
    pending.left = 0;  // the device writes through: nothing to flush. VIRTIO 1.3, 5.2.6.1
    return true;
  }
  std::uint64_t bytes = part_bytes(pending);
  const std::uint32_t buffers =
      request_buffers_ + (has_bytes(pending.request.op) ? segments(bytes) : 1);
  if (free_parts_.empty() || queue_->ring().free_slots() < queue_->ring().slots_for(buffers)) {
    ++counters_.ring_full;
    return false;
  }
  const std::uint32_t part_index = free_parts_.back();
  Part& part = parts_[part_index];
  part.pending = index;
  part.op = pending.request.op;
  while (!TRY(place_data(pending, part, bytes))) {
    ++counters_.pool_full;
    // With nothing of ours in flight nobody would wake us: take a smaller piece instead.
    const std::uint64_t half = bytes / 2 / limits_.info.block_bytes * limits_.info.block_bytes;
    if (free_parts_.size() != parts_.size() || half == 0) return false;
    bytes = half;
  }
  if (!sealed_) write_frame(part_index, pending);
  const auto put = sealed_ ? put_sealed(part_index, pending) : put_in_ring(part_index);
  if (!put) {
    undo_data(part);
    if (put.error().code == Errc::kQueueFull) return false;
    if (queue_->ring().broken()) stop(device_.fail_device(put.error()).error());
    return fail(put.error());
  }
  free_parts_.pop_back();
  part.live = true;
  pending.parts++;
  pending.left -= bytes;
  pending.next += bytes;
  ++counters_.parts;
  unannounced_++;
  return true;
}

// Where the part's bytes are in the region: false if the pool has no room now.
Result<bool> BlkQueue::place_data(const Pending& pending, Part& part, std::uint64_t bytes) {
  part.bytes = bytes;
  if (!has_bytes(part.op)) return true;
  if (sealed_) return place_sealed(part);
  const BlkRequest& request = pending.request;
  const std::uint64_t done = length_of(request) - pending.left;
  const bool reads = part.op == BlkOp::kRead;
  pool::Pool& pool = device_.pool();
  if (pending.is_pinned) {
    part.data = Part::Data::kPinned;
    // tidy: cannot overflow because the part lies in the buffer that was pinned
    part.offset = window::RegionOffset{std::to_underlying(pending.pinned.offset) + done};
    return true;
  }
  const std::uint32_t home = limits_.pool_home;
  const auto mapped = reads ? pool.map_from_device(request.target.subspan(done, bytes), home)
                            : pool.map_to_device(request.source.subspan(done, bytes), home);
  if (!mapped) {
    if (mapped.error().code == Errc::kPoolFull) return false;
    return fail(mapped.error());
  }
  part.mapped = *mapped;
  part.data = Part::Data::kMapped;
  part.offset = mapped->offset;
  return true;
}

void BlkQueue::undo_data(Part& part) {
  if (part.data == Part::Data::kMapped) MUST(device_.pool().unmap(part.mapped, 0));
  if (part.data == Part::Data::kSealed) release_sealed(part);
  part.data = Part::Data::kNone;
}

void BlkQueue::write_frame(std::uint32_t part_index, const Pending& pending) {
  const Part& part = parts_[part_index];
  const std::uint64_t at = frame(part_index);
  const shm::SharedBytes& shared = frames_.bytes();
  shared.fill_zero(at, kFrameBytes);
  shared.put(at, header_of(part, pending));
  shared.store_relaxed<std::uint8_t>(at + kStatusAt, kNoStatus);
  if (has_range(part.op)) shared.put(at + kPayloadAt, range_of(part, pending));
}

spec::VirtioBlkReqHeader BlkQueue::header_of(const Part& part, const Pending& pending) const {
  const std::uint64_t sector = pending.next / spec::VIRTIO_BLK_SECTOR_BYTES;
  return {.type = Le32(request_type(part.op)),
          .reserved = Le32(0),
          .sector = Le64(has_bytes(part.op) ? sector : 0)};
}

spec::VirtioBlkDiscardWriteZeroes BlkQueue::range_of(const Part& part,
                                                     const Pending& pending) const {
  const bool unmap = part.op == BlkOp::kWriteZeroes && pending.request.unmap &&
                     limits_.info.write_zeroes_may_unmap;
  return {
      .sector = Le64(pending.next / spec::VIRTIO_BLK_SECTOR_BYTES),
      .num_sectors = Le32(static_cast<std::uint32_t>(part.bytes / spec::VIRTIO_BLK_SECTOR_BYTES)),
      .flags = Le32(unmap ? spec::VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP : 0)};
}

Result<void> BlkQueue::put_in_ring(std::uint32_t part_index) {
  const Part& part = parts_[part_index];
  const std::uint64_t at = std::to_underlying(frames_.offset()) + frame(part_index);
  readable_.clear();
  writable_.clear();
  add_buffer(readable_, at, sizeof(spec::VirtioBlkReqHeader));
  if (part.op == BlkOp::kWrite) append_data(readable_, part);
  if (part.op == BlkOp::kRead) append_data(writable_, part);
  if (has_range(part.op)) {
    add_buffer(readable_, at + kPayloadAt, sizeof(spec::VirtioBlkDiscardWriteZeroes));
  }
  if (part.op == BlkOp::kGetId) {
    add_buffer(writable_, at + kPayloadAt, spec::VIRTIO_BLK_ID_BYTES);
  }
  add_buffer(writable_, at + kStatusAt, 1);
  TRY(queue_->ring().submit(readable_, writable_, part_index));
  return {};
}

void BlkQueue::append_data(std::vector<ring::Buffer>& buffers, const Part& part) const {
  std::uint64_t offset = std::to_underlying(part.offset);
  for (std::uint64_t left = part.bytes; left > 0;) {
    const auto length =
        static_cast<std::uint32_t>(std::min<std::uint64_t>(left, limits_.info.segment_bytes_max));
    add_buffer(buffers, offset, length);
    offset += length;
    left -= length;
  }
}

// Takes what the device returned: whether there was anything.
bool BlkQueue::reap() {
  if (!queue_ || broken_) return false;
  if (const auto error = device_.broken()) {
    stop(*error);
    return false;
  }
  bool any = false;
  std::optional<Error> lie;
  for (std::size_t count = 1; count > 0 && !lie; any |= count > 0) {
    count = 0;
    while (count < returned_.size()) {
      const auto polled = queue_->ring().poll(returned_[count]);
      if (!polled) lie = polled.error();
      if (!polled || !*polled) break;
      // The device wrote there, and we will again: one transfer of the cache line instead of two.
      frames_.bytes().prefetch_for_write(frame(part_of(returned_[count])));
      ++count;
    }
    for (const ring::Completion& completion : std::span(returned_).first(count)) {
      if (!sealed_) {
        finish_part(part_of(completion), completion.written_bytes);
        continue;
      }
      const auto opened = finish_sealed(part_of(completion), completion.written_bytes);
      if (opened) continue;
      lie = opened.error();  // ENC-9: of those behind it nothing is looked at
      break;
    }
  }
  if (any) notified_ = false;
  if (lie) stop(device_.fail_device(*lie).error());
  return any;
}

void BlkQueue::finish_part(std::uint32_t part_index, std::uint32_t written) {
  CHECK(part_index < parts_.size() && parts_[part_index].live);
  // Read once: what it is now decides, whatever the device makes of it later (HD-11).
  const auto status = frames_.bytes().load_relaxed<std::uint8_t>(frame(part_index) + kStatusAt);
  conclude_part(part_index, status, written);
}

void BlkQueue::conclude_part(std::uint32_t part_index, std::uint8_t status, std::uint32_t written) {
  const Part& part = parts_[part_index];
  const auto error = judge(part, status, written);
  Pending& pending = pending_[part.pending];
  if (error) {
    if (!pending.error) pending.error = error;
  } else {
    if (part.op == BlkOp::kRead) counters_.bytes_read += part.bytes;
    if (part.op == BlkOp::kWrite) counters_.bytes_written += part.bytes;
    if (part.data == Part::Data::kMapped || part.data == Part::Data::kSealed) {
      ++counters_.copies;
      counters_.bytes_copied += part.bytes;
    }
    if (part.op == BlkOp::kGetId && !sealed_) {
      frames_.bytes().copy_out(frame(part_index) + kPayloadAt, pending.request.target);
    }
  }
  const std::uint32_t index = part.pending;
  release_part(part_index, !error && part.op == BlkOp::kRead ? part.bytes : 0);
  end_part(pending, index);
}

std::optional<Error> BlkQueue::judge(const Part& part, std::uint8_t status,
                                     std::uint32_t written) const {
  switch (status) {
    case spec::VIRTIO_BLK_S_OK:
      break;
    case spec::VIRTIO_BLK_S_IOERR:
      return Error{.code = Errc::kIoError};
    case spec::VIRTIO_BLK_S_UNSUPP:
      return Error{.code = Errc::kNotSupportedByDevice};
    default:
      return Error{.code = Errc::kMalformed, .detail = status};
  }
  // Success means that all of it was written, and the status byte. Where the device said nothing of
  // the length, the ring counts all that is writable, which is just that (HD-32).
  std::uint64_t data = 0;
  if (part.op == BlkOp::kRead) data = part.bytes;
  if (part.op == BlkOp::kGetId) data = spec::VIRTIO_BLK_ID_BYTES;
  if (written == data + 1) return std::nullopt;
  return Error{.code = Errc::kBadLength, .detail = written};
}

void BlkQueue::release_part(std::uint32_t part_index, std::uint64_t written) {
  Part& part = parts_[part_index];
  if (part.data == Part::Data::kMapped) {
    MUST(device_.pool().unmap(part.mapped, written));
  } else {
    undo_data(part);
  }
  part.data = Part::Data::kNone;
  part.live = false;
  free_parts_.push_back(part_index);
}

void BlkQueue::end_part(Pending& pending, std::uint32_t index) {
  pending.parts--;
  if (pending.parts > 0) return;
  // With bytes left it stands in the backlog, and pump() goes on or gives up.
  if (pending.left == 0) complete(index);
}

void BlkQueue::complete(std::uint32_t index) {
  Pending& pending = pending_[index];
  BlkCompletion& completion = done_.emplace_back();
  completion.id = pending.id;
  completion.cookie = pending.request.cookie;
  if (pending.error) completion.error = pending.error;
  ++counters_.requests;
  if (pending.error) ++counters_.errors;
  if (pending.is_pinned) MUST(device_.pool().unpin(pending.pinned));
  pending.used = false;
  free_pending_.push_back(index);
  inside_--;
}

std::uint64_t BlkQueue::part_bytes(const Pending& pending) const {
  switch (pending.request.op) {
    case BlkOp::kRead:
    case BlkOp::kWrite:
      return std::min(pending.left, part_bytes_max_);
    case BlkOp::kDiscard:
      return std::min(pending.left, limits_.info.discard_bytes_max);
    case BlkOp::kWriteZeroes:
      return std::min(pending.left, limits_.info.write_zeroes_bytes_max);
    case BlkOp::kFlush:
    case BlkOp::kGetId:
      break;
  }
  return 1;
}

std::uint32_t BlkQueue::segments(std::uint64_t bytes) const {
  const std::uint64_t most = limits_.info.segment_bytes_max;
  return static_cast<std::uint32_t>((bytes / most) + (bytes % most != 0 ? 1 : 0));
}

std::uint64_t BlkQueue::frame(std::uint32_t part_index) const {
  return part_index * kFrameBytes;
}

}  // namespace airlock::driver
