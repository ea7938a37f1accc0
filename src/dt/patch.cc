// SPDX-License-Identifier: Apache-2.0
#include "dt/patch.h"

#include <libfdt.h>

#include <algorithm>
#include <optional>
#include <ranges>
#include <utility>

#include <fmt/core.h>

#include "core/range.h"
#include "dt/pools.h"

namespace airlock::dt {

namespace {

// What a pool and its node take, with room to spare; each user takes a property.
constexpr std::size_t kRoomOfPool = 1024;
constexpr std::size_t kRoomOfUser = 64;
constexpr std::size_t kPoolNameMax = 31;  // of a node, without its address
constexpr std::string_view kNameBytes =
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789,._+-";

using Users = std::vector<NodeIndex>;
using Outcome = std::expected<void, std::string>;

std::unexpected<std::string> no(std::string why) {
  return std::unexpected(std::move(why));
}

Outcome check_request(const Tree& tree, const PoolRequest& request) {
  if (request.name.empty() || request.name.size() > kPoolNameMax ||
      request.name.find_first_not_of(kNameBytes) != std::string::npos) {
    return no(fmt::format("'{}' is no name of a node", request.name));
  }
  if (!airlock_is_range(request.base, request.bytes)) {
    return no("the pool is empty, or ends behind the last address");
  }
  if (!airlock_is_aligned(request.base, kPoolAlignment) ||
      !airlock_is_aligned(request.bytes, kPoolAlignment)) {
    return no(fmt::format("address and size have to be multiples of {}", kPoolAlignment));
  }
  const CellCounts root = tree.cell_counts(kRoot);
  const auto fits = [](std::uint32_t cells, std::uint64_t number) {
    return cells == 2 || (cells == 1 && number >> 32 == 0);
  };
  if (!fits(root.address, request.base) || !fits(root.size, request.bytes)) {
    return no(fmt::format("the tree's numbers have {} and {} cells: the pool does not fit",
                          root.address, root.size));
  }
  return {};
}

std::expected<NodeIndex, std::string> only_host_bridge(const Tree& tree) {
  std::optional<NodeIndex> found;
  const auto bridges = host_bridges(tree);
  for (NodeIndex node = 0; node < bridges.size(); ++node) {
    if (bridges[node] != node) continue;
    if (found) return no("the tree has several PCI host bridges: name one by its path");
    found = node;
  }
  if (!found) return no("the tree has no PCI host bridge");
  return *found;
}

/// Whether Linux would look at the pool at all for this one.
Outcome check_user(const Tree& tree, NodeIndex user) {
  if (user == kRoot) return no("/ is no device");
  if (behind_iommu(tree, user)) {
    return no(
        fmt::format("{} is behind an IOMMU: the pool would not be used (DT-4)", tree.path(user)));
  }
  if (!tree.has(user, "memory-region")) return {};
  const auto regions = tree.cells(user, "memory-region");
  if (!regions) return no(fmt::format("{} has a malformed `memory-region`", tree.path(user)));
  for (const std::uint32_t phandle : *regions) {
    const auto target = tree.by_phandle(phandle);
    if (!target || !tree.compatible(*target, kPoolCompatible)) continue;
    return no(fmt::format("{} has a pool already, {} (DT-3)", tree.path(user), tree.path(*target)));
  }
  return {};
}

std::expected<Users, std::string> users_of(const Tree& tree, const PoolRequest& request) {
  Users users;
  for (const std::string& path : request.nodes) {
    const auto node = tree.find(path);
    if (!node) return no(fmt::format("the tree has no node {}", path));
    users.push_back(*node);
  }
  if (request.host_bridge) {
    auto bridge = only_host_bridge(tree);
    if (!bridge) return std::unexpected(bridge.error());
    users.push_back(*bridge);
  }
  if (users.empty()) return no("nobody is to use the pool");
  std::ranges::sort(users);
  const auto again = std::ranges::unique(users);
  users.erase(again.begin(), again.end());
  for (const NodeIndex user : users) {
    if (auto good = check_user(tree, user); !good) return std::unexpected(good.error());
  }
  return users;
}

/// Writes into a copy that has room. What is changed first is what stands last, so that the places
/// which the tree knows stay right.
class Writer {
 public:
  Writer(const Tree& tree, std::size_t room) : tree_(tree), blob_(tree.blob().size() + room) {
    note(fdt_open_into(tree.blob().data(), blob_.data(), static_cast<int>(blob_.size())));
  }

  void add_region(NodeIndex user, std::uint32_t phandle) {
    note(fdt_appendprop_u32(blob_.data(), tree_.offset(user), "memory-region", phandle));
  }

