// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "backend/port_backend.h"
#include "spec/virtio_console.h"

namespace airlock::device {

/// What driver and device of a console tell each other of its ports. Private state only: messages
/// come in as copies and go out as bytes.
///
/// What the driver is to be told is a few flags a port, and not a queue of messages: one who asks
/// for ever and never listens makes us remember no more. Somebody who came and went in between is
/// not told of; that somebody else is there now, always. Not thread-safe.
/// VIRTIO 1.3, 5.3.6.2.
class ConsoleControl {
 public:
  struct Port {
    std::string name;
    bool is_console = false;
  };
  /// A driver opened one of its ports, or closed it.
  struct Opened {
    std::uint32_t port = 0;
    bool open = false;
  };
  /// Names are cut there.
  static constexpr std::size_t kNameBytesMost = 64;
  /// Room for any message. VIRTIO 1.3, 5.3.6.2.
  static constexpr std::size_t kMessageBytesMost =
      sizeof(spec::VirtioConsoleControl) + kNameBytesMost;

  explicit ConsoleControl(std::vector<Port> ports);

  /// A message of the driver's. One that makes no sense (an unknown port or event, one that is the
  /// device's to send, or comes too early) is ignored and counted.
  std::optional<Opened> take(const spec::VirtioConsoleControl& message);
  /// Somebody is at the host's end of a port, or nobody; `anew`: not who was there before.
  void host_is(std::uint32_t port, bool connected, bool anew);
  /// The terminal at the console's end has this size now.
  void resize(const backend::WindowSize& size);
  /// Whether the driver is to be told something.
  [[nodiscard]] bool has_message() const;
  /// Writes the next message; its bytes. 0: there is none. A name is cut where `target` ends, which
  /// has room for the rest of every message (CHECK: kLeastBytes).
  std::size_t next(std::span<std::byte> target);
  static constexpr std::size_t kLeastBytes =
      sizeof(spec::VirtioConsoleControl) + sizeof(spec::VirtioConsoleResize);

  /// The driver is gone: another one knows nothing yet.
  void reset();
  /// Messages that were ignored so far.
  [[nodiscard]] std::uint64_t ignored() const { return ignored_; }

 private:
  struct State {
    Port port;
    bool host = false;       // somebody is there
    bool added = false;      // the driver was told of it
    bool ready = false;      // and has it
    bool told_open = false;  // what it was last told of the host's end
    // To be told, in this order:
    bool add = false;
    bool console = false;
    bool name = false;
    bool size = false;
    bool close = false;
    bool open = false;

    [[nodiscard]] bool has_message() const {
      return add || console || name || size || close || open;
    }
  };
  void ignore() { ++ignored_; }
  void add_all();
  void set_ready(State& state, bool ready);
  std::size_t write_next(State& state, std::uint32_t id, std::span<std::byte> target);

  std::vector<State> ports_;
  std::optional<backend::WindowSize> size_;
  std::uint64_t ignored_ = 0;
};

}  // namespace airlock::device
