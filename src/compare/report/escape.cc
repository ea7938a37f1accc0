// SPDX-License-Identifier: Apache-2.0
#include "compare/report/escape.h"

namespace airlock::compare {

std::string escaped(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  for (const char letter : text) {
    const auto code = static_cast<unsigned char>(letter);
    switch (letter) {
      case '&':
        result += "&amp;";
        break;
      case '<':
        result += "&lt;";
        break;
      case '>':
        result += "&gt;";
        break;
      case '"':
        result += "&quot;";
        break;
      case '\'':
        result += "&#39;";
        break;
      default:
        if (code < 0x20 || code == 0x7f) {
          result += "&#xfffd;";
        } else {
          result += letter;
        }
    }
  }
  return result;
}

}  // namespace airlock::compare
