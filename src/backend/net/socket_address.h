// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/socket.h>

#include <optional>
#include <string>
#include <string_view>

#include "base/fd.h"

namespace airlock::backend {

/// Where a socket is, or is to be: a path, or an IP address and a port.
class SocketAddress {
 public:
  /// nullopt: it is empty, has a NUL, or is too long for the kernel.
  static std::optional<SocketAddress> from_path(std::string_view path);
  /// "192.0.2.1:1234" or "[2001:db8::1]:1234"; no names, which would take a resolver.
  static std::optional<SocketAddress> from_ip(std::string_view text);

  [[nodiscard]] int family() const { return storage_.ss_family; }
  /// The file, if it is one.
  [[nodiscard]] std::optional<std::string> path() const;

  // The system calls. Errors: kSystem.
  [[nodiscard]] Result<void> bind(const Fd& socket) const;
  [[nodiscard]] Result<void> connect(const Fd& socket) const;

 private:
  template <class T>
  SocketAddress(const T& address, socklen_t length);
  [[nodiscard]] const sockaddr* get() const;

  sockaddr_storage storage_{};
  socklen_t length_ = 0;
};

}  // namespace airlock::backend
