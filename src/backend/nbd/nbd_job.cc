// SPDX-License-Identifier: Apache-2.0
#include "backend/nbd/nbd_job.h"

#include <algorithm>
#include <cerrno>

#include "base/check.h"

namespace airlock::backend {

namespace {

bool transfers(BlockOp op) {
  return op == BlockOp::kRead || op == BlockOp::kWrite;
}

}  // namespace

void NbdJob::start(const BlockRequest& request, const NbdExport& exported) {
  request_ = request;
  exported_ = &exported;
  done_ = false;
  flushing_ = false;
  error_ = 0;
  moved_ = 0;
  segment_ = 0;
  segment_moved_ = 0;
  if (request.op != BlockOp::kRead && request.op != BlockOp::kFlush && exported.read_only) {
    return finish(EROFS);
  }
  // What the server has no whole blocks for, it refuses; so that it is one error with all servers.
  if (request.op != BlockOp::kFlush &&
      (request.offset % exported.block_least != 0 || request.length % exported.block_least != 0)) {
    return finish(EINVAL);
  }
  next();
}

void NbdJob::next() {
  const bool moved_all = request_.op != BlockOp::kFlush && moved_ == request_.length;
  if (flushing_ || (moved_all && (!request_.durable || exported_->can_fua))) return finish(0);
  if (moved_all || request_.op == BlockOp::kFlush) {
    // A server without flush has nothing that it would have to make stable.
    if (!exported_->can_flush) return finish(0);
    flushing_ = true;
    command_ = {.kind = NbdCommand::Kind::kFlush};
    return;
  }
  if (transfers(request_.op)) return next_transfer();
  next_range();
}

void NbdJob::next_transfer() {
  const std::uint64_t left = request_.length - moved_;
  const std::span<std::byte> here = piece();
  const std::uint32_t block = std::max(exported_->block_least, kSectorBytes);
  std::uint64_t length = std::min<std::uint64_t>(here.size(), exported_->payload_most);
  if (length < left) length -= length % block;
  buffered_ = length < std::min<std::uint64_t>(left, kPieceLeast);
  if (buffered_) {
    length = std::min<std::uint64_t>(kBufferBytes, exported_->payload_most);
    length = std::min(length, left);
    if (buffer_.size() < length) buffer_.resize(length);
  }
  const bool reads = request_.op == BlockOp::kRead;
  command_ = {.kind = reads ? NbdCommand::Kind::kRead : NbdCommand::Kind::kWrite,
              .offset = request_.offset + moved_,
              .length = static_cast<std::uint32_t>(length),
              .memory = buffered_ ? buffer_.data() : here.data(),
              .durable = request_.durable && exported_->can_fua};
  if (buffered_ && !reads) gather(std::span(buffer_).first(length));
}

void NbdJob::next_range() {
  const bool trims = request_.op == BlockOp::kDiscard;
  if (trims ? !exported_->can_trim : !exported_->can_zero) return finish(EOPNOTSUPP);
  command_ = {.kind = trims ? NbdCommand::Kind::kTrim : NbdCommand::Kind::kZero,
              .offset = request_.offset + moved_,
              .length = static_cast<std::uint32_t>(
                  std::min<std::uint64_t>(request_.length - moved_, kZeroBytes)),
              .durable = request_.durable && exported_->can_fua,
              .keep_allocated = !trims && !request_.may_unmap};
}

void NbdJob::answered(int error) {
  CHECK(!done_);
  if (error != 0) return finish(error);
  if (command_.kind == NbdCommand::Kind::kRead && buffered_) {
    scatter(std::span(buffer_).first(command_.length));
  }
  if (command_.kind != NbdCommand::Kind::kFlush) move_on(command_.length);
  next();
}

// The memory at the next byte, as far as it is in one piece; neighbours merged.
std::span<std::byte> NbdJob::piece() const {
  CHECK(segment_ < request_.segments.size());
  const std::span<std::byte> first = request_.segments[segment_].in_place().subspan(segment_moved_);
  std::size_t bytes = first.size();
  for (std::size_t next = segment_ + 1; next < request_.segments.size(); ++next) {
    const std::span<std::byte> more = request_.segments[next].in_place();
    if (more.data() != first.data() + bytes) break;
    bytes += more.size();
  }
  return {first.data(), std::min<std::uint64_t>(bytes, request_.length - moved_)};
}

void NbdJob::gather(std::span<std::byte> target) const {
  std::uint64_t skip = segment_moved_;
  for (std::size_t i = segment_; !target.empty(); ++i, skip = 0) {
    const shm::SharedBytes& segment = request_.segments[i];
    const std::uint64_t length = std::min<std::uint64_t>(segment.size() - skip, target.size());
    segment.copy_out(skip, target.first(length));
    target = target.subspan(length);
  }
}

void NbdJob::scatter(std::span<const std::byte> source) const {
  std::uint64_t skip = segment_moved_;
  for (std::size_t i = segment_; !source.empty(); ++i, skip = 0) {
    const shm::SharedBytes& segment = request_.segments[i];
    const std::uint64_t length = std::min<std::uint64_t>(segment.size() - skip, source.size());
    segment.copy_in(skip, source.first(length));
    source = source.subspan(length);
  }
}

void NbdJob::move_on(std::uint64_t bytes) {
  moved_ += bytes;
  if (!transfers(request_.op)) return;
  segment_moved_ += bytes;
  while (segment_ < request_.segments.size() &&
         segment_moved_ >= request_.segments[segment_].size()) {
    segment_moved_ -= request_.segments[segment_].size();
    ++segment_;
  }
}

}  // namespace airlock::backend
