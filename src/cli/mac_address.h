// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "device/net/net_config.h"

namespace airlock::cli {

/// "52:54:00:12:34:56" as an address; nothing for other text, and for one that no card may have (a
/// group's, or all zeros).
[[nodiscard]] std::optional<device::MacAddress> parse_mac(std::string_view text);

/// A locally administered address that is the same whenever `text` is, and hardly ever another's.
[[nodiscard]] device::MacAddress mac_for(std::string_view text);

[[nodiscard]] std::string format_mac(const device::MacAddress& mac);

}  // namespace airlock::cli
