// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "backend/net_backend.h"

namespace airlock::backend {

/// A plug that leads back: what a channel sends is what it receives, headers too, as far as
/// set_guest_offloads() allows: a checksum that may not be missing is completed, and segments are
/// dropped. For tests. A channel holds kLoopFrames frames at most, and is busy then.
std::unique_ptr<NetBackend> make_loop();

inline constexpr std::size_t kLoopFrames = 256;

}  // namespace airlock::backend
