// SPDX-License-Identifier: Apache-2.0
//
// The restricted DMA pools of a device tree: which there are, which device gets which, and what
// keeps Linux from giving it. REQUIREMENTS 1.7.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "dt/tree.h"

namespace airlock::dt {

inline constexpr const char* kPoolCompatible = "restricted-dma-pool";
/// Where pools are, and nowhere else.
inline constexpr const char* kReservedMemory = "/reserved-memory";
/// Slots are 2 KiB, and memory is shared by pages.
inline constexpr std::uint64_t kPoolAlignment = 4096;
/// The longest mapping that a pool's allocator has: a smaller pool never fits one. DT-8.
inline constexpr std::uint64_t kLargestMapping = std::uint64_t{256} << 10;

/// A node that says it is a pool.
struct Pool {
  NodeIndex node = kRoot;
  std::string path;
  std::optional<std::uint64_t> base;  // none: the kernel finds a place for it
  std::uint64_t bytes = 0;            // 0 if that can't be read
  bool available = true;              // its `status`
  bool sound = true;                  // Linux makes a pool of it
};

/// A device, or the host bridge of all devices on a PCI bus, that names memory of its own.
struct User {
  NodeIndex node = kRoot;
  std::string path;
  bool host_bridge = false;         // for the devices behind it that name nothing themselves
  std::optional<std::size_t> pool;  // the one that it gets, in Report::pools
};

/// Something about the tree that a person should know.
struct Finding {
  enum class Weight : std::uint8_t {
    kRefused,  // Linux goes on without the pool, and the device is not restricted
    kNote,     // as it may be meant
  };
  Weight weight = Weight::kRefused;
  std::string rule;  // DT-1, ...
  std::string path;  // of the node
  std::string words;
};

struct Report {
  std::vector<Pool> pools;
  std::vector<User> users;
  std::vector<Finding> findings;

  /// Whether every pool is one, and everyone who names pools gets one or has an IOMMU.
  [[nodiscard]] bool sound() const;
};

/// Judges the tree as Linux does when it boots. Any tree gets a report, of 64 pools, 1024 users and
/// 256 findings at most: more of the first two is refused. DT-1, DT-2, DT-3, DT-4.
[[nodiscard]] Report inspect(const Tree& tree);

/// For each node the host bridge that it is, or is behind. DT-3.
[[nodiscard]] std::vector<std::optional<NodeIndex>> host_bridges(const Tree& tree);
/// Whether an IOMMU translates for the node, or for what is behind it. DT-4.
[[nodiscard]] bool behind_iommu(const Tree& tree, NodeIndex node);

}  // namespace airlock::dt
