// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "compare/model.h"

namespace airlock::compare {

/// Ours: a region on the device, of which a pool of the driver's gives out slots; all that the
/// device is given is the region. SYS-2.
extern const Model kRegion;
/// The same, with the application's buffers in the region: no copy.
extern const Model kRegionInPlace;
/// The first with an encrypted queue (docs/ENCRYPTION.md): what was a copy seals. The device has
/// the key: it is the memory in between that shows nothing.
extern const Model kRegionAes;
extern const Model kRegionChaCha;

}  // namespace airlock::compare
