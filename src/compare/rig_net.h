// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "compare/rig_queue.h"
#include "compare/rig_slots.h"

namespace airlock::compare {

/// A virtio network card's driver, as small as it can be, with a queue to receive and one to send:
/// the same for every model. Each buffer has the size of its frame; headers are in coherent memory.
/// It trusts the device as little as driver::NetReceiver does: a length is bounded by what the
/// device was given (HD-3, HD-11), and a header is not looked at, since nothing that it could say
/// was negotiated.
///
/// A request is a frame to be sent (`write`), or a buffer for one. Of a frame that is not as long
/// as its buffer the completion says kBadLength.
class RigNet final : public RigDriver {
 public:
  /// Negotiates, makes the queues, and starts the device. `access` and `device` outlive it.
  /// Errors: those of Access::choose(), before the device has heard of any queue (SYS-5); the
  /// model's, the ring's, the device's.
  static Result<std::unique_ptr<RigNet>> open(Access& access, DeviceLink& device);

  Result<void> submit(const Request& request) override;
  void kick() override;
  Result<std::optional<Done>> poll() override;
  Result<void> wait(std::chrono::milliseconds timeout) override;
  [[nodiscard]] std::uint32_t in_flight() const override;
  [[nodiscard]] DriverCounts counts() const override;

 private:
  RigNet(Access& access, RigQueue receive, RigQueue transmit, std::uint64_t headers)
      : access_(access),
        receive_(std::move(receive)),
        transmit_(std::move(transmit)),
        headers_(headers),
        slots_(access) {}
  Result<void> put_in_ring(std::uint32_t slot, const Request& request);
  Result<Done> finish(const ring::Completion& completion);

  Access& access_;
  RigQueue receive_;
  RigQueue transmit_;
  std::uint64_t headers_;  // where they are, in access_.memory()
  RigSlots slots_;
};

}  // namespace airlock::compare
