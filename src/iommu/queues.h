// SPDX-License-Identifier: Apache-2.0
//
// The two queues of a virtio-iommu: requests in, faults out.
#pragma once

#include <cstdint>
#include <utility>

#include "iommu/iommu.h"
#include "ring/device_queue.h"

namespace airlock::iommu {

/// Does what the chain asks of `iommu`, and writes the answer into it: the bytes written, from the
/// start of its writable part on. None where there is no room for a status, or no such type of
/// request; a request that is too short or too long for its type is INVAL.
/// VIRTIO 1.3, 5.13.6, 5.13.6.2.
[[nodiscard]] std::uint32_t answer_request(Iommu& iommu, const ring::Chain& chain);

/// The request queue, as a device has it. One thread.
class RequestQueue {
 public:
  /// `iommu` outlives it.
  RequestQueue(Iommu& iommu, ring::DeviceQueue queue) : iommu_(iommu), queue_(std::move(queue)) {}

  /// Answers all that there is; true if the driver wants to be told. Errors: the ring's, for good.
  Result<bool> serve();

 private:
  Iommu& iommu_;
  ring::DeviceQueue queue_;
  ring::Chain chain_{4};
};

/// The event queue. A fault for which there is no buffer is dropped, and counted: who has its
/// device do what it must not all the time can't have it keep memory here. VIRTIO 1.3, 5.13.6.9.
class EventQueue {
 public:
  explicit EventQueue(ring::DeviceQueue queue) : queue_(std::move(queue)) {}

  /// Reports a fault; true if the driver wants to be told. Errors: the ring's, for good.
  Result<bool> report(const Fault& fault);
  [[nodiscard]] std::uint64_t dropped() const { return dropped_; }

 private:
  ring::DeviceQueue queue_;
  ring::Chain chain_{1};
  std::uint64_t dropped_ = 0;
};

}  // namespace airlock::iommu
