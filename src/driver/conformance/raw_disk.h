// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "driver/conformance/check_context.h"
#include "spec/virtio_blk.h"

namespace airlock::driver::conformance {

/// One block request, sensible or not.
struct DiskRequest {
  std::uint32_t type = spec::VIRTIO_BLK_T_IN;
  std::uint64_t sector = 0;
  // What the device reads after the header.
  // NOLINTNEXTLINE(readability-redundant-member-init): lets initializers leave it out
  std::vector<std::byte> source{};
  std::uint32_t target_bytes = 0;  // what it may write before the status
  std::uint16_t head = 0;          // the descriptor that the chain starts at
};

struct DiskAnswer {
  ring::UsedElement used;
  std::uint8_t status = 0xff;
  std::vector<std::byte> target;
};

/// Where the parts of a request are in the data area.
inline constexpr std::uint64_t kDiskHeaderAt = 0;
inline constexpr std::uint64_t kDiskStatusAt = 64;
inline constexpr std::uint64_t kDiskDataAt = 1024;

/// Writes a request's bytes and descriptors, of which the device learns nothing yet.
void put_disk_request(CheckContext& ctx, const DiskRequest& request);
/// Puts it and makes it available, without a notification: a device that polls serves it.
void offer_disk_request(CheckContext& ctx, const DiskRequest& request);
/// Offers it, notifies, waits for the one answer. Errors: as CheckContext::wait_used().
Result<DiskAnswer> run_disk_request(CheckContext& ctx, const DiskRequest& request);
/// Reads sector 0 of a running device: nothing if it could, else what it answered.
Result<Finding> read_first_sector(CheckContext& ctx);

/// Resets the device, brings it up again and has it answer an honest request: that of a disk; a
/// device of another type gets as far as DRIVER_OK.
Result<Finding> works_after_reset(CheckContext& ctx);

}  // namespace airlock::driver::conformance
