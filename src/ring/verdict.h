// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/error.h"
#include "core/verdict.h"

namespace airlock::ring {

/// What core's check said, as an error code. Not for AIRLOCK_OK, which is no error (CHECK).
Errc to_errc(airlock_verdict verdict);

}  // namespace airlock::ring
