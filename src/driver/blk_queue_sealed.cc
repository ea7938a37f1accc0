// SPDX-License-Identifier: Apache-2.0
//
// What a queue does otherwise where its buffers are encrypted: docs/ENCRYPTION.md.
#include <utility>

#include "base/check.h"
#include "driver/blk_queue.h"
#include "driver/blk_sealed.h"
#include "driver/blk_wire.h"

namespace airlock::driver {

namespace {

ring::Buffer buffer_at(const BlkSealed::Place& place) {
  return {.offset = window::RegionOffset{place.offset}, .length = place.length};
}

}  // namespace

Result<bool> BlkQueue::place_sealed(Part& part) {
  const auto index = static_cast<std::uint32_t>(&part - parts_.data());
  if (!TRY(sealed_->place(index, part.bytes))) return false;
  part.data = Part::Data::kSealed;
  part.offset = sealed_->data_offset(index);
  return true;
}

void BlkQueue::release_sealed(const Part& part) {
  sealed_->release(static_cast<std::uint32_t>(&part - parts_.data()));
}

// ENC-8: from the seal on it is the next chain, so what can't be put into the ring then ends it.
// There is room: somebody looked before.
Result<void> BlkQueue::put_sealed(std::uint32_t part_index, const Pending& pending) {
  const Part& part = parts_[part_index];
  BlkSealed::Request request{.header = header_of(part, pending),
                             .target_in_frame = part.op == BlkOp::kGetId};
  if (has_range(part.op)) request.range = range_of(part, pending);
  const std::uint64_t done = length_of(pending.request) - pending.left;
  if (part.op == BlkOp::kWrite) request.source = pending.request.source.subspan(done, part.bytes);
  if (part.op == BlkOp::kRead) request.target = pending.request.target.subspan(done, part.bytes);
  if (part.op == BlkOp::kGetId) request.target = pending.request.target;

  const auto sealed = sealed_->seal(part_index, request);
  if (!sealed) return end_with(sealed.error());
  readable_.assign(1, buffer_at(sealed->head));
  writable_.clear();
  if (part.op == BlkOp::kWrite) append_data(readable_, part);
  if (part.op == BlkOp::kRead) append_data(writable_, part);
  if (sealed->tag.length != 0) readable_.push_back(buffer_at(sealed->tag));
  writable_.push_back(buffer_at(sealed->end));
  const auto put = queue_->ring().submit(readable_, writable_, part_index);
  if (!put) return end_with(put.error());
  return {};
}

std::unexpected<Error> BlkQueue::end_with(const Error& error) {
  stop(device_.fail_device(error).error());
  return fail(broken_.value_or(error));
}

Result<void> BlkQueue::finish_sealed(std::uint32_t part_index, std::uint32_t written) {
  CHECK(part_index < parts_.size() && parts_[part_index].live);
  const std::uint8_t status = TRY(sealed_->open(part_index, written));
  conclude_part(part_index, status, written - static_cast<std::uint32_t>(crypt::kTagBytes));
  return {};
}

}  // namespace airlock::driver
