// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>

#include "base/fd.h"
#include "device/vsock/vsock_packet.h"

namespace airlock::device {

/// Connects to what listens on the host for the guest's connections, elsewhere: a device has no
/// paths, and makes no sockets.
class VsockConnector {
 public:
  struct Answer {
    std::uint64_t id = 0;
    Fd socket;      // non-blocking; empty: nobody listens there
    int error = 0;  // errno, where it is empty
  };

  VsockConnector() = default;
  virtual ~VsockConnector() = default;
  VsockConnector(const VsockConnector&) = delete;
  VsockConnector& operator=(const VsockConnector&) = delete;

  /// Asks for a connection to `port`; the answer names `id`. Never blocks; any thread.
  /// Errors: kSystem (EAGAIN: too much was asked for already).
  virtual Result<void> ask(std::uint64_t id, std::uint32_t port, VsockType type) = 0;
  /// Readable when an answer may be there.
  [[nodiscard]] virtual int answer_fd() const = 0;
  /// The next answer, in whatever order; nothing if none is there yet. Never blocks; one thread.
  /// Errors: kPeerClosed, kSystem: no answer will come any more.
  virtual Result<std::optional<Answer>> take() = 0;
};

}  // namespace airlock::device
