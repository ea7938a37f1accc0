// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "backend/port_backend.h"
#include "base/fd.h"

namespace airlock::backend {

/// A UNIX socket: one client at a time; the next one waits until that has gone. One who has said
/// all that he had to say is heard to the end, if the guest listens.
class SocketPort final : public PortBackend {
 public:
  /// Listens. Errors: those of vfio_user::Listener::create().
  static Result<std::unique_ptr<SocketPort>> listen(const std::string& path);

  [[nodiscard]] std::string describe() const override { return "socket " + file_.path; }
  [[nodiscard]] vfio_user::SocketFile file() const override { return file_; }
  void add_watches(const PortInterest& interest, std::vector<pollfd>& target) const override;
  void attend(const PortInterest& interest) override;
  [[nodiscard]] bool connected() const override { return static_cast<bool>(client_); }
  [[nodiscard]] std::uint64_t connections() const override { return connections_; }
  std::size_t read(std::span<std::byte> target) override;
  std::size_t write(std::span<const std::byte> source) override;

 private:
  SocketPort(Fd listening, vfio_user::SocketFile file)
      : listening_(std::move(listening)), file_(std::move(file)) {}

  Fd listening_;
  vfio_user::SocketFile file_;
  Fd client_;
  bool mute_ = false;  // the client has closed his end, and takes nothing any more
  std::uint64_t connections_ = 0;
};

}  // namespace airlock::backend
