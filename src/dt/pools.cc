// SPDX-License-Identifier: Apache-2.0
#include "dt/pools.h"

#include <algorithm>
#include <array>
#include <utility>

#include <fmt/core.h>

#include "base/checked.h"
#include "base/size.h"
#include "core/range.h"

namespace airlock::dt {

namespace {

constexpr std::size_t kPoolsMax = 64;
// What one device may name, before it is a mistake.
constexpr std::size_t kRegionsMax = 64;
// Trees of people have a handful of either.
constexpr std::size_t kUsersMax = 1024;
constexpr std::size_t kFindingsMax = 256;

using Weight = Finding::Weight;

/// Builds the report, in the order in which Linux looks.
class Inspector {
 public:
  explicit Inspector(const Tree& tree) : tree_(tree), bridges_(host_bridges(tree)) {}

  Report inspect() {
    reserved_ = tree_.find(kReservedMemory);
    collect_memory();
    if (reserved_) collect_pools(*reserved_);
    for (NodeIndex node = 0; node < tree_.node_count(); ++node)
      look_at_user(node);
    return std::move(report_);
  }

 private:
  void find(Weight weight, const char* rule, NodeIndex node, std::string words) {
    if (weight == Weight::kRefused) ++refused_;
    if (report_.findings.size() == kFindingsMax) return;  // the first say enough
    report_.findings.push_back(
        {.weight = weight, .rule = rule, .path = tree_.path(node), .words = std::move(words)});
  }

  /// RAM, where the tree says where it is: in order, and what adjoins is one.
  void collect_memory() {
    for (NodeIndex node = 0; node < tree_.node_count(); ++node) {
      if (tree_.parent(node) != kRoot || tree_.word(node, "device_type") != "memory") continue;
      for (const Range& range : tree_.ranges(node, "reg").value_or(std::vector<Range>())) {
        if (airlock_is_range(range.first, range.bytes)) memory_.push_back(range);
      }
    }
    std::ranges::sort(memory_, {}, &Range::first);
    std::vector<Range> joined;
    for (const Range& range : memory_) {
      if (!joined.empty() && range.first - joined.back().first <= joined.back().bytes) {
        const std::uint64_t gap = range.first - joined.back().first;
        const auto bytes = checked_add(gap, range.bytes).value_or(~std::uint64_t{0});
        joined.back().bytes = std::max(joined.back().bytes, bytes);
      } else {
        joined.push_back(range);
      }
    }
    memory_ = std::move(joined);
  }

  void collect_pools(NodeIndex reserved) {
    const bool sound = check_reserved_memory(reserved);
    for (NodeIndex node = 0; node < tree_.node_count(); ++node) {
      if (node == kRoot || tree_.parent(node) != reserved) continue;
      if (!tree_.compatible(node, kPoolCompatible)) continue;
      if (report_.pools.size() == kPoolsMax) {
        find(Weight::kRefused, "DT-1", node,
             fmt::format("more than {} pools: it and those after it are not looked at", kPoolsMax));
        return;
      }
      report_.pools.push_back(look_at_pool(node, sound));
    }
  }

  /// Linux leaves all of it alone unless it is like the root.
  bool check_reserved_memory(NodeIndex reserved) {
    const CellCounts root = tree_.cell_counts(kRoot);
    const bool cells = tree_.has(reserved, "#address-cells") && tree_.has(reserved, "#size-cells");
    if (cells && tree_.cell_counts(reserved) == root && tree_.has(reserved, "ranges")) return true;
    find(Weight::kRefused, "DT-1", reserved,
         fmt::format("it needs `ranges`, #address-cells {} and #size-cells {}, as the root has",
                     root.address, root.size));
    return false;
  }

