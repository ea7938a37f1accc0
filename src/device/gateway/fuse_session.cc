// SPDX-License-Identifier: Apache-2.0
#include "device/gateway/fuse_session.h"

#include <fcntl.h>

#include <algorithm>
#include <bit>
#include <deque>
#include <string_view>
#include <unordered_set>
#include <utility>

#include "device/gateway/virtiofsd_state.h"
#include "spec/fuse.h"
#include "wire/message.h"

namespace airlock::device {

namespace {

using vfio_user::read_struct;

// What a driver can have us remember: some 60 MB. What does not fit is stale for it after a
// restart.
constexpr std::size_t kNodesMax = std::size_t{1} << 18U;
constexpr std::size_t kHandlesMax = std::size_t{1} << 16U;

// How a file is opened again: as it was, but not made, emptied or refused for being there.
constexpr std::uint32_t kOpenedAgain =
    O_ACCMODE | O_NONBLOCK | O_DSYNC | O_SYNC | O_DIRECT | O_LARGEFILE | O_DIRECTORY | O_NOFOLLOW;

constexpr std::uint64_t kRootReferences = 2;  // that a root has from the start

/// Whether the bytes are UTF-8, of which alone strings in a stream are made.
bool is_utf8(std::string_view text) {
  // The least code that so many bytes that follow are there for.
  constexpr std::uint32_t kLeast[] = {0, 0x80, 0x800, 0x10000};
  for (std::size_t at = 0; at < text.size();) {
    const auto first = static_cast<std::uint8_t>(text[at++]);
    const int ones = std::countl_one(first);
    if (ones == 0) continue;
    if (ones == 1 || ones > 4 || text.size() - at < static_cast<std::size_t>(ones - 1))
      return false;
    std::uint32_t code = first & (0x7FU >> static_cast<unsigned>(ones));
    for (int i = 1; i < ones; ++i) {
      const auto byte = static_cast<std::uint8_t>(text[at++]);
      if ((byte & 0xC0U) != 0x80) return false;
      code = code << 6U | (byte & 0x3FU);
    }
    if (code < kLeast[ones - 1] || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000))
      return false;
  }
  return true;
}

}  // namespace

void FuseSession::end() {
  *this = {};
}

bool FuseSession::knows(std::uint64_t node) const {
  return node == spec::FUSE_ROOT_ID || nodes_.contains(node);
}

void FuseSession::answered(const FuseRequest& request, std::span<const std::byte> body) {
  switch (request.opcode) {
    case spec::FUSE_INIT:
      end();
      if (const auto out = read_struct<spec::FuseInitOut>(body)) {
        begun_ = true;
        agreed_ = std::uint64_t{out->flags2.get()} << 32U | out->flags.get();
      }
      return;
    case spec::FUSE_DESTROY:
      return end();
    case spec::FUSE_FORGET:
    case spec::FUSE_BATCH_FORGET:
      for (const auto& [node, lookups] : request.forgotten)
        forget(node, lookups);
      return;
    case spec::FUSE_UNLINK:
    case spec::FUSE_RMDIR:
      return unname(Place{.parent = request.node, .name = request.name});
    case spec::FUSE_RENAME:
    case spec::FUSE_RENAME2:
      return renamed(request);
    case spec::FUSE_OPEN:
    case spec::FUSE_OPENDIR:
      if (const auto out = read_struct<spec::FuseOpenOut>(body)) {
        const bool directory = request.opcode == spec::FUSE_OPENDIR;
        opened(request.node, out->fh.get(), request.flags | (directory ? O_DIRECTORY : 0));
      }
      return;
    case spec::FUSE_RELEASE:
    case spec::FUSE_RELEASEDIR:
      handles_.erase(request.handle);
      return;
    case spec::FUSE_READDIRPLUS:
      return listed(request, body);
    default:
      return entry(request, body);
  }
}

// Whatever finds or makes a file, and maybe opens it.
void FuseSession::entry(const FuseRequest& request, std::span<const std::byte> body) {
  if (!request.changes_session()) return;
  const auto out = read_struct<spec::FuseEntryOut>(body);
  if (!out) return;
  const std::uint64_t node = out->nodeid.get();
  found(request.node, request.name, node);
  const auto open = read_struct<spec::FuseOpenOut>(body, sizeof *out);
  const bool opens = request.opcode == spec::FUSE_CREATE || request.opcode == spec::FUSE_TMPFILE;
  if (opens && open) opened(node, open->fh.get(), request.flags);
}

void FuseSession::listed(const FuseRequest& request, std::span<const std::byte> body) {
  constexpr std::size_t kHead = sizeof(spec::FuseEntryOut) + sizeof(spec::FuseDirent);
  while (body.size() >= kHead) {
    const auto out = vfio_user::require_struct<spec::FuseEntryOut>(body);
    const auto name = vfio_user::require_struct<spec::FuseDirent>(body, sizeof out);
    const std::size_t length = name.namelen.get();
    if (length > body.size() - kHead) return;
    std::string text;
    for (const std::byte byte : body.subspan(kHead, length))
      text.push_back(static_cast<char>(byte));
    found(request.node, text, out.nodeid.get());
    const std::size_t whole =
        (kHead + length + 7) / 8 * 8;  // tidy: cannot overflow because of the check
    body = body.subspan(std::min(whole, body.size()));
  }
}

