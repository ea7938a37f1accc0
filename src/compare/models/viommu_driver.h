// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "compare/models/viommu.h"
#include "iommu/iommu.h"
#include "ring/driver_queue.h"

namespace airlock::compare {

/// The guest's driver of a virtio-iommu. Its queues are in the guest's own memory: who has the
/// IOMMU is trusted with that. One request at a time, each answered before anything else is done.
/// One thread. SYS-6; VIRTIO 1.3, 5.13.
class ViommuDriver {
 public:
  /// The only domain that it uses.
  static constexpr std::uint32_t kDomain = 1;
  static constexpr std::uint16_t kQueueSize = 16;

  /// Starts the device at the other end of `host`, with queues in `area` of the guest's `memory`,
  /// at kPrivateBase. Both outlive it. Errors: kUnsupported (no MAP_UNMAP: 5.13.5); kPoolFull; the
  /// host's.
  static Result<std::unique_ptr<ViommuDriver>> start(const Fd& host, const shm::SharedBytes& memory,
                                                     CoherentArea& area);

  /// Errors of all: kIoError, with the status, or with 0xff for a request that was given back
  /// without one (5.13.6.1); the host's; the ring's.
  Result<void> attach(std::uint32_t endpoint);
  Result<void> detach(std::uint32_t endpoint);
  Result<void> map(const iommu::Mapping& mapping);
  /// When it returns, the device can't get at the range any more.
  Result<void> unmap(const iommu::AddressRange& range);
  Result<void> write_bypass(bool bypass);

  /// What came by the event queue since. Errors: the ring's.
  Result<std::vector<iommu::Fault>> take_faults();
  /// Requests and register accesses so far.
  [[nodiscard]] std::uint64_t messages() const { return messages_; }

 private:
  struct Queues {
    ring::DriverQueue requests;
    ring::DriverQueue events;
    std::uint64_t frame = 0;    // where a request is, and its tail, in memory_
    std::uint64_t reports = 0;  // where faults are
  };
  ViommuDriver(const Fd& host, const shm::SharedBytes& memory, Queues queues)
      : host_(host), memory_(memory), queues_(std::move(queues)) {}

  Result<void> ask_host(const ViommuRequest& request);
  Result<void> request(std::span<const std::byte> bytes);
  Result<void> offer_report(std::uint64_t index);

  const Fd& host_;
  shm::SharedBytes memory_;  // the guest's own
  Queues queues_;
  std::uint64_t messages_ = 0;
};

/// The disk's addresses, page by page: the driver gives them out, the search for room goes on where
/// it ended last. Offsets from kIoBase, in bytes.
class IoAddresses {
 public:
  explicit IoAddresses(std::uint64_t bytes) : taken_(bytes / kPageBytes) {}

  /// So many pages in a row. Nothing: there is no room now.
  std::optional<std::uint64_t> take(std::uint64_t pages);
  void give_back(std::uint64_t offset, std::uint64_t pages);
  /// Whether all of them are taken.
  [[nodiscard]] bool holds(std::uint64_t offset, std::uint64_t pages) const;
  [[nodiscard]] std::uint64_t pages() const { return taken_.size(); }

 private:
  std::vector<bool> taken_;
  std::uint64_t next_ = 0;
};

}  // namespace airlock::compare
