// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

#include "sandbox/profile.h"
#include "sandbox/trial.h"

namespace airlock::sandbox {

/// Each measure by itself, as far as it can be seen from inside.
[[nodiscard]] std::span<const Trial> measure_trials();

/// What nobody in a sandbox can do, with all measures taken.
[[nodiscard]] std::span<const Trial> common_trials();

/// What only that role can't do.
[[nodiscard]] std::span<const Trial> role_trials(Role role);

}  // namespace airlock::sandbox