  Pool look_at_pool(NodeIndex node, bool sound) {
    Pool pool{.node = node, .path = tree_.path(node), .base = {}, .sound = sound};
    pool.available = tree_.available(node);
    const std::size_t before = refused_;
    for (const char* name : {"no-map", "reusable"}) {
      if (!tree_.has(node, name)) continue;
      find(Weight::kRefused, "DT-1", node,
           fmt::format("`{}`: a pool is memory that the system itself maps, and keeps", name));
    }
    for (const char* name : {"linux,cma-default", "linux,dma-default"}) {
      if (!tree_.has(node, name)) continue;
      find(Weight::kRefused, "DT-2", node, fmt::format("`{}`: no pool is everybody's", name));
    }
    place(pool);
    pool.sound = pool.sound && refused_ == before;
    if (!pool.available) find(Weight::kNote, "DT-3", node, "its status keeps it from everybody");
    if (pool.sound && pool.bytes < kLargestMapping) {
      find(Weight::kNote, "DT-8", node,
           fmt::format("{} are less than one mapping may need, {}", format_size(pool.bytes),
                       format_size(kLargestMapping)));
    }
    return pool;
  }

  /// Where the pool is: fixed by `reg`, or left to the kernel by `size`.
  void place(Pool& pool) {
    if (!tree_.has(pool.node, "reg")) return size_alone(pool);
    const auto ranges = tree_.ranges(pool.node, "reg");
    if (!ranges || ranges->empty()) {
      return find(Weight::kRefused, "DT-1", pool.node, "`reg` is no address and size");
    }
    pool.base = ranges->front().first;
    pool.bytes = ranges->front().bytes;
    if (ranges->size() > 1) {
      find(Weight::kRefused, "DT-1", pool.node, "`reg` has more than one range: a pool is one");
    }
    if (!airlock_is_range(*pool.base, pool.bytes)) {
      return find(Weight::kRefused, "DT-1", pool.node, "its range is empty, or wraps");
    }
    check_alignment(pool);
    check_place(pool, {.first = *pool.base, .bytes = pool.bytes});
  }

  void size_alone(Pool& pool) {
    const auto size = tree_.cells(pool.node, "size");
    const std::uint32_t count = tree_.cell_counts(kRoot).size;
    if (!size || size->size() != count || count == 0 || count > 2) {
      return find(Weight::kRefused, "DT-1", pool.node, "neither `reg` nor `size` can be read");
    }
    for (const std::uint32_t cell : *size)
      pool.bytes = pool.bytes << 32 | cell;
    if (pool.bytes == 0) return find(Weight::kRefused, "DT-1", pool.node, "its size is 0");
    check_alignment(pool);
  }

  void check_alignment(const Pool& pool) {
    const std::uint64_t base = pool.base.value_or(0);
    if (airlock_is_aligned(base, kPoolAlignment) && airlock_is_aligned(pool.bytes, kPoolAlignment))
      return;
    find(Weight::kRefused, "DEF-4", pool.node,
         fmt::format("address or size is no multiple of {}", kPoolAlignment));
  }

  void check_place(const Pool& pool, const Range& at) {
    const auto holds = [&](const Range& memory) {
      return airlock_range_inside(at.first, at.bytes, memory.first, memory.bytes);
    };
    if (!memory_.empty() && std::ranges::none_of(memory_, holds)) {
      find(Weight::kRefused, "DT-1", pool.node, "not in the memory that the tree describes");
    }
    const auto meets = [&](const Range& other) {
      return airlock_is_range(other.first, other.bytes) &&
             airlock_ranges_overlap(at.first, at.bytes, other.first, other.bytes);
    };
    for (const Range& other : tree_.reservations()) {
      if (!meets(other)) continue;
      return find(Weight::kRefused, "DT-1", pool.node, "the blob's header reserves some of it");
    }
    for (NodeIndex node = 0; node < tree_.node_count(); ++node) {
      if (node == pool.node || node == kRoot || tree_.parent(node) != reserved_) continue;
      const auto others = tree_.ranges(node, "reg");
      if (!others || std::ranges::none_of(*others, meets)) continue;
      return find(Weight::kRefused, "DT-1", pool.node,
                  fmt::format("it overlaps {}", tree_.path(node)));
    }
  }

  // --- users: of_dma_set_restricted_buffer() ---

