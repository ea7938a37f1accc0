// SPDX-License-Identifier: Apache-2.0
//
// What a driver of a file system holds of its backend: nodes by their names, and open files. A
// backend keeps the same in its own memory, and forgets it when it dies.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "device/gateway/fuse_request.h"

namespace airlock::device {

/// Followed from the requests and their good replies alone; nobody is asked anything. What the
/// driver or the backend lies about is then wrong for the two of them: names of the kind that leave
/// a directory are not kept, and memory is bounded. One thread.
class FuseSession {
 public:
  /// How much of it is handed on.
  enum class Extent : std::uint8_t {
    kAll,   // all that has a name
    kOpen,  // open files, and the directories that lead to them
    kRoot,  // nothing but the root
  };

  /// Whether there is one: from INIT's reply to DESTROY's.
  [[nodiscard]] bool begun() const { return begun_; }
  /// What INIT's reply agreed on, as bits of both words.
  [[nodiscard]] std::uint64_t agreed() const { return agreed_; }
  /// Follows a good reply; `body` is what follows its header, and may be cut.
  void answered(const FuseRequest& request, std::span<const std::byte> body);
  void end();

  /// Whether the driver may name the node: it is the root, or one that was found and not forgotten.
  /// False also for nodes that did not fit.
  [[nodiscard]] bool knows(std::uint64_t node) const;

  /// As a stream of virtiofsd's migration (its version 1), which a process that begins takes for
  /// its own past. Ids that it gives out later are greater than any that the driver was ever told.
  /// `submounts`: whether it is told that mount points are announced.
  [[nodiscard]] std::vector<std::byte> state(Extent extent, bool submounts) const;
  /// The rest is gone: a backend knows no more than that.
  void keep(Extent extent);

 private:
  struct Place {
    std::uint64_t parent = 0;
    std::string name;
    auto operator<=>(const Place&) const = default;
  };
  struct Node {
    std::uint64_t lookups = 0;  // replies that named it
    Place place;                // the parent is 0 where it has no name any more
  };
  struct Handle {
    std::uint64_t node = 0;
    std::uint32_t flags = 0;
  };
  /// A part that hangs together: what leads to each node comes before it.
  struct Part {
    std::vector<std::uint64_t> nodes;                           // without the root
    std::unordered_map<std::uint64_t, std::uint64_t> children;  // of each that has some
  };

  void found(std::uint64_t parent, const std::string& name, std::uint64_t node);
  void opened(std::uint64_t node, std::uint64_t handle, std::uint32_t flags);
  void forget(std::uint64_t node, std::uint64_t lookups);
  void entry(const FuseRequest& request, std::span<const std::byte> body);
  void listed(const FuseRequest& request, std::span<const std::byte> body);
  void renamed(const FuseRequest& request);
  void put(std::uint64_t node, Place place);
  void unname(std::uint64_t node);
  void unname(const Place& place);
  [[nodiscard]] std::uint64_t at(const Place& place) const;
  [[nodiscard]] Part part(Extent extent) const;

  bool begun_ = false;
  std::uint64_t agreed_ = 0;
  std::uint64_t last_node_ = 0;  // the greatest ids that the driver was told
  std::uint64_t last_handle_ = 0;
  std::unordered_map<std::uint64_t, Node> nodes_;
  std::map<Place, std::uint64_t> places_;
  std::map<std::uint64_t, Handle> handles_;
};

}  // namespace airlock::device