void FuseSession::found(std::uint64_t parent, const std::string& name, std::uint64_t node) {
  if (node == 0 || node == spec::FUSE_ROOT_ID) return;  // 0: there is no such file
  last_node_ = std::max(last_node_, node);
  if (nodes_.size() >= kNodesMax && !nodes_.contains(node)) return;
  ++nodes_[node].lookups;
  put(node, {.parent = parent, .name = name});
}

void FuseSession::opened(std::uint64_t node, std::uint64_t handle, std::uint32_t flags) {
  last_handle_ = std::max(last_handle_, handle);
  if (handles_.size() < kHandlesMax) {
    handles_[handle] = {.node = node, .flags = flags & kOpenedAgain};
  }
}

void FuseSession::forget(std::uint64_t node, std::uint64_t lookups) {
  const auto known = nodes_.find(node);
  if (known == nodes_.end()) return;
  known->second.lookups -= std::min(lookups, known->second.lookups);
  if (known->second.lookups != 0) return;
  unname(node);
  nodes_.erase(node);
}

// --- where nodes are ---

std::uint64_t FuseSession::at(const Place& place) const {
  const auto known = places_.find(place);
  return known == places_.end() ? 0 : known->second;
}

void FuseSession::unname(std::uint64_t node) {
  const auto known = nodes_.find(node);
  if (known == nodes_.end() || known->second.place.parent == 0) return;
  places_.erase(known->second.place);
  known->second.place = {};
}

void FuseSession::unname(const Place& place) {
  unname(at(place));
}

// Where a node has several names it is the last one that was used.
void FuseSession::put(std::uint64_t node, Place place) {
  if (at(place) == node) return;
  unname(node);
  if (!is_file_name(place.name) || !is_utf8(place.name) || !knows(place.parent)) return;
  unname(place);
  nodes_[node].place = place;
  places_.emplace(std::move(place), node);
}

void FuseSession::renamed(const FuseRequest& request) {
  const Place from{.parent = request.node, .name = request.name};
  const Place to{.parent = request.other_node, .name = request.new_name};
  const std::uint64_t moved = at(from);
  const std::uint64_t met = at(to);
  unname(moved);
  unname(met);
  if (moved != 0) put(moved, to);
  if (met != 0 && (request.flags & kFuseExchange) != 0) put(met, from);
}

// --- handing it on ---

FuseSession::Part FuseSession::part(Extent extent) const {
  Part part;
  if (extent == Extent::kRoot) return part;
  std::unordered_set<std::uint64_t> wanted;
  for (const auto& [handle, file] : handles_) {
    auto known = nodes_.find(file.node);
    while (known != nodes_.end() && wanted.insert(known->first).second)
      known = nodes_.find(known->second.place.parent);
  }
  // From the root down: each node has one place, so that nothing is met twice.
  std::deque<std::uint64_t> left{spec::FUSE_ROOT_ID};
  for (; !left.empty(); left.pop_front()) {
    const std::uint64_t parent = left.front();
    for (auto at = places_.lower_bound({.parent = parent, .name = {}});
         at != places_.end() && at->first.parent == parent; ++at) {
      if (extent == Extent::kOpen && !wanted.contains(at->second)) continue;
      part.nodes.push_back(at->second);
      ++part.children[parent];
      left.push_back(at->second);
    }
  }
  return part;
}

std::vector<std::byte> FuseSession::state(Extent extent, bool submounts) const {
  const Part kept = part(extent);
  const auto references = [&kept](std::uint64_t node, std::uint64_t own) {
    const auto children = kept.children.find(node);
    return own + (children == kept.children.end() ? 0 : children->second);
  };
  VirtiofsdState state{
      .root_references = references(spec::FUSE_ROOT_ID, kRootReferences),
      .next_inode = std::max(last_node_, spec::FUSE_ROOT_ID) + 1,
      .next_handle = last_handle_ + 1,
      .writeback = (agreed_ >> spec::FUSE_WRITEBACK_CACHE & 1) != 0,
      .announce_submounts = submounts && (agreed_ >> spec::FUSE_SUBMOUNTS & 1) != 0,
      .posix_acl = (agreed_ >> spec::FUSE_POSIX_ACL & 1) != 0,
      .supplementary_groups = (agreed_ >> spec::FUSE_CREATE_SUPP_GROUP & 1) != 0,
  };
  std::unordered_set<std::uint64_t> known{spec::FUSE_ROOT_ID};
  for (const std::uint64_t id : kept.nodes) {
    const Node& node = nodes_.at(id);
    known.insert(id);
    state.inodes.push_back({.id = id,
                            .references = references(id, node.lookups),
                            .parent = node.place.parent,
                            .name = node.place.name});
  }
  for (const auto& [id, handle] : handles_) {
    if (extent == Extent::kRoot || !known.contains(handle.node)) continue;
    state.handles.push_back({.id = id, .inode = handle.node, .flags = handle.flags});
  }
  return state.encode();
}

void FuseSession::keep(Extent extent) {
  const Part kept = part(extent);
  const std::unordered_set<std::uint64_t> known(kept.nodes.begin(), kept.nodes.end());
  std::erase_if(places_, [&known](const auto& place) { return !known.contains(place.second); });
  std::erase_if(nodes_, [&known](const auto& node) { return !known.contains(node.first); });
  std::erase_if(handles_, [this, extent](const auto& handle) {
    return extent == Extent::kRoot || !knows(handle.second.node);
  });
}

}  // namespace airlock::device
