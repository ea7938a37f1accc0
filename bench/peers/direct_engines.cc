// SPDX-License-Identifier: Apache-2.0
#include "peers/direct_engines.h"

#include <fcntl.h>
#include <liburing.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <span>
#include <vector>

#include "base/fd.h"
#include "cli/cpu_time.h"
#include "cli/pattern.h"

namespace airlock::bench {

namespace {

struct Access {
  std::uint64_t offset = 0;
  bool read = true;
};

/// Where each request goes: as `airlock blk bench` has it.
class Plan {
 public:
  explicit Plan(const DirectOptions& options)
      : options_(&options), blocks_(options.size / options.bs) {}

  Access next() {
    const std::uint64_t block = options_->random ? cli::mix(state_) % blocks_ : next_++ % blocks_;
    return {.offset = block * options_->bs,
            .read = cli::mix(state_) % 100 < options_->read_percent};
  }

 private:
  const DirectOptions* options_;
  std::uint64_t blocks_;
  std::uint64_t state_ = 1;
  std::uint64_t next_ = 0;
};

/// Owns a mapping.
class Mapped {
 public:
  Mapped(std::uint64_t size, int flags, int fd)
      // tidy: allow mmap because what is measured is a program of its own, which has no peer
      : base_(mmap(nullptr, size, PROT_READ | PROT_WRITE, flags, fd, 0)), size_(size) {
    if (base_ == MAP_FAILED) throw EngineError("map", errno);
  }
  ~Mapped() { munmap(base_, size_); }
  Mapped(const Mapped&) = delete;
  Mapped& operator=(const Mapped&) = delete;
  [[nodiscard]] std::span<std::byte> bytes() const {
    return {static_cast<std::byte*>(base_), size_};
  }

 private:
  void* base_;
  std::uint64_t size_;
};

/// Memory that is there, as that of a backend that has been written to.
class FilledMemory {
 public:
  explicit FilledMemory(std::uint64_t size) : mapped_(size, MAP_PRIVATE | MAP_ANONYMOUS, -1) {
    // As src/backend/memory_backend.cc asks for: the same bytes in the same pages.
    madvise(bytes().data(), size, MADV_HUGEPAGE);
    std::memset(bytes().data(), 0x5a, size);
  }
  [[nodiscard]] std::span<std::byte> bytes() const { return mapped_.bytes(); }

 private:
  Mapped mapped_;
};

Fd open_file(const DirectOptions& options) {
  Fd fd(open(options.path.c_str(), O_RDWR | O_CLOEXEC));
  if (!fd) throw EngineError(options.path, errno);
  return fd;
}

/// One request after the other, each done when `transfer` returns.
template <typename Transfer>
void run_one_by_one(const DirectOptions& options, Meter& meter, Transfer transfer) {
  Plan plan(options);
  meter.start();
  for (auto before = Clock::now(); !meter.over(before);) {
    transfer(plan.next());
    const auto now = Clock::now();
    meter.add(now, now - before);
    before = now;
  }
  meter.stop();
}

void run_pread(const DirectOptions& options, Meter& meter) {
  const Fd fd = open_file(options);
  const FilledMemory buffer(options.bs);
  run_one_by_one(options, meter, [&](const Access& access) {
    const auto offset = static_cast<off_t>(access.offset);
    const ssize_t done = access.read ? pread(fd.get(), buffer.bytes().data(), options.bs, offset)
                                     : pwrite(fd.get(), buffer.bytes().data(), options.bs, offset);
    if (done != static_cast<ssize_t>(options.bs)) throw EngineError("transfer", errno);
  });
}

/// Copies between blocks of `disk` and buffers that stay hot.
void run_copies(const DirectOptions& options, Meter& meter, std::span<std::byte> disk) {
  const FilledMemory buffers(options.bs * options.iodepth);
  std::size_t turn = 0;
  run_one_by_one(options, meter, [&](const Access& access) {
    const auto block = disk.subspan(access.offset, options.bs);
    const auto buffer = buffers.bytes().subspan(turn * options.bs, options.bs);
    turn = turn + 1 == options.iodepth ? 0 : turn + 1;
    std::memcpy(access.read ? buffer.data() : block.data(),
                access.read ? block.data() : buffer.data(), options.bs);
    asm volatile("" ::: "memory");  // it is done now, whoever reads it
  });
}

/// The ring, its file and its buffers registered: the least that io_uring can cost.
class Ring {
 public:
  Ring(const DirectOptions& options, int fd, std::span<std::byte> buffers) : options_(&options) {
    io_uring_params params = {};
    params.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
    int error = io_uring_queue_init_params(options.iodepth, &ring_, &params);
    if (error == -EINVAL) error = io_uring_queue_init(options.iodepth, &ring_, 0);  // before 6.1
    if (error < 0) throw EngineError("io_uring", -error);
    const iovec whole{.iov_base = buffers.data(), .iov_len = buffers.size()};
    error = io_uring_register_files(&ring_, &fd, 1);
    if (error == 0) error = io_uring_register_buffers(&ring_, &whole, 1);
    if (error < 0) {
      io_uring_queue_exit(&ring_);
      throw EngineError("register with io_uring", -error);
    }
    buffers_ = buffers;
  }
  ~Ring() { io_uring_queue_exit(&ring_); }
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;

