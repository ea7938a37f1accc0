// SPDX-License-Identifier: Apache-2.0
#include "compare/models/snoop.h"

#include "compare/models/relay.h"
#include "compare/trusted_lines.h"

namespace airlock::compare {

const Model kSnoop{
    .name = "snoop",
    .what = "a trusted part follows the guest's ring, and moves what its descriptors invite",
    .trust = "who snoops, and has all of the guest; the device has a shadow ring and its buffer",
    .trusted_lines = kSnoopLines,
    .connect = connect_relay,
    .view = region_view,
    .serve = serve_snoop,
};

}  // namespace airlock::compare
