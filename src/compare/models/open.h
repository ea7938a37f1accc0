// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "compare/model.h"

namespace airlock::compare {

/// The baseline, and the control of every canary scan: the device maps all of the guest.
extern const Model kOpen;

}  // namespace airlock::compare
