// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/fifo.h"
#include "driver/blk_info.h"
#include "driver/blk_request.h"
#include "driver/blk_stats.h"
#include "driver/deadline.h"
#include "driver/poll_pace.h"
#include "driver/queue.h"
#include "driver/spin_window.h"
#include "driver/virtio_device.h"

namespace airlock::driver {

class BlkSealed;

/// One queue of a disk. Requests go in with submit() and come out of poll(), in any order, each
/// exactly once, whatever the device does. One thread at a time; queues are independent.
///
/// What does not fit now, because the ring or the pool is full, waits inside (HD-30). The device's
/// status byte is read once; the length it claims must be exactly what success means (HD-3). The
/// first lie of the ring breaks the queue: everything in flight completes with the error, and its
/// slots stay out of use until the device was reset (HD-18, HD-23).
class BlkQueue {
 public:
  struct Limits {
    BlkInfo info;
    std::uint64_t part_bytes_max = 0;     // of one ring request, whole blocks
    std::uint32_t requests_max = 0;       // inside at a time
    std::chrono::microseconds spin{};     // before a wait goes to sleep: see SpinWindow
    unsigned spin_cpu_percent = 100;      // of a core
    std::chrono::milliseconds timeout{};  // of a blocking call
    std::uint32_t pool_home = 0;          // the area of the pool that it uses first: its number
  };

  /// The queue begins detached. `device` outlives it.
  BlkQueue(VirtioDevice& device, const Limits& limits);
  ~BlkQueue();
  BlkQueue(const BlkQueue&) = delete;
  BlkQueue& operator=(const BlkQueue&) = delete;

  /// Takes a request, to be started as soon as there is room; kick() shows it to the device. An
  /// InPlaceBuffer given up meanwhile lives until the completion. Returns the request's id.
  /// Errors, and then there is no completion: kQueueFull (requests_max are inside), kQueueBroken
  /// (until Blk::reset()), kOutOfRange, kNotAligned, kBadLength (empty, or a target of the wrong
  /// size), kReadOnly, kNotSupportedByDevice, kBadHandle (memory of the region that is no live
  /// InPlaceBuffer).
  Result<std::uint64_t> submit(const BlkRequest& request);

  /// Shows the device what was submitted, with one notification at most. poll() and wait() do too.
  void kick();

  /// The next completion; nullopt if there is none now. Never waits. As long as there are some to
  /// hand out it shows what was submitted meanwhile in batches: kick() is for who can't wait.
  std::optional<BlkCompletion> poll();

  /// The same, for as many as there are and `target` has room for; returns how many.
  std::size_t poll(std::span<BlkCompletion> target);

  /// Waits until poll() has something. Errors: kTimeout (nothing is lost, wait again), kWrongState
  /// (nothing is inside).
  Result<void> wait(std::chrono::milliseconds timeout);

  /// One request, waited for. After Limits::timeout the device counts as broken: the call never
  /// returns while the device could still write to the caller's bytes.
  /// Errors: those of submit(); what the device answered; kTimeout.
  Result<void> run(const BlkRequest& request);

  /// For an event loop: readable when there may be completions, after arm() returned false. So are
  /// the transport's for vector 0 and VirtioDevice::broken_fd(), when there won't be any.
  [[nodiscard]] int interrupt_fd() const { return queue_ ? queue_->interrupt_fd() : -1; }
  /// Asks for interrupts; true if something is there already, so that poll() is next.
  bool arm();
  /// After arm() and what was waited for: asks for no more interrupts, and takes those that came.
  /// One of vector 0 may have been a device in need, whose requests are completed then; where the
  /// queue's own came as well, it stays for the next time.
  void disarm();

  [[nodiscard]] std::size_t inside() const { return inside_; }
  /// Whether the device has anything of this queue. If not, what is inside waits for the pool, and
  /// no interrupt will tell.
  [[nodiscard]] bool in_flight() const { return free_parts_.size() != parts_.size(); }
  /// Any thread may read them.
  [[nodiscard]] const BlkCounters& counters() const { return counters_; }
  [[nodiscard]] const std::optional<Error>& broken() const { return broken_; }

  // For those who make and revive queues.
  /// Entries of an indirect table, so that a request of the usual size has all of its buffers
  /// there.
  [[nodiscard]] std::uint16_t table_entries() const;
  Result<void> attach(std::unique_ptr<Queue> queue);
  /// Completes everything inside with `error`, and starts no more.
  void stop(const Error& error);
  /// Gives up the ring and the slots of what was in flight. The device must be reset, or gone.
  void detach();

