// SPDX-License-Identifier: Apache-2.0
#include "backend/file_job.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>

#include "base/check.h"
#include "base/log.h"
#include "core/range.h"

namespace airlock::backend {

namespace {

/// What write zeroes writes where the file system has no call for it. Never written to.
constexpr std::size_t kZerosBytes = 65536;
alignas(4096) std::array<std::byte, kZerosBytes> g_zeros{};

bool unsupported(int error) {
  return error == EOPNOTSUPP || error == ENOSYS || error == ENOTTY;
}

std::int64_t or_errno(std::int64_t result) {
  return result < 0 ? -errno : result;
}

}  // namespace

void FileJob::start(const BlockRequest& request, FileTarget& target) {
  request_ = request;
  target_ = &target;
  error_ = 0;
  moved_ = 0;
  retries_ = 0;
  refused_ = Call::kNone;
  vectors_.clear();
  if (promises_stable() && target.sync_error.load(std::memory_order_relaxed) != 0) {
    finish(0);  // which knows better
    return;
  }
  switch (request.op) {
    case BlockOp::kRead:
    case BlockOp::kWrite:
      call_ = request.op == BlockOp::kRead ? Call::kReadv : Call::kWritev;
      next_transfer();
      return;
    case BlockOp::kFlush:
      call_ = Call::kSync;
      return;
    case BlockOp::kDiscard:
      choose_discard();
      return;
    case BlockOp::kWriteZeroes:
      choose_zeroing();
      return;
  }
}

bool FileJob::worth_trying(Call call, const std::atomic<bool>& refused) const {
  return call != refused_ && !refused.load(std::memory_order_relaxed);
}

void FileJob::choose_discard() {
  call_ = target_->is_block_device ? Call::kDiscard : Call::kPunch;
  const auto& refused =
      target_->is_block_device ? target_->discard_refused : target_->punch_refused;
  // A discard is a hint: one that can't be done is done. VIRTIO 1.3, 5.2.6.2.
  if (!worth_trying(call_, refused)) moved(length());
}

void FileJob::choose_zeroing() {
  // In this order only, so that remembering the last refusal is enough.
  if (request_.may_unmap && refused_ != Call::kZeroRange &&
      worth_trying(Call::kPunch, target_->punch_refused)) {
    call_ = Call::kPunch;
  } else if (worth_trying(Call::kZeroRange, target_->zero_range_refused)) {
    call_ = Call::kZeroRange;
  } else {
    call_ = Call::kWritev;
    next_transfer();
  }
}

int FileJob::fd() const {
  const bool transfer = call_ == Call::kReadv || call_ == Call::kWritev;
  return transfer && aligned_ ? target_->direct.get() : target_->buffered.get();
}

int FileJob::write_flags() const {
  return request_.durable ? RWF_DSYNC : 0;
}

void FileJob::next_transfer() {
  vectors_.clear();
  if (request_.op == BlockOp::kWriteZeroes) {
    gather_zeros();
  } else {
    gather_segments();
  }
  CHECK(!vectors_.empty());
  const auto fits = [&](const iovec& vector) {
    return airlock_is_aligned(address_of(vector), target_->direct_memory_alignment) &&
           airlock_is_aligned(vector.iov_len, target_->direct_offset_alignment);
  };
  aligned_ = target_->direct && airlock_is_aligned(offset(), target_->direct_offset_alignment) &&
             std::ranges::all_of(vectors(), fits);
}

void FileJob::gather_segments() {
  std::uint64_t skip = moved_;
  std::uint64_t room = std::min(length(), kBytesMost);
  for (const shm::SharedBytes& segment : request_.segments) {
    if (room == 0) return;
    if (skip >= segment.size()) {
      skip -= segment.size();
      continue;
    }
    iovec piece = segment.for_kernel();
    piece.iov_base = static_cast<std::byte*>(piece.iov_base) + skip;
    piece.iov_len = std::min(piece.iov_len - skip, room);
    skip = 0;
    room -= piece.iov_len;
    iovec* const last = vectors_.empty() ? nullptr : &vectors_.back();
    if (last != nullptr && address_of(*last) + last->iov_len == address_of(piece)) {
      last->iov_len += piece.iov_len;
    } else if (vectors_.size() < kVectors) {
      vectors_.push_back(piece);
    } else {
      return;  // the rest comes with the next call
    }
  }
  CHECK(room == 0);
}

void FileJob::gather_zeros() {
  std::uint64_t left = length();
  while (left > 0 && vectors_.size() < kVectors) {
    const std::uint64_t piece = std::min<std::uint64_t>(left, g_zeros.size());
    vectors_.push_back({.iov_base = g_zeros.data(), .iov_len = piece});
    left -= piece;
  }
}

void FileJob::advance(std::int64_t result) {
  CHECK(!done());
  if (result < 0) {
    const int error = static_cast<int>(-result);
    if ((error == EINTR || error == EAGAIN) && ++retries_ <= kRetriesMost) return;
    refused(error);
    return;
  }
  retries_ = 0;
  switch (call_) {
    case Call::kReadv:
    case Call::kWritev:
      // Nothing moved: the file got shorter than it was when it was opened, or the disk is odd.
      if (result == 0) {
        refused(EIO);
      } else {
        moved(static_cast<std::uint64_t>(result));
      }
      return;
    case Call::kPunch:
    case Call::kZeroRange:
    case Call::kDiscard:
      moved(length());
      return;
    case Call::kSync:
      finish(0);
      return;
    case Call::kNone:
      return;
  }
}

void FileJob::moved(std::uint64_t bytes) {
  CHECK(bytes <= length());
  moved_ += bytes;
  if (length() > 0) {
    next_transfer();
    return;
  }
  // fallocate has no flag for it: what must be durable is synced after. Written zeros are already.
  const bool sync = request_.durable && (call_ == Call::kPunch || call_ == Call::kZeroRange);
  if (sync) {
    call_ = Call::kSync;
  } else {
    finish(0);
  }
}

void FileJob::refused(int error) {
  const bool optional =
      call_ == Call::kPunch || call_ == Call::kZeroRange || call_ == Call::kDiscard;
  if (makes_stable()) remember_loss(error);
  if (!optional || !(unsupported(error) || error == EINVAL)) {
    finish(error);
    return;
  }
  // EINVAL may be about this one range (a block device wants whole blocks): not remembered.
  if (unsupported(error)) {
    std::atomic<bool>& refused = call_ == Call::kPunch       ? target_->punch_refused
                                 : call_ == Call::kZeroRange ? target_->zero_range_refused
                                                             : target_->discard_refused;
    refused.store(true, std::memory_order_relaxed);
  }
  refused_ = call_;
  if (request_.op == BlockOp::kWriteZeroes) {
    choose_zeroing();
  } else {
    choose_discard();
  }
}

void FileJob::remember_loss(int error) {
  // These say that the call was not made: nothing is lost. (ENOSPC is not among them: it may be
  // about what was written before.)
  if (error == EINTR || error == EAGAIN || error == ECANCELED) return;
  if (call_ == Call::kWritev && (error == EINVAL || error == EFBIG || unsupported(error))) return;
  int none = 0;
  if (!target_->sync_error.compare_exchange_strong(none, error, std::memory_order_relaxed)) return;
  log(LogLevel::kError,
      "{}: sync: {}: what was written may be lost, so flushes fail from now on; check the disk "
      "below, then start again",
      target_->name, describe(system_error(error)));
}

void FileJob::cancel() {
  CHECK(!done());
  finish(ECANCELED);
}

void FileJob::finish(int error) {
  error_ = error;
  // Another job may have been told of the loss meanwhile, in this one's place.
  if (error == 0 && promises_stable()) {
    error_ = target_->sync_error.load(std::memory_order_relaxed);
  }
  call_ = Call::kNone;
}

std::int64_t perform(const FileJob& job, int flags) {
  const auto offset = static_cast<off_t>(job.offset());
  const auto length = static_cast<off_t>(job.length());
  const std::span<const iovec> vectors = job.vectors();
  const int count = static_cast<int>(vectors.size());
  switch (job.call()) {
    case FileJob::Call::kReadv:
      return or_errno(preadv2(job.fd(), vectors.data(), count, offset, flags));
    case FileJob::Call::kWritev:
      return or_errno(pwritev2(job.fd(), vectors.data(), count, offset, flags | job.write_flags()));
    case FileJob::Call::kSync:
      return or_errno(fdatasync(job.fd()));
    case FileJob::Call::kPunch:
      return or_errno(
          fallocate(job.fd(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length));
    case FileJob::Call::kZeroRange:
      return or_errno(
          fallocate(job.fd(), FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, offset, length));
    case FileJob::Call::kDiscard: {
      std::array<std::uint64_t, 2> range{job.offset(), job.length()};
      return or_errno(ioctl(job.fd(), BLKDISCARD, range.data()));
    }
    case FileJob::Call::kNone:
      break;
  }
  CHECK(false);
  return -EINVAL;
}

}  // namespace airlock::backend
