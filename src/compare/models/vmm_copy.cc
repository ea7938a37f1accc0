// SPDX-License-Identifier: Apache-2.0
#include "compare/models/vmm_copy.h"

#include "compare/models/relay.h"
#include "compare/trusted_lines.h"

namespace airlock::compare {

const Model kVmmCopy{
    .name = "vmm-copy",
    .what = "a trusted VMM copies each request between guest and device (Firecracker's way)",
    .trust = "the VMM, which has all of the guest and walks its rings; the device has its buffer",
    .trusted_lines = kVmmCopyLines,
    .connect = connect_relay,
    .view = region_view,
    .serve = serve_vmm_copy,
};

}  // namespace airlock::compare
