// SPDX-License-Identifier: Apache-2.0
//
// Trees for tests: built node by node, with nothing checked.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "dt/tree.h"

namespace airlock::dt {

class TreeBuilder {
 public:
  /// `reserved` goes into the blob's header.
  explicit TreeBuilder(const std::vector<Range>& reserved = {});

  TreeBuilder& begin(const std::string& name);
  TreeBuilder& end();
  TreeBuilder& flag(const std::string& name);
  TreeBuilder& text(const std::string& name, const std::string& value);
  TreeBuilder& bytes(const std::string& name, const std::string& value);
  TreeBuilder& cells(const std::string& name, const std::vector<std::uint32_t>& values);
  /// The blob. The last call.
  std::vector<std::byte> finish();

 private:
  std::vector<std::byte> blob_;
};

inline constexpr std::uint32_t kPoolPhandle = 0x11;
inline constexpr std::uint32_t kIommuPhandle = 0x12;

/// A machine with 512 MiB at 0x40000000, a disk and a PCI bus, and a pool for the disk: sound, but
/// for what a test says.
struct Machine {
  // NOLINTBEGIN(readability-redundant-member-init): lets initializers leave them out
  std::vector<Range> header_reserves{};
  std::uint32_t address_cells = 2;        // of /reserved-memory
  bool ranges = true;                     // it has them
  std::vector<std::string> pool_flags{};  // properties without a value, of the pool
  std::string pool_compatible = "restricted-dma-pool";
  std::string pool_status{};
  std::vector<std::uint32_t> pool_reg = {0, 0x50000000, 0, 0x4000000};
  std::vector<std::uint32_t> pool_size{};   // in place of `reg`
  std::vector<std::uint32_t> second_reg{};  // of a second pool, with the phandle after
  std::vector<std::uint32_t> other_reg{};   // of other reserved memory
  std::vector<std::uint32_t> disk_regions = {kPoolPhandle};
  std::vector<std::uint32_t> bridge_regions{};  // none: no such property
  std::vector<std::uint32_t> card_regions{};    // of a card behind the bridge
  bool disk_iommu = false;
  std::string iommu_status{};
  std::vector<std::uint32_t> iommu_map{};  // of the bridge
  // NOLINTEND(readability-redundant-member-init)

  [[nodiscard]] std::vector<std::byte> blob() const;
  [[nodiscard]] Tree tree() const;
};

inline constexpr const char* kDiskPath = "/virtio@a000000";
inline constexpr const char* kBridgePath = "/pcie@10000000";
inline constexpr const char* kCardPath = "/pcie@10000000/card@1,0";
inline constexpr const char* kPoolPath = "/reserved-memory/pool@50000000";

}  // namespace airlock::dt
