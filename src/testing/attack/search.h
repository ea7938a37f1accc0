// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/fd.h"

namespace airlock::testing::attack {

/// The mark and what follows it, up to the first byte that is no letter, digit or dash. Empty: the
/// mark is not there.
std::string find_marked(std::span<const std::byte> bytes, std::string_view mark);

/// The size of a file in bytes; 0 if it has none.
std::uint64_t file_size(const Fd& fd);
/// find_marked() in all of a file, by mapping it. Errors: those of Mapping::map().
Result<std::string> search_file(const Fd& fd, std::string_view mark);

/// A number in decimal, or in hexadecimal behind 0x. Our own test's: CHECK.
std::uint64_t number(std::string_view text);

}  // namespace airlock::testing::attack
