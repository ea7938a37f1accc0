// SPDX-License-Identifier: Apache-2.0
//
// What the guard lets through, whatever either side offers.
#pragma once

#include <cstddef>
#include <cstdint>

#include "spec/pci.h"
#include "wire/message.h"

namespace airlock::guard {

/// Bytes in one access of a register or of guest memory: a whole config space, and some more.
inline constexpr std::uint32_t kMaxAccess = 65536;
/// Bytes in one message. DMA_WRITE, the largest, has as much in front as an access has.
inline constexpr std::uint32_t kMaxMessage =
    static_cast<std::uint32_t>(vfio_user::kHeaderSize + sizeof(spec::VfioUserRegionAccess)) +
    kMaxAccess;
/// File descriptors in one message of the VM's.
inline constexpr std::uint32_t kMaxVmFds = 8;
/// Bytes of one BAR.
inline constexpr std::uint64_t kMaxRegion = std::uint64_t{1} << 40U;
/// Vectors of one kind of interrupt.
inline constexpr std::uint32_t kMaxVectors = spec::PCI_MSIX_VECTORS_MAX;

}  // namespace airlock::guard