 private:
  // Taken from the ring before the first is looked at, so that their memory comes meanwhile.
  static constexpr std::size_t kReapBatch = 16;

  struct Pending {
    BlkRequest request;
    std::uint64_t id = 0;
    std::uint64_t left = 0;   // bytes not yet in the ring; 1 for what has no bytes
    std::uint64_t next = 0;   // where on the disk
    std::uint32_t parts = 0;  // in the ring
    bool used = false;
    bool is_pinned = false;
    pool::Pinned pinned;  // an in-place buffer's bytes, till all parts are back
    std::optional<Error> error;
  };
  // One request of the ring, with a frame in shared memory for its header and status.
  struct Part {
    enum class Data : std::uint8_t { kNone, kMapped, kPinned, kSealed };
    std::uint32_t pending = 0;
    std::uint64_t bytes = 0;
    BlkOp op = BlkOp::kFlush;
    Data data = Data::kNone;
    bool live = false;
    pool::Mapped mapped{};
    window::RegionOffset offset{};
  };

  Result<void> validate(const BlkRequest& request) const;
  Result<void> validate_range(std::uint64_t offset, std::uint64_t length) const;
  void pump();
  Result<bool> issue(std::uint32_t index);
  Result<bool> place_data(const Pending& pending, Part& part, std::uint64_t bytes);
  void undo_data(Part& part);
  void write_frame(std::uint32_t part_index, const Pending& pending);
  [[nodiscard]] spec::VirtioBlkReqHeader header_of(const Part& part, const Pending& pending) const;
  [[nodiscard]] spec::VirtioBlkDiscardWriteZeroes range_of(const Part& part,
                                                           const Pending& pending) const;
  Result<void> put_in_ring(std::uint32_t part_index);
  void append_data(std::vector<ring::Buffer>& buffers, const Part& part) const;
  bool reap();
  void finish_part(std::uint32_t part_index, std::uint32_t written);
  void conclude_part(std::uint32_t part_index, std::uint8_t status, std::uint32_t written);
  void release_part(std::uint32_t part_index, std::uint64_t written);
  void end_part(Pending& pending, std::uint32_t index);
  void complete(std::uint32_t index);
  Result<void> pin_whole(Pending& pending);
  [[nodiscard]] std::optional<Error> judge(const Part& part, std::uint8_t status,
                                           std::uint32_t written) const;
  [[nodiscard]] std::uint64_t part_bytes(const Pending& pending) const;
  [[nodiscard]] std::uint32_t segments(std::uint64_t bytes) const;
  [[nodiscard]] bool is_done(std::optional<std::uint64_t> id) const;
  bool look_for(std::optional<std::uint64_t> id);
  Result<void> wait_for(std::optional<std::uint64_t> id, const Deadline& deadline);
  void sleep(const Deadline& deadline);
  [[nodiscard]] std::uint64_t frame(std::uint32_t part_index) const;

  // Where buffers are encrypted.
  Result<bool> place_sealed(Part& part);
  void release_sealed(const Part& part);
  Result<void> put_sealed(std::uint32_t part_index, const Pending& pending);
  std::unexpected<Error> end_with(const Error& error);
  Result<void> finish_sealed(std::uint32_t part_index, std::uint32_t written);

  VirtioDevice& device_;
  Limits limits_;
  SpinWindow spin_;
  PollPace pace_;  // of waits without an interrupt
  std::unique_ptr<Queue> queue_;
  std::uint64_t part_bytes_max_ = 0;   // with this ring
  std::uint32_t request_buffers_ = 0;  // of a request, besides those of its data
  std::unique_ptr<BlkSealed> sealed_;  // null: the queue is not encrypted
  pool::CoherentBuffer frames_;
  std::vector<Part> parts_;
  std::vector<std::uint32_t> free_parts_;
  std::vector<Pending> pending_;
  std::vector<std::uint32_t> free_pending_;
  std::vector<pool::Pinned> abandoned_;  // pins of requests that a stopped device may still write
  Fifo<std::uint32_t> backlog_;          // not all in the ring yet, in order
  Fifo<BlkCompletion> done_;
  std::array<ring::Completion, kReapBatch> returned_{};  // of one look at the ring
  std::vector<ring::Buffer> readable_;                   // kept for their memory
  std::vector<ring::Buffer> writable_;
  std::size_t inside_ = 0;
  std::uint64_t next_id_ = 1;
  std::uint32_t unannounced_ = 0;  // parts in the ring, not yet published
  bool notified_ = false;          // and nothing came back since
  std::optional<Error> broken_;
  BlkCounters counters_;
};

}  // namespace airlock::driver
