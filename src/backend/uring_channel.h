// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "backend/file_channel.h"
#include "backend/io_threads.h"
#include "backend/uring_pool.h"

namespace airlock::backend {

/// A file's channel over an io_uring of its own. What is submitted goes to the kernel with the next
/// reap(), in one call. With registered memory a request that is one piece of it is a fixed
/// transfer, which spares the kernel finding and pinning its pages each time.
///
/// What io_uring can't do on every supported kernel (BLKDISCARD) goes to a thread.
class UringChannel final : public FileChannel {
 public:
  struct Options {
    std::uint32_t depth = 1;
    bool register_memory = false;  // pins all of the region; goes on without if the kernel refuses
  };

  /// The ring is one of `pool`, which outlives the channel. Errors: kSystem (ENOSYS, EPERM: the
  /// kernel or a sandbox doesn't allow io_uring), kUnsupported (it is too old).
  static Result<std::unique_ptr<BlockChannel>> create(FileTarget& target, UringPool& pool,
                                                      const shm::SharedBytes& region,
                                                      const Options& options);
  ~UringChannel() override;

  /// The ring itself: readable while there are completions in it.
  [[nodiscard]] int completion_fd() const override { return ring_->ring_fd; }

 private:
  UringChannel(FileTarget& target, UringPool& pool, std::unique_ptr<Uring> ring,
               std::uint32_t depth);
  void register_region(const shm::SharedBytes& region);

  void engine_start(JobIndex index) override;
  void engine_poll() override;
  void engine_cancel() override;
  void prepare_transfer(io_uring_sqe* sqe, const FileJob& job);
  [[nodiscard]] std::optional<int> fixed_buffer(const iovec& piece) const;
  void hand_over();
  void take(const io_uring_cqe& cqe);
  void send_to_threads(JobIndex index);
  void poll_threads();
  void watch_threads();
  io_uring_sqe* next_sqe();

  UringPool* pool_;
  std::unique_ptr<Uring> ring_;
  std::uint32_t in_kernel_ = 0;          // jobs and watches that will bring a completion
  std::vector<io_uring_sqe*> prepared_;  // of jobs, not handed over yet
  std::vector<iovec> registered_;        // pieces of the region, by buffer index
  std::unique_ptr<IoThreads> threads_;   // made when first needed
  std::uint32_t in_threads_ = 0;         // jobs
  bool watching_threads_ = false;
};

}  // namespace airlock::backend
