// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <expected>
#include <string>
#include <string_view>

#include "core/guard.h"

namespace airlock::guard {

/// bounce, window=ADDRESS+SIZE, snoop or open, with the limits that the guard has whatever the
/// policy. The error says what is wrong with the text.
std::expected<airlock_guard_rules, std::string> parse_policy(std::string_view text);

/// What a device can reach under these rules, channel by channel, and why: lines for a person, as
/// core decides.
[[nodiscard]] std::string explain(const airlock_guard_rules& rules);

}  // namespace airlock::guard