  /// `reserved`: where /reserved-memory is, if it is.
  void add_pool(std::optional<NodeIndex> reserved, const PoolRequest& request,
                std::uint32_t phandle) {
    const int parent = reserved ? tree_.offset(*reserved) : add_reserved_memory();
    const std::string name = fmt::format("{}@{:x}", request.name, request.base);
    const int node = note(fdt_add_subnode(blob_.data(), parent, name.c_str()));
    const CellCounts root = tree_.cell_counts(kRoot);
    set(node, "phandle", phandle, 1);
    set(node, "reg", request.base, root.address);
    set(node, "reg", request.bytes, root.size);
    note(fdt_setprop_string(blob_.data(), at(node), "compatible", kPoolCompatible));
  }

  std::expected<std::vector<std::byte>, std::string> finish() {
    if (error_ == 0) note(fdt_pack(blob_.data()));
    if (error_ != 0) return no(fmt::format("the tree can't be changed: {}", fdt_strerror(error_)));
    blob_.resize(fdt_totalsize(blob_.data()));
    return std::move(blob_);
  }

 private:
  /// The first error stays; what comes after it changes nothing that is returned.
  int note(int result) {
    if (result < 0 && error_ == 0) error_ = result;
    return result;
  }
  static int at(int node) { return std::max(node, 0); }

  void set(int node, const char* name, std::uint64_t value, std::uint32_t cells) {
    if (error_ != 0) return;
    note(cells == 2
             ? fdt_appendprop_u64(blob_.data(), node, name, value)
             : fdt_appendprop_u32(blob_.data(), node, name, static_cast<std::uint32_t>(value)));
  }

  int add_reserved_memory() {
    const int node = note(fdt_add_subnode(blob_.data(), 0, kReservedMemory + 1));
    const CellCounts root = tree_.cell_counts(kRoot);
    if (error_ == 0) note(fdt_setprop_empty(blob_.data(), node, "ranges"));
    set(node, "#size-cells", root.size, 1);
    set(node, "#address-cells", root.address, 1);
    return at(node);
  }

  const Tree& tree_;
  std::vector<std::byte> blob_;
  int error_ = 0;
};

/// Whether the tree does what was asked for, as Linux will see it.
Outcome check_result(const Tree& made, const std::string& pool, const Users& users,
                     const Tree& before) {
  const Report report = inspect(made);
  const auto why = [&](const std::string& path) {
    const auto found = std::ranges::find_if(report.findings, [&](const Finding& one) {
      return one.weight == Finding::Weight::kRefused &&
             (one.path == path || one.path == kReservedMemory);
    });
    return found == report.findings.end()
               ? std::string("it would not be used")
               : fmt::format("{}: {} ({})", found->path, found->words, found->rule);
  };
  const auto entry = std::ranges::find(report.pools, pool, &Pool::path);
  if (entry == report.pools.end() || !entry->sound) return no(why(pool));
  for (const NodeIndex user : users) {
    const std::string path = before.path(user);
    const auto found = std::ranges::find(report.users, path, &User::path);
    const auto given = found == report.users.end() ? std::nullopt : found->pool;
    if (!given || report.pools[*given].path != pool) return no(why(path));
  }
  return {};
}

}  // namespace

std::expected<std::vector<std::byte>, std::string> add_pool(const Tree& tree,
                                                            const PoolRequest& request) {
  if (auto good = check_request(tree, request); !good) return no(good.error());
  const auto users = users_of(tree, request);
  if (!users) return no(users.error());
  const auto phandle = tree.new_phandle();
  if (!phandle) return no("the tree has no phandle left");
  const auto reserved = tree.find(kReservedMemory);

  Writer writer(tree, kRoomOfPool + users->size() * kRoomOfUser);
  // From the last node to the first: see Writer.
  bool pool_added = false;
  for (const NodeIndex user : std::views::reverse(*users)) {
    if (!pool_added && reserved && user < *reserved) {
      writer.add_pool(reserved, request, *phandle);
      pool_added = true;
    }
    writer.add_region(user, *phandle);
  }
  if (!pool_added) writer.add_pool(reserved, request, *phandle);
  auto made = writer.finish();
  if (!made) return made;

  const auto again = Tree::parse(*made);
  if (!again) return no(again.error());
  const std::string path = fmt::format("{}/{}@{:x}", kReservedMemory, request.name, request.base);
  if (auto good = check_result(*again, path, *users, tree); !good) return no(good.error());
  return made;
}

}  // namespace airlock::dt
