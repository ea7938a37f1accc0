// SPDX-License-Identifier: Apache-2.0
//
// A device tree as firmware and VMMs hand it to a kernel: a blob of anybody's, judged once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace airlock::dt {

/// One node, by its place in the tree: 0 is the root, and a parent comes before its children.
using NodeIndex = std::size_t;
inline constexpr NodeIndex kRoot = 0;

/// Bytes of guest memory, as the tree says: it may be empty, or wrap.
struct Range {
  std::uint64_t first = 0;
  std::uint64_t bytes = 0;

  friend bool operator==(const Range&, const Range&) = default;
};

/// How many 32-bit cells an address and a size have in the `reg` of a node's children.
struct CellCounts {
  std::uint32_t address = 2;
  std::uint32_t size = 1;

  friend bool operator==(const CellCounts&, const CellCounts&) = default;
};

/// A blob that keeps the format, version 17, with its nodes found. Immutable; any thread.
class Tree {
 public:
  static constexpr std::size_t kBytesMax = std::size_t{2} << 20;  // Linux maps no more either
  static constexpr std::size_t kNodesMax = 16384;
  static constexpr std::size_t kDepthMax = 64;  // as in Linux

  /// Copies `blob` and judges it; what follows its last byte is left out. Errors: why it is no
  /// device tree, in words.
  [[nodiscard]] static std::expected<Tree, std::string> parse(std::span<const std::byte> blob);

  [[nodiscard]] std::span<const std::byte> blob() const { return blob_; }
  [[nodiscard]] std::size_t node_count() const { return nodes_.size(); }
  /// Where libfdt finds the node in blob().
  [[nodiscard]] int offset(NodeIndex node) const { return nodes_[node].offset; }
  /// Of the root: itself.
  [[nodiscard]] NodeIndex parent(NodeIndex node) const { return nodes_[node].parent; }
  [[nodiscard]] std::string_view name(NodeIndex node) const { return nodes_[node].name; }
  [[nodiscard]] std::string path(NodeIndex node) const;

  /// The node of exactly this path ("/pcie@10000000").
  [[nodiscard]] std::optional<NodeIndex> find(std::string_view path) const;
  [[nodiscard]] std::optional<NodeIndex> by_phandle(std::uint32_t phandle) const;
  /// A phandle above all that there are. Errors: nothing, if there is none.
  [[nodiscard]] std::optional<std::uint32_t> new_phandle() const;

  /// The property's bytes.
  [[nodiscard]] std::optional<std::span<const std::byte>> property(NodeIndex node,
                                                                   const char* name) const;
  [[nodiscard]] bool has(NodeIndex node, const char* name) const {
    return property(node, name).has_value();
  }
  /// The property's first word, without its NUL; nothing where there is none that ends.
  [[nodiscard]] std::optional<std::string_view> word(NodeIndex node, const char* name) const;
  /// The property as 32-bit cells; nothing where there is none, or its size is no multiple of four.
  [[nodiscard]] std::optional<std::vector<std::uint32_t>> cells(NodeIndex node,
                                                                const char* name) const;
  [[nodiscard]] bool compatible(NodeIndex node, std::string_view with) const;
  /// No `status`, or one of the two that say so: as Linux reads it.
  [[nodiscard]] bool available(NodeIndex node) const;

  /// What the node says of its children; what it leaves out is as the specification has it.
  [[nodiscard]] CellCounts cell_counts(NodeIndex node) const;
  /// The ranges of a property such as `reg`, in its parent's cells. Nothing: there is no such
  /// property, its size is no multiple of an entry's, or a number does not fit 64 bits.
  [[nodiscard]] std::optional<std::vector<Range>> ranges(NodeIndex node, const char* name) const;
  /// What the blob's header keeps out of use, as pairs of address and size.
  [[nodiscard]] std::vector<Range> reservations() const;

 private:
  struct Node {
    int offset = 0;
    NodeIndex parent = kRoot;
    std::string_view name;  // in blob_
  };

  Tree() = default;
  std::optional<std::string> find_nodes();
  void find_phandles();

  std::vector<std::byte> blob_;
  std::vector<Node> nodes_;
  std::map<std::uint32_t, NodeIndex> phandles_;
};

}  // namespace airlock::dt
