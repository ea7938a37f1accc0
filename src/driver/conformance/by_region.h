// SPDX-License-Identifier: Apache-2.0
//
// The same check under two requirements: DEF-5 is for bus addresses, DMB-D7 for offsets.
#pragma once

#include "driver/conformance/check_context.h"

namespace airlock::driver::conformance {

/// A check for devices whose region is offered in this way; skipped for others.
template <RegionKind kKind, Check::Function kRun>
Result<Finding> addressed_by(CheckContext& ctx) {
  if (ctx.region_kind() != kKind) {
    return skipped(kKind == RegionKind::kDmb ? "the device does not offer VIRTIO_F_DMB"
                                             : "the device does not offer VIRTIO_F_SWIOTLB");
  }
  return kRun(ctx);
}
template <Check::Function kRun>
inline constexpr Check::Function kByBus = addressed_by<RegionKind::kSwiotlb, kRun>;
template <Check::Function kRun>
inline constexpr Check::Function kByOffset = addressed_by<RegionKind::kDmb, kRun>;

}  // namespace airlock::driver::conformance
