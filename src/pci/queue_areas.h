// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>

#include "pci/virtio_model.h"

namespace airlock::pci {

/// What is wrong with a queue that a driver described.
struct QueueFault {
  Error error;
  const char* what = "";  // which part of it, in words; a literal
};

/// The check of a queue when the driver enables it: its size is a power of two up to `size_max`
/// (any up to it for a packed ring), and its three areas are aligned and lie in the window, whole.
/// Touches none of them. The window is configured for `negotiated`.
/// VIRTIO 1.3, 2.7, 2.8, 4.1.4.3.2; GEN-DR2, DMB-D7, DMB-DR3.
std::optional<QueueFault> check_queue(const QueueSetup& queue, std::uint16_t size_max,
                                      const Negotiated& negotiated, const window::Window& window);

}  // namespace airlock::pci
