// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/fd.h"
#include "device/vsock/vsock_connector.h"

namespace airlock::cli {

/// A process that connects to sockets for a device that will make none any more, and hands them
/// over. It is told ports: told by a process that was taken over, it connects to these ports of
/// what it was started for, to nothing else.
class SocketConnector final : public device::VsockConnector {
 public:
  /// The longest prefix: the address of a socket has to hold a port as well.
  static constexpr std::size_t kPrefixMost = 96;

  // Each starts it. The process has one thread yet, and has nothing open that should not be forked.
  // It ends with this. Errors: kSystem.

  /// For UNIX sockets at `prefix`_PORT.
  static Result<std::unique_ptr<SocketConnector>> to_paths(const std::string& prefix);
  /// For the host's own AF_VSOCK: streams to the ports of `cid`.
  static Result<std::unique_ptr<SocketConnector>> to_cid(std::uint32_t cid);

  Result<void> ask(std::uint64_t id, std::uint32_t port, device::VsockType type) override;
  [[nodiscard]] int answer_fd() const override { return way_.get(); }
  Result<std::optional<Answer>> take() override;

 private:
  using Connect = std::function<Result<Fd>(std::uint32_t port, bool seqpacket)>;
  static Result<std::unique_ptr<SocketConnector>> start(const Connect& connect);
  static void connect_until_closed(const Connect& connect);
  explicit SocketConnector(Fd way) : way_(std::move(way)) {}
  Fd way_;
};

}  // namespace airlock::cli
