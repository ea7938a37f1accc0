// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace airlock::compare {

/// Text as HTML and XML have it, between tags and in attributes: what would be markup is a
/// reference, and a control character, which neither has, is U+FFFD. Bytes from 0x80 on stay.
[[nodiscard]] std::string escaped(std::string_view text);

}  // namespace airlock::compare
