// SPDX-License-Identifier: Apache-2.0
//
// The seam on the device's side: what of the memory that it was given makes its window.
#pragma once

#include <memory>
#include <vector>

#include "compare/device_link.h"
#include "window/window.h"

namespace airlock::compare {

/// Owns the memory behind one device's window.
class DeviceView {
 public:
  DeviceView() = default;
  virtual ~DeviceView() = default;
  DeviceView(const DeviceView&) = delete;
  DeviceView& operator=(const DeviceView&) = delete;

  [[nodiscard]] virtual const window::Window& window() const = 0;
};

/// One grant, a sealed memfd, as a region: that, and nothing else.
/// Errors: kMalformed (another number of grants); those of SealedMemfd.
Result<std::unique_ptr<DeviceView>> region_view(std::span<const Grant> grants);
/// Each grant as guest memory at its address; there is no region.
/// Errors: those of GuestMemory::map().
Result<std::unique_ptr<DeviceView>> guest_memory_view(std::span<const Grant> grants);

}  // namespace airlock::compare