  void look_at_user(NodeIndex node) {
    if (reserved_ && (node == *reserved_ || tree_.parent(node) == *reserved_)) return;
    const auto named = tree_.cells(node, "memory-region");
    // Without one of its own, a device has what its host bridge has, which is said there.
    if (!named || named->empty()) return;
    if (named->size() > kRegionsMax) {
      return find(Weight::kRefused, "DT-3", node,
                  fmt::format("`memory-region` has more than {} entries", kRegionsMax));
    }
    User user{
        .node = node, .path = tree_.path(node), .host_bridge = bridges_[node] == node, .pool = {}};
    bool wants_pool = false;
    for (const std::uint32_t phandle : *named)
      wants_pool = look_at_region(user, phandle) || wants_pool;
    if (!wants_pool) return look_at_fallback(user);
    if (user.pool && !report_.pools[*user.pool].sound) user.pool.reset();
    if (behind_iommu(tree_, node)) {
      user.pool.reset();
      find(Weight::kNote, "DT-4", node, "behind an IOMMU: the pool that it names is not used");
    } else if (!user.pool) {
      find(Weight::kRefused, "DT-3", node,
           "none of its `memory-region` is a pool that can be had: it would reach all memory");
    }
    if (report_.users.size() == kUsersMax) {
      return find(Weight::kRefused, "DT-3", node, fmt::format("more than {} users", kUsersMax));
    }
    report_.users.push_back(std::move(user));
  }

  /// One entry of `memory-region`; whether it says that it is a pool.
  bool look_at_region(User& user, std::uint32_t phandle) {
    const auto target = tree_.by_phandle(phandle);
    if (!target) {
      find(Weight::kRefused, "DT-3", user.node,
           fmt::format("`memory-region` names {:#x}, and no node has that phandle", phandle));
      return false;
    }
    if (!tree_.compatible(*target, kPoolCompatible)) return false;
    const auto pool = std::ranges::find(report_.pools, *target, &Pool::node);
    if (pool == report_.pools.end()) {
      find(Weight::kRefused, "DT-1", user.node,
           fmt::format("{} is no child of {}: nobody makes a pool of it", tree_.path(*target),
                       kReservedMemory));
      return true;
    }
    if (!pool->available) return true;  // passed over
    if (user.pool) {
      find(Weight::kNote, "DT-3", user.node,
           fmt::format("{} is not used: a device has one pool, the first", pool->path));
      return true;
    }
    user.pool = static_cast<std::size_t>(pool - report_.pools.begin());
    return true;
  }

  /// A device on a PCI bus with memory of its own that is no pool: Linux looks no further.
  void look_at_fallback(const User& user) {
    const auto bridge = bridges_[user.node];
    if (!bridge || *bridge == user.node || !tree_.has(*bridge, "memory-region")) return;
    find(Weight::kNote, "DT-3", user.node,
         fmt::format("it names memory that is no pool, and so does not get that of {}",
                     tree_.path(*bridge)));
  }

  const Tree& tree_;
  std::vector<std::optional<NodeIndex>> bridges_;
  std::optional<NodeIndex> reserved_;
  std::vector<Range> memory_;
  std::size_t refused_ = 0;
  Report report_;
};

}  // namespace

bool Report::sound() const {
  return std::ranges::none_of(findings,
                              [](const Finding& one) { return one.weight == Weight::kRefused; });
}

Report inspect(const Tree& tree) {
  return Inspector(tree).inspect();
}

std::vector<std::optional<NodeIndex>> host_bridges(const Tree& tree) {
  std::vector<std::optional<NodeIndex>> bridges(tree.node_count());
  for (NodeIndex node = 0; node < bridges.size(); ++node) {
    if (node != kRoot) bridges[node] = bridges[tree.parent(node)];
    if (!bridges[node] && tree.word(node, "device_type") == "pci") bridges[node] = node;
  }
  return bridges;
}

bool behind_iommu(const Tree& tree, NodeIndex node) {
  // `iommu-map` is a table of (from, IOMMU, to, count); `iommus` begins with the IOMMU.
  for (const auto& [name, place] : {std::pair("iommus", 0U), std::pair("iommu-map", 1U)}) {
    const auto cells = tree.cells(node, name);
    if (!cells || cells->size() <= place) continue;
    const auto iommu = tree.by_phandle((*cells)[place]);
    if (iommu && tree.available(*iommu)) return true;
  }
  return false;
}

}  // namespace airlock::dt
