// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "compare/rig_queue.h"
#include "compare/rig_sealer.h"
#include "compare/rig_slots.h"
#include "compare/traffic.h"

namespace airlock::compare {

/// A virtio disk's driver, as small as it can be, with one queue: the same for every model. It
/// trusts the device as little as driver::BlkQueue does: the ring is checked by ring::DriverQueue,
/// the status is read once, the length has to be exact (HD-3).
///
/// A request is a write or a read of whole sectors. One that is to be refused lies beyond the
/// disk's end. Of one that failed the completion says kIoError or kNotSupportedByDevice.
class RigDisk final : public RigDriver {
 public:
  /// Negotiates, makes the queue, and starts the device. `access` and `device` outlive it. With an
  /// algorithm the queue is encrypted: buffers are mapped for their room, and sealed into it.
  /// Errors: those of Access::choose(), before the device has heard of any queue (SYS-5); the
  /// model's, the ring's, the device's.
  static Result<std::unique_ptr<RigDisk>> open(
      Access& access, DeviceLink& device, crypt::Algorithm encryption = crypt::Algorithm::kNone);

  Result<void> submit(const Request& request) override;
  void kick() override { queue_.kick(); }
  Result<std::optional<Done>> poll() override;
  Result<void> wait(std::chrono::milliseconds timeout) override;
  [[nodiscard]] std::uint32_t in_flight() const override { return queue_.ring().outstanding(); }
  [[nodiscard]] DriverCounts counts() const override;

 private:
  RigDisk(Access& access, RigQueue queue, std::uint64_t frames, std::optional<RigSealer> sealer)
      : access_(access),
        queue_(std::move(queue)),
        frames_(frames),
        sealer_(std::move(sealer)),
        slots_(access),
        chains_(kDepthMost) {}
  [[nodiscard]] std::uint64_t frame(std::uint64_t slot) const;
  Result<void> put_in_ring(std::uint32_t slot, const Request& request);
  Result<void> put_sealed(RigSealer& sealer, std::uint32_t slot, const Request& request);
  /// The status that the device answered. Errors: kBadLength; kNotAuthentic.
  Result<std::uint8_t> status_of(std::uint32_t slot, std::uint32_t written);
  [[nodiscard]] RigSealer::Place place_of(std::uint32_t slot) const;
  Result<Done> finish(const ring::Completion& completion);

  Access& access_;
  RigQueue queue_;
  std::uint64_t frames_;             // where headers and status bytes are, in access_.memory()
  std::optional<RigSealer> sealer_;  // where the queue is encrypted
  RigSlots slots_;
  std::vector<crypt::SealedChain> chains_;  // by slot, where the queue is encrypted
};

}  // namespace airlock::compare
