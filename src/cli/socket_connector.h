// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "base/fd.h"
#include "device/vsock/vsock_connector.h"

namespace airlock::cli {

/// A process that connects to UNIX sockets for a device that will have no paths any more, and hands
/// them over. It is told numbers: told by a process that was taken over, it connects to `PATH_` and
/// a number, to nothing else.
class SocketConnector final : public device::VsockConnector {
 public:
  /// The longest prefix: the address of a socket has to hold a port as well.
  static constexpr std::size_t kPrefixMost = 96;

  /// Starts it, for sockets at `prefix`_PORT. The process has one thread yet, and has nothing open
  /// that should not be forked. It ends with this. Errors: kSystem.
  static Result<std::unique_ptr<SocketConnector>> start(const std::string& prefix);

  Result<void> ask(std::uint64_t id, std::uint32_t port, device::VsockType type) override;
  [[nodiscard]] int answer_fd() const override { return way_.get(); }
  Result<std::optional<Answer>> take() override;

 private:
  explicit SocketConnector(Fd way) : way_(std::move(way)) {}
  Fd way_;
};

}  // namespace airlock::cli
