// SPDX-License-Identifier: Apache-2.0
#include "backend/uring_channel.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/check.h"
#include "base/log.h"
#include "core/range.h"

namespace airlock::backend {

namespace {

/// user_data of the poll on the threads' descriptor; a job's is its index.
constexpr std::uint64_t kThreadsWatch = ~std::uint64_t{0};
/// Beside a job's index: the job was cancelled before the kernel got it.
constexpr std::uint64_t kNotStarted = std::uint64_t{1} << 32;
/// The kernel registers no buffer larger than this.
constexpr std::uint64_t kBufferBytesMost = std::uint64_t{1} << 30;

}  // namespace

Result<std::unique_ptr<BlockChannel>> UringChannel::create(FileTarget& target, UringPool& pool,
                                                           const shm::SharedBytes& region,
                                                           const Options& options) {
  const std::uint32_t depth = std::min(options.depth, UringPool::kDepthMost);
  std::unique_ptr<UringChannel> channel(
      new UringChannel(target, pool, TRY(pool.take(depth)), depth));
  if (options.register_memory) channel->register_region(region);
  return channel;
}

UringChannel::UringChannel(FileTarget& target, UringPool& pool, std::unique_ptr<Uring> ring,
                           std::uint32_t depth)
    : FileChannel(target, depth), pool_(&pool), ring_(std::move(ring)) {
  prepared_.reserve(depth);
}

void UringChannel::register_region(const shm::SharedBytes& region) {
  const iovec whole = region.for_kernel();
  for (std::uint64_t start = 0; start < whole.iov_len; start += kBufferBytesMost) {
    registered_.push_back(
        {.iov_base = static_cast<std::byte*>(whole.iov_base) + start,
         .iov_len = std::min<std::uint64_t>(whole.iov_len - start, kBufferBytesMost)});
  }
  if (registered_.empty()) return;
  const int error = io_uring_register_buffers(ring_.get(), registered_.data(),
                                              static_cast<unsigned>(registered_.size()));
  if (error == 0) return;
  registered_.clear();
  if (target().told_unregistered.exchange(true)) return;
  log(LogLevel::kWarning,
      "register {} bytes with io_uring: {}: going on without; a higher limit of locked memory "
      "(ulimit -l) makes direct I/O cheaper",
      whole.iov_len, describe(system_error(-error)));
}

UringChannel::~UringChannel() {
  // The kernel may be writing to the region: only its word that it is done ends that.
  while (in_kernel_ > 0 || in_threads_ > 0) {
    engine_poll();
    if (in_kernel_ == 0 && in_threads_ == 0) break;
    pollfd wait{.fd = ring_->ring_fd, .events = POLLIN, .revents = 0};
    static_cast<void>(::poll(&wait, 1, -1));
  }
  // Who has the ring next has another region.
  if (registered_.empty() || io_uring_unregister_buffers(ring_.get()) == 0) {
    pool_->give_back(std::move(ring_));
  }
}

io_uring_sqe* UringChannel::next_sqe() {
  io_uring_sqe* const sqe = io_uring_get_sqe(ring_.get());
  CHECK(sqe != nullptr);
  ++in_kernel_;
  return sqe;
}

void UringChannel::engine_start(JobIndex index) {
  const FileJob& job = this->job(index);
  if (job.call() == FileJob::Call::kDiscard) {
    send_to_threads(index);
    return;
  }
  io_uring_sqe* const sqe = next_sqe();
  switch (job.call()) {
    case FileJob::Call::kReadv:
    case FileJob::Call::kWritev:
      prepare_transfer(sqe, job);
      break;
    case FileJob::Call::kSync:
      io_uring_prep_fsync(sqe, job.fd(), IORING_FSYNC_DATASYNC);
      break;
    case FileJob::Call::kPunch:
      io_uring_prep_fallocate(sqe, job.fd(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                              static_cast<off_t>(job.offset()), static_cast<off_t>(job.length()));
      break;
    case FileJob::Call::kZeroRange:
      io_uring_prep_fallocate(sqe, job.fd(), FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
                              static_cast<off_t>(job.offset()), static_cast<off_t>(job.length()));
      break;
    case FileJob::Call::kDiscard:
    case FileJob::Call::kNone:
      CHECK(false);
  }
  io_uring_sqe_set_data64(sqe, index);
  prepared_.push_back(sqe);
}

void UringChannel::engine_cancel() {
  // An entry can't be taken back from the submission queue, but it can become nothing to do.
  for (io_uring_sqe* const sqe : prepared_) {
    const std::uint64_t index = sqe->user_data;
    io_uring_prep_nop(sqe);
    io_uring_sqe_set_data64(sqe, index | kNotStarted);
  }
  prepared_.clear();
  if (threads_) threads_->cancel();
}

void UringChannel::prepare_transfer(io_uring_sqe* sqe, const FileJob& job) {
  const std::span<const iovec> pieces = job.vectors();
  const bool reads = job.call() == FileJob::Call::kReadv;
  const std::optional<int> buffer =
      pieces.size() == 1 ? fixed_buffer(pieces.front()) : std::nullopt;
  if (buffer) {
    void* const base = pieces.front().iov_base;
    const auto length = static_cast<unsigned>(pieces.front().iov_len);
    if (reads) {
      io_uring_prep_read_fixed(sqe, job.fd(), base, length, job.offset(), *buffer);
    } else {
      io_uring_prep_write_fixed(sqe, job.fd(), base, length, job.offset(), *buffer);
    }
  } else if (reads) {
    io_uring_prep_readv(sqe, job.fd(), pieces.data(), static_cast<unsigned>(pieces.size()),
                        job.offset());
  } else {
    io_uring_prep_writev(sqe, job.fd(), pieces.data(), static_cast<unsigned>(pieces.size()),
                         job.offset());
  }
  if (!reads) sqe->rw_flags = job.write_flags();
}

std::optional<int> UringChannel::fixed_buffer(const iovec& piece) const {
  for (std::size_t i = 0; i < registered_.size(); ++i) {
    if (airlock_range_inside(address_of(piece), piece.iov_len, address_of(registered_[i]),
                             registered_[i].iov_len)) {
      return static_cast<int>(i);
    }
  }
  return std::nullopt;
}

void UringChannel::engine_poll() {
  // A job that needs another call is started while completions are taken: until nothing is new.
  do {
    hand_over();
    io_uring_cqe* cqe = nullptr;
    while (io_uring_peek_cqe(ring_.get(), &cqe) == 0) {
      const io_uring_cqe copy = *cqe;
      io_uring_cqe_seen(ring_.get(), cqe);
      take(copy);
    }
    poll_threads();
  } while (io_uring_sq_ready(ring_.get()) > 0);
}

void UringChannel::hand_over() {
  while (io_uring_sq_ready(ring_.get()) > 0) {
    const int submitted = io_uring_submit(ring_.get());
    if (submitted >= 0) continue;
    // EINTR; or EAGAIN, EBUSY: the kernel is short of memory for a moment. Anything else would be
    // about our arguments.
    CHECK(submitted == -EINTR || submitted == -EAGAIN || submitted == -EBUSY);
    sched_yield();
  }
  prepared_.clear();
}

void UringChannel::take(const io_uring_cqe& cqe) {
  --in_kernel_;
  if (cqe.user_data == kThreadsWatch) {
    watching_threads_ = false;
    return;
  }
  const bool started = (cqe.user_data & kNotStarted) == 0;
  const auto index = static_cast<JobIndex>(cqe.user_data & ~kNotStarted);
  CHECK(index < depth());
  FileJob& job = this->job(index);
  if (started) job.advance(cqe.res);
  if (!job.done() && cancelled()) job.cancel();
  if (job.done()) {
    finished(index);
  } else {
    engine_start(index);
  }
}

void UringChannel::send_to_threads(JobIndex index) {
  if (!threads_) {
    auto started = IoThreads::start({.threads = 1, .depth = depth()});
    if (!started) {
      // A discard is a hint: without a thread it is refused as by a disk that has none.
      job(index).advance(-EOPNOTSUPP);
      finished(index);
      return;
    }
    threads_ = std::move(*started);
  }
  threads_->push(&job(index));
  ++in_threads_;
  watch_threads();
}

void UringChannel::watch_threads() {
  if (watching_threads_ || in_threads_ == 0) return;
  io_uring_sqe* const sqe = next_sqe();
  io_uring_prep_poll_add(sqe, threads_->fd(), POLLIN);
  io_uring_sqe_set_data64(sqe, kThreadsWatch);
  watching_threads_ = true;
}

void UringChannel::poll_threads() {
  if (!threads_) return;
  while (const FileJob* const job = threads_->pop()) {
    --in_threads_;
    finished(index_of(job));
  }
  watch_threads();
}

}  // namespace airlock::backend
