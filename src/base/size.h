// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace airlock {

/// The number of bytes that a person wrote: decimal digits, then nothing or one of K, M, G, T
/// (powers of 1024, either case). Nothing where the text is anything else or doesn't fit 64 bits.
[[nodiscard]] std::optional<std::uint64_t> parse_size(std::string_view text);

/// The same for a person to read: the largest unit that divides `bytes` ("64M", "1536K", "1000").
/// parse_size() of it gives `bytes` back.
[[nodiscard]] std::string format_size(std::uint64_t bytes);

}  // namespace airlock
