// SPDX-License-Identifier: Apache-2.0
#include "cli/mac_address.h"

#include <charconv>

#include <fmt/core.h>

namespace airlock::cli {

namespace {

constexpr std::uint8_t kGroupBit = 1;
constexpr std::uint8_t kLocalBit = 2;

/// FNV-1a.
std::uint64_t hash_of(std::string_view text) {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const char character : text) {
    hash = (hash ^ static_cast<unsigned char>(character)) * 0x100000001b3;
  }
  return hash;
}

}  // namespace

std::optional<device::MacAddress> parse_mac(std::string_view text) {
  constexpr std::size_t kDigits = 2;
  device::MacAddress mac{};
  if (text.size() != mac.size() * (kDigits + 1) - 1) return std::nullopt;
  for (std::size_t i = 0; i < mac.size(); ++i) {
    const std::size_t at = i * (kDigits + 1);
    const char* const end = text.data() + at + kDigits;
    const auto parsed = std::from_chars(text.data() + at, end, mac[i], 16);
    if (parsed.ec != std::errc() || parsed.ptr != end) return std::nullopt;
    if (i + 1 < mac.size() && *end != ':') return std::nullopt;
  }
  if ((mac[0] & kGroupBit) != 0 || mac == device::MacAddress{}) return std::nullopt;
  return mac;
}

device::MacAddress mac_for(std::string_view text) {
  const std::uint64_t hash = hash_of(text);
  device::MacAddress mac{};
  for (std::size_t i = 0; i < mac.size(); ++i) {
    mac[i] = static_cast<std::uint8_t>(hash >> (8 * i));
  }
  mac[0] = static_cast<std::uint8_t>((mac[0] | kLocalBit) & ~kGroupBit);
  return mac;
}

std::string format_mac(const device::MacAddress& mac) {
  return fmt::format("{:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", mac[0], mac[1], mac[2], mac[3],
                     mac[4], mac[5]);
}

}  // namespace airlock::cli
