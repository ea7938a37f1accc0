// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "backend/net_backend.h"

namespace airlock::compare {

/// What a network card is plugged into here: a wire from which comes, as often as somebody
/// receives, the frame that was last sent into it. So frames are received as fast as there is room
/// for them, of the size that a driver chose by sending one; and sent as fast as they are copied.
/// There is nothing to receive before the first. One channel, no offloads.
[[nodiscard]] std::unique_ptr<backend::NetBackend> make_repeating_wire();

}  // namespace airlock::compare
