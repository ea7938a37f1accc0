// SPDX-License-Identifier: Apache-2.0
//
// Two processes: the guard's own, which reads what the VM and the device send and may do nothing
// else, and its launcher, which reads neither, and connects to devices or starts them.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>

#include "guard/device_source.h"
#include "guard/poller.h"
#include "shm/sealed_memfd.h"

namespace airlock::guard {

/// The guard's end of the two: asks the launcher.
class LauncherClient final : public DeviceSource {
 public:
  /// `socket` is one end of a pair of seqpacket sockets. `restarts`: the launcher starts devices.
  LauncherClient(Fd socket, bool restarts) : socket_(std::move(socket)), restarts_(restarts) {}

  [[nodiscard]] bool restarts() const override { return restarts_; }
  Result<void> ask(int region) override;
  Result<void> end() override;
  [[nodiscard]] int fd() const override { return socket_.get(); }
  Result<std::optional<Fd>> take() override;

 private:
  Fd socket_;
  bool restarts_;
  std::uint32_t asked_ = 0;  // number of the last request
};

/// The other end: gets connections to a device, by its socket or by starting it.
class Launcher {
 public:
  /// A fixed size for what a device keeps between its processes. Bytes.
  static constexpr std::uint64_t kStateBytes = 65536;

  struct Options {
    std::string connect;  // a socket that a device serves; or
    std::string command;  // for a shell: `{socket}` in it becomes `socket`
    std::string socket;   // a path where nothing else is
  };

  Launcher(Options options, Fd socket) : options_(std::move(options)), socket_(std::move(socket)) {}
  ~Launcher();
  Launcher(const Launcher&) = delete;
  Launcher& operator=(const Launcher&) = delete;

  /// Answers the guard until it has gone (false) or a signal to end came (`signals` is readable).
  void serve(int signals);

 private:
  struct Process {
    pid_t pid = 0;
    Fd pidfd;
  };

  Result<void> handle();
  Result<Fd> get(Fd region);
  Result<void> start(const Fd& region);
  Result<Fd> connect_when_ready(TimePoint deadline) const;
  void end();

  Options options_;
  Fd socket_;
  Process process_;
  shm::SealedMemfd state_;
};

}  // namespace airlock::guard
