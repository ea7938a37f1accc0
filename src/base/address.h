// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace airlock {

/// The guest address that a person wrote: 0x and hexadecimal digits, or a size such as 2G. Nothing
/// where the text is anything else or doesn't fit 64 bits.
[[nodiscard]] std::optional<std::uint64_t> parse_address(std::string_view text);

}  // namespace airlock
