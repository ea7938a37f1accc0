// SPDX-License-Identifier: Apache-2.0
//
// The driver's view: what a device says about itself in its capability list, none of it believed
// before it is checked. HD-15, BASE-1, PCI-D2, DEF-4.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/result.h"
#include "spec/pci.h"

namespace airlock::pci {

/// What the region's place and size are multiples of (DEF-4), in bytes.
inline constexpr std::uint64_t kRegionAlignment = 4096;

/// How a driver reads the device's configuration space.
class ConfigReader {
 public:
  ConfigReader() = default;
  virtual ~ConfigReader() = default;
  ConfigReader(const ConfigReader&) = delete;
  ConfigReader& operator=(const ConfigReader&) = delete;

  /// Reads target.size() bytes at `offset`, all inside the 256 bytes of configuration space.
  virtual Result<void> read_config(std::uint16_t offset, std::span<std::byte> target) = 0;
};

/// The size in bytes of each memory BAR as the platform found it; 0: there is none, or it is I/O.
/// (The second register of a 64-bit BAR is 0 too.)
using BarSizes = std::array<std::uint64_t, spec::PCI_STD_NUM_BARS>;

/// A checked place: bar < 6, length > 0, [offset, offset + length) inside the BAR.
struct BarRange {
  std::uint8_t bar = 0;
  std::uint64_t offset = 0;  // bytes
  std::uint64_t length = 0;  // bytes

  friend bool operator==(const BarRange&, const BarRange&) = default;
};

struct SharedMemoryRegion {
  std::uint8_t id = 0;  // shmid
  BarRange place;
};

struct MsixLocation {
  std::uint8_t capability = 0;  // offset in configuration space
  std::uint16_t vectors = 0;
  BarRange table;  // whole: 16 bytes a vector
};

/// What the list holds: the first usable instance of each type, and all usable shared memory.
struct VirtioPciCapabilities {
  std::optional<BarRange> common;  // at least VIRTIO_PCI_COMMON_CFG_MIN bytes, 4-byte aligned
  std::optional<BarRange> notify;
  std::uint32_t notify_off_multiplier = 0;  // 0 or a power of two from 2 on
  std::optional<BarRange> isr;
  std::optional<BarRange> device;
  std::optional<std::uint8_t> pci_cfg;  // offset in configuration space of the capability
  std::optional<BarRange> swiotlb;      // offset and length are multiples of a page (DEF-4)
  std::optional<BarRange> encryption;   // VirtioPciEncryptionCfg, whole, 4-byte aligned (ENC-1)
  std::vector<SharedMemoryRegion> shared_memory;  // the first of each id
  std::optional<MsixLocation> msix;
  /// Instances that were passed over: reserved BAR, too short, outside its BAR, ...
  unsigned unusable = 0;

  /// Whether a driver can work with the device at all. VIRTIO 1.3, 4.1.4.
  [[nodiscard]] bool is_complete() const { return common && notify && isr; }
  /// The shared memory with this id, if it can be a region: whole pages (DMB-D4, DEF-4).
  [[nodiscard]] std::optional<BarRange> find_region(std::uint8_t shm_id) const;
};

/// Steps of the walk at most: as many capabilities as there is room for.
inline constexpr unsigned kCapabilitySteps = 48;

/// Walks the capability list. It is read once: what is returned is from private copies, and a later
/// walk that differs (HD-25) is for the caller to compare.
/// Errors: those of the reader; kMalformed (detail: offset) if the list comes back on itself.
Result<VirtioPciCapabilities> find_capabilities(ConfigReader& config, const BarSizes& bars);

}  // namespace airlock::pci
