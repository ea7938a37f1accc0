// SPDX-License-Identifier: Apache-2.0
//
// What a device process leaves behind for the one that takes its place: docs/RESTART.md.
#pragma once

#include <cstdint>
#include <memory>

#include "base/fd.h"
#include "ring/queue_record.h"
#include "shm/sealed_memfd.h"

namespace airlock::device {

/// The records of a device's queues, in memory that whoever starts the device keeps while processes
/// come and go. Of these processes one at a time has it. Control thread; each record is its
/// queue's.
class QueueStates {
 public:
  /// Takes over the memfd that holds them, and waits until no process before this one has it, and
  /// the kernel nothing more to do for one: then nobody writes to its region or its disk any more.
  /// Errors: kUnsealed, kWrongSize; kUnsupported (another version of us wrote it; detail: which);
  /// kSystem.
  static Result<std::unique_ptr<QueueStates>> adopt(Fd fd);

  QueueStates(const QueueStates&) = delete;
  QueueStates& operator=(const QueueStates&) = delete;
  ~QueueStates() = default;

  /// Of `queue`, below spec::QUEUE_STATE_QUEUES (CHECK). Valid as long as this.
  [[nodiscard]] ring::QueueRecord record(std::uint16_t queue) const;
  void forget(std::uint16_t queue) const { record(queue).forget(); }
  /// There was no process before this one, or nothing of it is to go on.
  void forget_all() const;

  /// A descriptor that the next process waits for. What the kernel does for this one that may
  /// outlive it has to keep it open: io_uring's requests (FileOptions::keep_open).
  [[nodiscard]] int presence() const { return presence_.get(); }

 private:
  QueueStates(shm::Mapping mapping, Fd presence)
      : mapping_(std::move(mapping)), presence_(std::move(presence)) {}

  shm::Mapping mapping_;
  Fd presence_;  // open, and locked, as long as this process is there
};

}  // namespace airlock::device
