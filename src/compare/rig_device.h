// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>

#include "compare/traffic.h"
#include "device/device_type.h"

namespace airlock::compare {

/// The device behind every model: the production's own, and what it has of its own behind it.
struct RigDevice {
  std::unique_ptr<device::DeviceType> type;
  /// Bytes of data that it moved so far between its window and what is its own. Any thread.
  std::function<std::uint64_t()> copied_bytes;
};

/// A disk of kDiskBytes in memory, or a network card at a wire that repeats what it was sent last
/// (make_repeating_wire()). Before a sandbox. Errors: kSystem.
Result<RigDevice> make_rig_device(Traffic traffic);

}  // namespace airlock::compare