  void prepare(const Access& access, std::size_t slot) {
    io_uring_sqe* const sqe = io_uring_get_sqe(&ring_);
    void* const buffer = buffers_.subspan(slot * options_->bs).data();
    const auto length = static_cast<unsigned>(options_->bs);
    if (access.read) {
      io_uring_prep_read_fixed(sqe, 0, buffer, length, access.offset, 0);
    } else {
      io_uring_prep_write_fixed(sqe, 0, buffer, length, access.offset, 0);
    }
    io_uring_sqe_set_flags(sqe, IOSQE_FIXED_FILE);
    io_uring_sqe_set_data64(sqe, slot);
  }

  /// Submits what was prepared and waits for one completion at least; all that there are.
  std::span<io_uring_cqe*> wait() {
    const int error = io_uring_submit_and_wait(&ring_, 1);
    if (error < 0) throw EngineError("io_uring", -error);
    done_.resize(options_->iodepth);
    return std::span(done_).first(
        io_uring_peek_batch_cqe(&ring_, done_.data(), static_cast<unsigned>(done_.size())));
  }
  void forget(std::span<io_uring_cqe*> done) {
    io_uring_cq_advance(&ring_, static_cast<unsigned>(done.size()));
  }

 private:
  const DirectOptions* options_;
  io_uring ring_ = {};
  std::span<std::byte> buffers_;
  std::vector<io_uring_cqe*> done_;
};

void run_uring(const DirectOptions& options, Meter& meter) {
  const Fd fd = open_file(options);
  const FilledMemory buffers(options.bs * options.iodepth);
  Ring ring(options, fd.get(), buffers.bytes());
  Plan plan(options);
  meter.start();
  std::vector<Clock::time_point> started(options.iodepth, Clock::now());
  for (std::size_t slot = 0; slot < options.iodepth; ++slot)
    ring.prepare(plan.next(), slot);
  for (std::uint64_t in_flight = options.iodepth; in_flight > 0;) {
    const auto done = ring.wait();
    const auto now = Clock::now();
    for (const io_uring_cqe* const cqe : done) {
      if (cqe->res != static_cast<int>(options.bs)) throw EngineError("transfer", -cqe->res);
      const std::size_t slot = cqe->user_data;
      meter.add(now, now - started[slot]);
      if (meter.over(now)) {
        --in_flight;
        continue;
      }
      started[slot] = now;
      ring.prepare(plan.next(), slot);
    }
    ring.forget(done);
  }
  meter.stop();
}

}  // namespace

EngineError::EngineError(const std::string& what, int error)
    : std::runtime_error(what + ": " + std::strerror(error)) {}

void Meter::start() {
  begin_ = Clock::now() + ramp_;
  end_ = begin_ + runtime_;
}

void Meter::begin() {
  measuring_ = true;
  cpu_seconds_ = -cli::own_cpu_seconds();
}

void Meter::stop() {
  end_ = Clock::now();
  cpu_seconds_ += cli::own_cpu_seconds();
}

void run_engine(const DirectOptions& options, Meter& meter) {
  if (options.engine == "pread") {
    run_pread(options, meter);
  } else if (options.engine == "io_uring") {
    run_uring(options, meter);
  } else if (options.engine == "mmap") {
    const Fd fd = open_file(options);
    const Mapped file(options.size, MAP_SHARED | MAP_POPULATE, fd.get());
    run_copies(options, meter, file.bytes());
  } else {
    const FilledMemory memory(options.size);
    run_copies(options, meter, memory.bytes());
  }
}

}  // namespace airlock::bench
