// SPDX-License-Identifier: Apache-2.0
#include "device/console/console_control.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace airlock::device {

namespace {

using spec::VirtioConsoleControl;

/// A message, and what follows it, cut where `target` ends.
std::size_t write_message(std::span<std::byte> target, std::uint32_t port, std::uint16_t event,
                          std::uint16_t value, std::span<const std::byte> rest = {}) {
  const VirtioConsoleControl message{.id = Le32(port), .event = Le16(event), .value = Le16(value)};
  const auto head = std::as_bytes(std::span(&message, 1));
  CHECK(target.size() >= head.size());
  const auto tail = rest.first(std::min(rest.size(), target.size() - head.size()));
  std::ranges::copy(tail, std::ranges::copy(head, target.begin()).out);
  return head.size() + tail.size();
}

}  // namespace

ConsoleControl::ConsoleControl(std::vector<Port> ports) {
  for (Port& port : ports) {
    if (port.name.size() > kNameBytesMost) port.name.resize(kNameBytesMost);
    ports_.push_back({.port = std::move(port)});
  }
}

std::optional<ConsoleControl::Opened> ConsoleControl::take(const VirtioConsoleControl& message) {
  const std::uint32_t id = message.id.get();
  const std::uint16_t value = message.value.get();
  const std::uint16_t event = message.event.get();
  // Its id says nothing. 0: the driver can't work with ports.
  if (event == spec::VIRTIO_CONSOLE_DEVICE_READY && value == 1) {
    add_all();
    return std::nullopt;
  }
  if (id >= ports_.size() || value > 1) {
    ignore();
    return std::nullopt;
  }
  State& state = ports_[id];
  if (event == spec::VIRTIO_CONSOLE_PORT_READY && state.added) {
    set_ready(state, value == 1);
    return std::nullopt;
  }
  if (event == spec::VIRTIO_CONSOLE_PORT_OPEN && state.ready) {
    return Opened{.port = id, .open = value == 1};
  }
  ignore();
  return std::nullopt;
}

// 5.3.6.2.1: no DEVICE_ADD for a port that exists.
void ConsoleControl::add_all() {
  for (State& state : ports_)
    state.add = !state.added;
}

// The driver has looked for the port's queues: what it should know of it.
void ConsoleControl::set_ready(State& state, bool ready) {
  state.ready = ready;
  state.console = ready && state.port.is_console;
  state.size = ready && state.port.is_console && size_.has_value();
  state.name = ready && !state.port.name.empty();
  state.open = ready && state.host && !state.told_open;
  if (ready) return;
  state.close = false;
  state.told_open = false;
}

void ConsoleControl::host_is(std::uint32_t port, bool connected, bool anew) {
  CHECK(port < ports_.size());
  State& state = ports_[port];
  state.host = connected;
  if (state.told_open && (!connected || anew)) state.close = true;
  state.open = connected && state.ready && (!state.told_open || state.close);
}

void ConsoleControl::resize(const backend::WindowSize& size) {
  if (size_ == size) return;
  size_ = size;
  for (State& state : ports_)
    state.size |= state.port.is_console && state.ready;
}

bool ConsoleControl::has_message() const {
  return std::ranges::any_of(ports_, &State::has_message);
}

std::size_t ConsoleControl::next(std::span<std::byte> target) {
  CHECK(target.size() >= kLeastBytes);
  for (std::uint32_t id = 0; id < ports_.size(); ++id) {
    if (ports_[id].has_message()) return write_next(ports_[id], id, target);
  }
  return 0;
}

std::size_t ConsoleControl::write_next(State& state, std::uint32_t id,
                                       std::span<std::byte> target) {
  if (std::exchange(state.add, false)) {
    state.added = true;
    return write_message(target, id, spec::VIRTIO_CONSOLE_DEVICE_ADD, 0);
  }
  if (std::exchange(state.console, false)) {
    return write_message(target, id, spec::VIRTIO_CONSOLE_CONSOLE_PORT, 1);
  }
  if (std::exchange(state.name, false)) {
    return write_message(target, id, spec::VIRTIO_CONSOLE_PORT_NAME, 1,
                         std::as_bytes(std::span(state.port.name)));
  }
  if (std::exchange(state.size, false)) {
    // NOLINTNEXTLINE(bugprone-unchecked-optional-access): only who has a size is to tell it
    const spec::VirtioConsoleResize size{.cols = Le16(size_->cols), .rows = Le16(size_->rows)};
    return write_message(target, id, spec::VIRTIO_CONSOLE_RESIZE, 0,
                         std::as_bytes(std::span(&size, 1)));
  }
  if (std::exchange(state.close, false)) {
    state.told_open = false;
    return write_message(target, id, spec::VIRTIO_CONSOLE_PORT_OPEN, 0);
  }
  CHECK(state.open);
  state.open = false;
  state.told_open = true;
  return write_message(target, id, spec::VIRTIO_CONSOLE_PORT_OPEN, 1);
}

void ConsoleControl::reset() {
  for (State& state : ports_)
    state = {.port = std::move(state.port), .host = state.host};
}

}  // namespace airlock::device
