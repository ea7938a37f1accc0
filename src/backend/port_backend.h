// SPDX-License-Identifier: Apache-2.0
//
// The host's end of a console's port: a terminal, a file, a socket's client. Nothing here waits.
#pragma once

#include <poll.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "wire/listener.h"

namespace airlock::backend {

/// What the port can do with its host's end now.
struct PortInterest {
  bool guest = false;   // the guest has it open
  bool input = false;   // there is room for bytes from the host
  bool output = false;  // there are bytes for the host
};

/// Characters of a terminal.
struct WindowSize {
  std::uint16_t cols = 0;
  std::uint16_t rows = 0;

  friend bool operator==(const WindowSize&, const WindowSize&) = default;
};

/// One port's host end. Opened by the control thread before the sandbox, then used by one thread
/// alone, in rounds: add_watches(), poll(2), attend(), and what can be read and written.
///
/// Whoever is at the other end is not trusted: any bytes, at any time, for as long as he likes, and
/// he may take none.
class PortBackend {
 public:
  PortBackend() = default;
  virtual ~PortBackend() = default;
  PortBackend(const PortBackend&) = delete;
  PortBackend& operator=(const PortBackend&) = delete;

  /// For the log: "pty /dev/pts/5".
  [[nodiscard]] virtual std::string describe() const = 0;
  /// A file that others find it by, to be removed when the process ends; its path is empty if there
  /// is none.
  [[nodiscard]] virtual vfio_user::SocketFile file() const { return {}; }

  /// Appends what to wait for.
  virtual void add_watches(const PortInterest& interest, std::vector<pollfd>& target) const = 0;
  /// Finds out who came and who went.
  virtual void attend(const PortInterest& interest) = 0;

  /// Whether somebody is at the other end: as of attend(), read() or write(), whichever was last.
  [[nodiscard]] virtual bool connected() const = 0;
  /// How often somebody came so far: when it grows, it is somebody else.
  [[nodiscard]] virtual std::uint64_t connections() const { return 1; }
  /// Bytes that were read into `target`; 0: there are none now, or never again.
  virtual std::size_t read(std::span<std::byte> target) = 0;
  /// Bytes of `source` that were written; 0: there is no room now, or nobody.
  virtual std::size_t write(std::span<const std::byte> source) = 0;
  /// Of the terminal at the other end, where there is one and it says.
  [[nodiscard]] virtual std::optional<WindowSize> window_size() const { return std::nullopt; }
};

}  // namespace airlock::backend
