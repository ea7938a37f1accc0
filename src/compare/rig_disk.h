// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/event_fd.h"
#include "compare/access.h"
#include "compare/rig_sealer.h"
#include "ring/driver_queue.h"

namespace airlock::compare {

/// What a driver did.
struct DiskCounts {
  std::uint64_t notifications = 0;
  std::uint64_t interrupts = 0;    // that it had to wait for
  std::uint64_t io_errors = 0;     // requests that failed, for want of room in a pool as well
  std::uint64_t mapped_ns = 0;     // from map to unmap, of all requests
  std::uint64_t sealed_bytes = 0;  // of data, sealed and opened: a copy each
};

/// A virtio disk's driver, as small as it can be, with one queue: the same for every model. It
/// trusts the device as little as driver::BlkQueue does: the ring is checked by ring::DriverQueue,
/// the status is read once, the length has to be exact (HD-3). One thread.
///
/// A request that finds no room in the model's pool fails, as in a system whose pool is full.
class RigDisk {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr std::uint16_t kQueueSize = 128;
  static constexpr std::uint16_t kDepthMost = kQueueSize / 4;

  struct Request {
    bool write = false;
    std::uint64_t sector = 0;
    std::span<std::byte> buffer;  // whole sectors, the model's to map; until the completion
    std::uint64_t cookie = 0;
  };
  struct Done {
    std::uint64_t cookie = 0;
    std::optional<Error> error;  // kIoError, kNotSupportedByDevice: the device's answer
  };

  /// Negotiates, makes the queue, and starts the device. `access` and `device` outlive it. With an
  /// algorithm the queue is encrypted: buffers are mapped for their room, and sealed into it.
  /// Errors: those of Access::choose(), before the device has heard of any queue (SYS-5); the
  /// model's, the ring's, the device's.
  static Result<std::unique_ptr<RigDisk>> open(
      Access& access, DeviceLink& device, crypt::Algorithm encryption = crypt::Algorithm::kNone);

  /// Takes a request: kick() shows it to the device. Errors, and then there is no completion: the
  /// model's map(); kQueueFull; kQueueBroken.
  Result<void> submit(const Request& request);
  /// Shows the device what was submitted, and notifies it if it wants that.
  void kick();
  /// The next completion; nothing if there is none now. Errors: the ring's, for good.
  Result<std::optional<Done>> poll();
  /// Waits until poll() has something: looks for a while, then sleeps. Errors: kTimeout; the
  /// ring's.
  Result<void> wait(std::chrono::milliseconds timeout);

  [[nodiscard]] std::uint32_t in_flight() const { return ring_.outstanding(); }
  [[nodiscard]] DiskCounts counts() const;

 private:
  struct Slot {
    MappedBuffer mapped;
    std::uint64_t cookie = 0;
    bool write = false;
    Clock::time_point since;
    crypt::SealedChain chain;  // where the queue is encrypted
  };

  RigDisk(Access& access, ring::DriverQueue ring, EventFd notify, EventFd interrupt,
          std::uint64_t frames, std::optional<RigSealer> sealer)
      : access_(access),
        ring_(std::move(ring)),
        notify_(std::move(notify)),
        interrupt_(std::move(interrupt)),
        frames_(frames),
        sealer_(std::move(sealer)),
        slots_(kDepthMost) {
    for (std::uint32_t slot = kDepthMost; slot > 0; --slot)
      free_.push_back(slot - 1);
  }
  [[nodiscard]] std::uint64_t frame(std::uint64_t slot) const;
  Result<void> put_in_ring(std::uint32_t slot, const Request& request);
  Result<void> put_sealed(RigSealer& sealer, std::uint32_t slot, const Request& request);
  /// The status that the device answered. Errors: kBadLength; kNotAuthentic.
  Result<std::uint8_t> status_of(std::uint32_t slot, std::uint32_t written);
  [[nodiscard]] RigSealer::Place place_of(std::uint32_t slot) const;
  Result<Done> finish(const ring::Completion& completion);
  Result<bool> look();

  Access& access_;
  ring::DriverQueue ring_;
  EventFd notify_;
  EventFd interrupt_;
  std::uint64_t frames_;             // where headers and status bytes are, in access_.memory()
  std::optional<RigSealer> sealer_;  // where the queue is encrypted
  std::vector<Slot> slots_;
  std::vector<std::uint32_t> free_;
  std::optional<ring::Completion> found_;  // by wait(), for poll()
  DiskCounts counts_;
};

}  // namespace airlock::compare
