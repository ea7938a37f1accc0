// SPDX-License-Identifier: Apache-2.0
#include "crypt/algorithm.h"

#include <array>

namespace airlock::crypt {

namespace {

constexpr std::array kChoices{Algorithm::kAes256Gcm, Algorithm::kChaCha20Poly1305,
                              Algorithm::kNull};

}  // namespace

std::string_view name_of(Algorithm algorithm) {
  switch (algorithm) {
    case Algorithm::kNone:
      break;
    case Algorithm::kNull:
      return "null";
    case Algorithm::kAes256Gcm:
      return "aes-256-gcm";
    case Algorithm::kChaCha20Poly1305:
      return "chacha20-poly1305";
  }
  return "?";
}

std::optional<Algorithm> parse_algorithm(std::string_view name) {
  for (const Algorithm one : kChoices) {
    if (name == name_of(one)) return one;
  }
  return std::nullopt;
}

std::optional<std::uint32_t> parse_algorithms(std::string_view names) {
  std::uint32_t mask = 0;
  for (std::string_view rest = names;;) {
    const std::size_t comma = rest.find(',');
    const auto one = parse_algorithm(rest.substr(0, comma));
    if (!one) return std::nullopt;
    mask |= algorithm_bit(*one);
    if (comma == std::string_view::npos) return mask;
    rest.remove_prefix(comma + 1);
  }
}

std::string algorithm_names() {
  std::string names;
  for (const Algorithm one : kChoices) {
    if (!names.empty()) names += ", ";
    names += name_of(one);
  }
  return names;
}

}  // namespace airlock::crypt
