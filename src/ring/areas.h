// SPDX-License-Identifier: Apache-2.0
//
// The memory of a queue's three areas, found and checked, for either half and either format.
#pragma once

#include "ring/layout.h"
#include "window/window.h"

namespace airlock::ring {

/// The three areas as memory: each has the size and the alignment that Layout wants.
struct AreaBytes {
  shm::SharedBytes descriptors;
  shm::SharedBytes driver;
  shm::SharedBytes device;
};

/// For the device: where the driver said they are. An address must be aligned, and so must be where
/// it leads: memory that a VMM shared may start anywhere. Errors, with the queue and the address:
/// kBadQueueSize, kNotAligned, kAddressOutside. VIRTIO 1.3, 2.7, 2.8.10.1; GEN-DR2, DMB-D7, DMB-D8.
Result<AreaBytes> open_device_areas(const QueueConfig& config, const window::Window& window);

/// For the driver: where it laid them out in `region`, the whole region as mapped. All are zeroed.
/// Errors, with the queue and the offset: kBadQueueSize, kOutOfRange (also for offset 0 in offset
/// mode, DMB-DR3), kNotAligned.
Result<AreaBytes> open_driver_areas(const DriverQueueConfig& config,
                                    const shm::SharedBytes& region);

/// The same for the memory of the indirect tables; empty where the queue has none.
Result<shm::SharedBytes> open_tables(const DriverQueueConfig& config,
                                     const shm::SharedBytes& region);

/// Whether nothing may lie at `offset`: a device takes offset 0 for "not programmed". DMB-DR3.
[[nodiscard]] bool is_reserved(window::RegionOffset offset, window::AddressMode mode);

}  // namespace airlock::ring
