// SPDX-License-Identifier: Apache-2.0
//
// System calls that the ports' backends share.
#pragma once

#include <cstddef>
#include <optional>
#include <span>

#include "backend/port_backend.h"
#include "base/fd.h"

namespace airlock::backend {

/// What came of one read or write that does not wait.
struct PortTransfer {
  std::size_t bytes = 0;
  bool ended = false;  // there will be no more: the end of input, or an error
};

[[nodiscard]] PortTransfer read_now(int fd, std::span<std::byte> target);
[[nodiscard]] PortTransfer write_now(int fd, std::span<const std::byte> source);

/// What poll(2) says of `fd` now.
[[nodiscard]] short state_of(int fd, short events);

/// Sets or clears O_NONBLOCK; whether it was set before. Errors: kSystem.
Result<bool> set_nonblocking(int fd, bool nonblocking);

/// Of a terminal that knows it; no side of it is 0.
[[nodiscard]] std::optional<WindowSize> terminal_size(int fd);

}  // namespace airlock::backend
