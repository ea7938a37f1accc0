// SPDX-License-Identifier: Apache-2.0
#include "backend/net/socket_address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/un.h>

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace airlock::backend {

namespace {

std::optional<std::uint16_t> parse_port(std::string_view text) {
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc() || end != text.data() + text.size() || port == 0) return std::nullopt;
  return port;
}

}  // namespace

template <class T>
SocketAddress::SocketAddress(const T& address, socklen_t length) : length_(length) {
  static_assert(sizeof address <= sizeof storage_);
  std::memcpy(&storage_, &address, sizeof address);
}

std::optional<SocketAddress> SocketAddress::from_path(std::string_view path) {
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  if (path.empty() || path.size() >= sizeof address.sun_path || path.contains('\0')) {
    return std::nullopt;
  }
  std::ranges::copy(path, address.sun_path);
  return SocketAddress(address, sizeof address);
}

std::optional<SocketAddress> SocketAddress::from_ip(std::string_view text) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return std::nullopt;
  const auto port = parse_port(text.substr(colon + 1));
  if (!port) return std::nullopt;
  std::string host(text.substr(0, colon));
  if (host.starts_with('[') && host.ends_with(']')) {
    host = host.substr(1, host.size() - 2);
    sockaddr_in6 address{};
    address.sin6_family = AF_INET6;
    address.sin6_port = htons(*port);
    if (inet_pton(AF_INET6, host.c_str(), &address.sin6_addr) != 1) return std::nullopt;
    return SocketAddress(address, sizeof address);
  }
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(*port);
  if (inet_pton(AF_INET, host.c_str(), &address.sin_addr) != 1) return std::nullopt;
  return SocketAddress(address, sizeof address);
}

std::optional<std::string> SocketAddress::path() const {
  if (family() != AF_UNIX) return std::nullopt;
  sockaddr_un address{};
  std::memcpy(&address, &storage_, sizeof address);
  return std::string(address.sun_path);
}

Result<void> SocketAddress::bind(const Fd& socket) const {
  if (::bind(socket.get(), get(), length_) != 0) return fail(system_error());
  return {};
}

Result<void> SocketAddress::connect(const Fd& socket) const {
  if (::connect(socket.get(), get(), length_) != 0) return fail(system_error());
  return {};
}

const sockaddr* SocketAddress::get() const {
  // NOLINTNEXTLINE(bugprone-casting-through-void): as the socket calls want it
  return static_cast<const sockaddr*>(static_cast<const void*>(&storage_));
}

}  // namespace airlock::backend
