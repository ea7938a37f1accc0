// SPDX-License-Identifier: Apache-2.0
#include "backend/nbd/nbd_uri.h"

#include <algorithm>
#include <optional>

#include <fmt/core.h>

namespace airlock::backend {

namespace {

constexpr std::string_view kDefaultPort = "10809";
constexpr std::uint32_t kPortMost = 65535;

std::optional<unsigned> hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return std::nullopt;
}

/// Without %XX; nothing where that is malformed, or hides the end of a string.
std::optional<std::string> decoded(std::string_view text) {
  std::string plain;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      plain += text[i];
      continue;
    }
    if (text.size() - i < 3) return std::nullopt;
    const auto high = hex_digit(text[i + 1]);
    const auto low = hex_digit(text[i + 2]);
    if (!high || !low || (*high == 0 && *low == 0)) return std::nullopt;
    plain += static_cast<char>(*high << 4U | *low);
    i += 2;
  }
  return plain;
}

/// What stands before `mark`, which is taken off as well; all of it if there is none.
std::string_view take_until(std::string_view& text, char mark) {
  const std::size_t end = text.find(mark);
  const std::string_view first = text.substr(0, end);
  text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
  return first;
}

bool is_port(std::string_view text) {
  if (text.empty() || text.size() > 5) return false;
  std::uint32_t port = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return false;
    port = port * 10 + static_cast<std::uint32_t>(c - '0');
  }
  return port > 0 && port <= kPortMost;
}

using Outcome = std::expected<void, std::string>;

/// USER@HOST:PORT, or USER@[ADDRESS]:PORT.
Outcome read_authority(std::string_view authority, NbdAddress& address) {
  const std::size_t at = authority.rfind('@');
  if (at != std::string_view::npos) {
    const auto user = decoded(authority.substr(0, at));
    if (!user) return std::unexpected("its user name has a % that is no %XX");
    address.user = *user;
    authority.remove_prefix(at + 1);
  }
  std::string_view port;
  if (authority.starts_with('[')) {
    const std::size_t end = authority.find(']');
    if (end == std::string_view::npos) return std::unexpected("its address has no ']'");
    address.host = authority.substr(1, end - 1);
    authority.remove_prefix(end + 1);
    if (!authority.empty() && !authority.starts_with(':')) {
      return std::unexpected("a port follows its ']' by ':'");
    }
    port = authority.empty() ? authority : authority.substr(1);
  } else {
    const auto host = decoded(take_until(authority, ':'));
    if (!host) return std::unexpected("its host has a % that is no %XX");
    address.host = *host;
    port = authority;
  }
  if (port.empty()) port = kDefaultPort;
  if (!is_port(port)) return std::unexpected(fmt::format("'{}' is no port", port));
  address.port = port;
  return {};
}

Outcome read_parameters(std::string_view query, bool unix_socket, NbdAddress& address) {
  while (!query.empty()) {
    std::string_view value = take_until(query, '&');
    const std::string_view name = take_until(value, '=');
    const auto plain = decoded(value);
    if (!plain || plain->empty()) {
      return std::unexpected(fmt::format("its parameter {} has no value", name));
    }
    if (name == "socket" && unix_socket) {
      address.socket_path = *plain;
    } else if (name == "tls-psk-file" && address.tls) {
      address.psk_file = *plain;
    } else if (name == "tls-certificates" && address.tls) {
      address.certificates = *plain;
    } else {
      return std::unexpected(fmt::format("it has no use for the parameter '{}'", name));
    }
  }
  return {};
}

}  // namespace

std::expected<NbdAddress, std::string> parse_nbd_uri(std::string_view uri) {
  NbdAddress address;
  const std::size_t scheme_end = uri.find("://");
  if (scheme_end == std::string_view::npos) return std::unexpected("it is no URI of NBD");
  const std::string_view scheme = uri.substr(0, scheme_end);
  std::string_view rest = uri.substr(scheme_end + 3);
  const bool unix_socket = scheme == "nbd+unix" || scheme == "nbds+unix";
  address.tls = scheme == "nbds" || scheme == "nbds+unix";
  if (!unix_socket && scheme != "nbd" && scheme != "nbds") {
    return std::unexpected(fmt::format("there is no '{}' here", scheme));
  }
  if (uri.find('#') != std::string_view::npos) return std::unexpected("it has a fragment");
  std::string_view query = rest;
  const std::string_view place = take_until(query, '?');
  rest = place;
  const std::string_view authority = take_until(rest, '/');
  const auto name = decoded(rest);
  if (!name) return std::unexpected("its export's name has a % that is no %XX");
  address.export_name = *name;
  if (auto read = read_authority(authority, address); !read) {
    return std::unexpected(read.error());
  }
  if (auto read = read_parameters(query, unix_socket, address); !read) {
    return std::unexpected(read.error());
  }
  if (unix_socket) {
    if (!address.host.empty()) return std::unexpected("a UNIX socket has no host");
    if (address.socket_path.empty()) return std::unexpected("the socket's path is missing");
    address.port.clear();
  } else if (address.host.empty()) {
    return std::unexpected("the host is missing");
  }
  if (!address.psk_file.empty() && !address.certificates.empty()) {
    return std::unexpected("TLS has keys or certificates, not both");
  }
  return address;
}

}  // namespace airlock::backend
