// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "backend/port_backend.h"
#include "base/fd.h"

namespace airlock::backend {

/// A pseudoterminal: somebody is there while its other side is open (screen, picocom). What the
/// guest writes meanwhile to nobody is lost, as on a serial line without a cable.
class PtyPort final : public PortBackend {
 public:
  /// Makes one, in raw mode. With a `link`, a symbolic link there leads to it; one that is there
  /// already is replaced, nothing else is. Errors: kSystem (EEXIST).
  static Result<std::unique_ptr<PtyPort>> create(const std::string& link);

  [[nodiscard]] std::string describe() const override { return "pty " + path_; }
  [[nodiscard]] vfio_user::SocketFile file() const override { return link_; }
  /// Where the other side is: /dev/pts/N.
  [[nodiscard]] const std::string& path() const { return path_; }
  void add_watches(const PortInterest& interest, std::vector<pollfd>& target) const override;
  void attend(const PortInterest& interest) override;
  [[nodiscard]] bool connected() const override { return connected_; }
  [[nodiscard]] std::uint64_t connections() const override { return connections_; }
  std::size_t read(std::span<std::byte> target) override;
  std::size_t write(std::span<const std::byte> source) override;
  [[nodiscard]] std::optional<WindowSize> window_size() const override { return size_; }

 private:
  PtyPort(Fd terminal, Fd visits, std::string path)
      : terminal_(std::move(terminal)), visits_(std::move(visits)), path_(std::move(path)) {}

  Fd terminal_;  // our side
  Fd visits_;    // an inotify descriptor: the other side is opened and closed
  std::string path_;
  vfio_user::SocketFile link_;
  bool connected_ = false;
  bool gone_ = true;  // nobody has the other side open; what he wrote may be there still
  std::uint64_t connections_ = 0;
  std::optional<WindowSize> size_;
};

}  // namespace airlock::backend
