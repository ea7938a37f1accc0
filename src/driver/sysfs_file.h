// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "base/result.h"

namespace airlock::driver {

/// The first 4 KiB of a file such as sysfs has. Errors: kSystem.
Result<std::string> read_sysfs(const std::string& path);
/// Writes `text` to one. Errors: kSystem.
Result<void> write_sysfs(const std::string& path, const std::string& text);

/// The kernel's lockdown as `path` says ("none [integrity] confidentiality"): "integrity"; empty
/// where there is none, or no such file.
std::string lockdown_of(const std::string& path);

}  // namespace airlock::driver
