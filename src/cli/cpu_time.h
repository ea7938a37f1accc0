// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>

namespace airlock::cli {

/// CPU seconds, user and system, that a process has used so far; nothing if it can't be told.
[[nodiscard]] std::optional<double> cpu_seconds(std::int64_t pid);
/// The same of this process.
[[nodiscard]] double own_cpu_seconds();

}  // namespace airlock::cli
