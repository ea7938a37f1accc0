// SPDX-License-Identifier: Apache-2.0
#include "dt/tree.h"

#include <libfdt.h>

#include <algorithm>
#include <array>
#include <utility>

#include <fmt/core.h>

namespace airlock::dt {

namespace {

constexpr int kVersion = 17;
constexpr std::size_t kCellBytes = 4;
// More than two cells are a number of no machine's.
constexpr std::uint32_t kNumberCellsMax = 2;
constexpr int kNodeNameMax = 255;  // the specification has 31
constexpr std::uint32_t kPhandleMax = 0xfffffffe;

std::uint32_t cell_at(std::span<const std::byte> bytes, std::size_t index) {
  std::uint32_t value = 0;
  for (const std::byte byte : bytes.subspan(index * kCellBytes, kCellBytes)) {
    value = value << 8 | std::to_integer<std::uint32_t>(byte);
  }
  return value;
}

/// The number in so many cells; nothing if there are more than a number has.
std::optional<std::uint64_t> number_at(std::span<const std::uint32_t> cells, std::uint32_t count) {
  if (count > kNumberCellsMax) return std::nullopt;
  std::uint64_t value = 0;
  for (const std::uint32_t cell : cells.first(count))
    value = value << 32 | cell;
  return value;
}

std::string_view as_text(std::span<const std::byte> bytes) {
  // tidy: allow cast because text is bytes.
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// The version in its header; nothing if it has none.
std::optional<std::uint32_t> format_of(const std::vector<std::byte>& blob) {
  if (blob.size() < sizeof(fdt_header) || fdt_magic(blob.data()) != FDT_MAGIC) return std::nullopt;
  return fdt_version(blob.data());
}

}  // namespace

std::expected<Tree, std::string> Tree::parse(std::span<const std::byte> blob) {
  if (blob.size() > kBytesMax) {
    return std::unexpected(fmt::format("{} bytes are more than any kernel reads", blob.size()));
  }
  Tree tree;
  tree.blob_.assign(blob.begin(), blob.end());
  const void* const fdt = tree.blob_.data();
  // First: of older formats libfdt 1.6.1 follows a null pointer where the root has no name.
  if (const auto version = format_of(tree.blob_); version && *version < kVersion) {
    return std::unexpected(fmt::format("format {}, older than {}", *version, kVersion));
  }
  if (const int bad = fdt_check_full(fdt, tree.blob_.size()); bad != 0) {
    return std::unexpected(fmt::format("no device tree: {}", fdt_strerror(bad)));
  }
  tree.blob_.resize(fdt_totalsize(fdt));
  if (auto bad = tree.find_nodes()) return std::unexpected(std::move(*bad));
  tree.find_phandles();
  return tree;
}

std::optional<std::string> Tree::find_nodes() {
  std::array<NodeIndex, kDepthMax> path{};  // the node we are in, at each depth
  int depth = -1;
  for (int at = fdt_next_node(blob_.data(), -1, &depth); at >= 0 && depth >= 0;
       at = fdt_next_node(blob_.data(), at, &depth)) {
    if (nodes_.empty() && at != 0) return "no device tree: the root is not where it belongs";
    if (!nodes_.empty() && depth == 0) return "no device tree: two roots";
    const auto deep = static_cast<std::size_t>(depth);
    if (deep >= kDepthMax) return fmt::format("nodes more than {} deep", kDepthMax);
    if (nodes_.size() >= kNodesMax) return fmt::format("more than {} nodes", kNodesMax);
    int length = 0;
    const char* const name = fdt_get_name(blob_.data(), at, &length);
    if (name == nullptr || length < 0) return "no device tree: a node without a name";
    if (length > kNodeNameMax) {
      return fmt::format("a node's name of more than {} bytes", kNodeNameMax);
    }
    path.at(deep) = nodes_.size();
    nodes_.push_back({.offset = at,
                      .parent = deep == 0 ? kRoot : path.at(deep - 1),
                      .name = {name, static_cast<std::size_t>(length)}});
  }
  if (nodes_.empty()) return "no device tree: not one node";
  return std::nullopt;
}

void Tree::find_phandles() {
  for (NodeIndex node = 0; node < nodes_.size(); ++node) {
    auto handle = cells(node, "phandle");
    if (!handle) handle = cells(node, "linux,phandle");
    // The first of two that claim one has it, as in Linux.
    if (handle && handle->size() == 1) phandles_.emplace(handle->front(), node);
  }
}

std::string Tree::path(NodeIndex node) const {
  if (node == kRoot) return "/";
  std::string path;
  for (; node != kRoot; node = nodes_[node].parent) {
    path.insert(0, fmt::format("/{}", nodes_[node].name));
  }
  return path;
}

std::optional<NodeIndex> Tree::find(std::string_view path) const {
  for (NodeIndex node = 0; node < nodes_.size(); ++node) {
    // A path ends with its node's name, so few are built.
    if (node != kRoot && !path.ends_with(nodes_[node].name)) continue;
    if (this->path(node) == path) return node;
  }
  return std::nullopt;
}

std::optional<NodeIndex> Tree::by_phandle(std::uint32_t phandle) const {
  const auto found = phandles_.find(phandle);
  if (found == phandles_.end()) return std::nullopt;
  return found->second;
}

std::optional<std::uint32_t> Tree::new_phandle() const {
  const std::uint32_t last = phandles_.empty() ? 0 : phandles_.rbegin()->first;
  if (last >= kPhandleMax) return std::nullopt;
  return last + 1;
}

std::optional<std::span<const std::byte>> Tree::property(NodeIndex node, const char* name) const {
  int length = 0;
  const void* const data = fdt_getprop(blob_.data(), nodes_[node].offset, name, &length);
  if (data == nullptr || length < 0) return std::nullopt;
  return std::span(static_cast<const std::byte*>(data), static_cast<std::size_t>(length));
}

std::optional<std::string_view> Tree::word(NodeIndex node, const char* name) const {
  const auto bytes = property(node, name);
  if (!bytes) return std::nullopt;
  const std::string_view text = as_text(*bytes);
  const std::size_t end = text.find('\0');
  if (end == std::string_view::npos) return std::nullopt;
  return text.substr(0, end);
}

std::optional<std::vector<std::uint32_t>> Tree::cells(NodeIndex node, const char* name) const {
  const auto bytes = property(node, name);
  if (!bytes || bytes->size() % kCellBytes != 0) return std::nullopt;
  std::vector<std::uint32_t> all(bytes->size() / kCellBytes);
  for (std::size_t i = 0; i < all.size(); ++i)
    all[i] = cell_at(*bytes, i);
  return all;
}

bool Tree::compatible(NodeIndex node, std::string_view with) const {
  const auto bytes = property(node, "compatible");
  if (!bytes) return false;
  std::string_view rest = as_text(*bytes);
  for (std::size_t end = rest.find('\0'); end != std::string_view::npos; end = rest.find('\0')) {
    if (rest.substr(0, end) == with) return true;
    rest.remove_prefix(end + 1);
  }
  return false;
}

bool Tree::available(NodeIndex node) const {
  if (!has(node, "status")) return true;
  const auto status = word(node, "status");
  return status == "okay" || status == "ok";
}

CellCounts Tree::cell_counts(NodeIndex node) const {
  CellCounts counts;
  const auto read = [&](const char* name, std::uint32_t& count) {
    const auto said = cells(node, name);
    if (said && !said->empty()) count = said->front();
  };
  read("#address-cells", counts.address);
  read("#size-cells", counts.size);
  return counts;
}

std::optional<std::vector<Range>> Tree::ranges(NodeIndex node, const char* name) const {
  const auto all = cells(node, name);
  const CellCounts counts = cell_counts(parent(node));
  if (!all || counts.address > kNumberCellsMax || counts.size > kNumberCellsMax) {
    return std::nullopt;
  }
  const std::size_t entry = std::size_t{counts.address} + counts.size;
  if (entry == 0 || all->size() % entry != 0) return std::nullopt;
  std::vector<Range> found;
  for (std::span<const std::uint32_t> rest(*all); !rest.empty(); rest = rest.subspan(entry)) {
    const auto first = number_at(rest, counts.address);
    const auto bytes = number_at(rest.subspan(counts.address), counts.size);
    if (!first || !bytes) return std::nullopt;
    found.push_back({.first = *first, .bytes = *bytes});
  }
  return found;
}

std::vector<Range> Tree::reservations() const {
  std::vector<Range> all;
  const int count = fdt_num_mem_rsv(blob_.data());
  for (int i = 0; i < count; ++i) {
    Range range;
    if (fdt_get_mem_rsv(blob_.data(), i, &range.first, &range.bytes) == 0) all.push_back(range);
  }
  return all;
}

}  // namespace airlock::dt
