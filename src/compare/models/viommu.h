// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "compare/model.h"
#include "spec/virtio_iommu.h"

namespace airlock::compare {

/// What can be mapped: the disk's addresses begin there.
inline constexpr window::BusAddress kIoBase = kSharedBase;
inline constexpr std::uint64_t kIoBytes = std::uint64_t{16} << 20;
/// Two endpoints are behind the IOMMU: the rig's disk, and one that nobody drives.
inline constexpr std::uint32_t kDiskEndpoint = 8;
inline constexpr std::uint32_t kOtherEndpoint = 9;

/// What the host of the IOMMU is asked beside its queues: a transport's registers, and whose memory
/// it is. All that is mapped is asked for in the request queue.
struct ViommuRequest {
  enum class Kind : std::uint32_t {
    kStart,        // makes the guest's memory; the answer has its file
    kQueues,       // which are in it: DRIVER_OK
    kConfig,       // the device configuration, and the features
    kWriteBypass,  // the driver's write to that field
    kNotify,       // of the request queue: what is in there is answered when this is
    kLetAt,        // whoever starts the device of `endpoint`: which memory is it to have?
    kCounts,       // and a look for accesses that no mapping allowed, to be reported as faults
  };
  Kind kind = Kind::kStart;
  std::uint32_t endpoint = 0;
  std::uint64_t bytes = 0;  // kStart: of the guest's memory
  std::uint16_t queue_size = 0;
  std::uint8_t bypass = 0;
  ring::QueueAreas requests{};
  ring::QueueAreas events{};
};
struct ViommuReply {
  Answer answer{};  // kBadHandle: an endpoint of no IOMMU; kWrongState; kOutOfRange
  std::uint64_t features = 0;
  spec::VirtioIommuConfig config{};
  GrantShape grant;  // kLetAt: of the file that comes with it
  TrustedCounts counts;
  std::uint64_t pages_most = 0;  // that were mapped at a time
};

/// virtio-iommu: each buffer's pages are mapped for the device, at addresses of its own, by a
/// request to a trusted part, and unmapped after. SYS-6.
extern const Model kViommu;
/// The same with one mapping, made at the start, of a window that buffers are copied into.
extern const Model kViommuBounce;

/// The host of the IOMMU. Errors: the guest's, its queues'.
Result<void> serve_viommu(const Fd& guest, const Controls& controls);

}  // namespace airlock::compare
