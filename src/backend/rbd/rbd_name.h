// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <expected>
#include <string>
#include <string_view>
#include <vector>

namespace airlock::backend {

/// Which image of a Ceph cluster is meant.
struct RbdName {
  // NOLINTBEGIN(readability-redundant-member-init): GCC wants them, to be left out where not used
  std::string pool = {};
  std::string image = {};
  std::string snapshot = {};  // empty: the image itself
  std::string conf = {};      // the cluster's file; empty: where Ceph looks for it
  std::string id = {};        // the user, without "client."; empty: admin
  // NOLINTEND(readability-redundant-member-init)

  friend bool operator==(const RbdName&, const RbdName&) = default;

  /// As settings of our plugin: "pool=rbd", ...
  [[nodiscard]] std::vector<std::string> settings() const;
};

/// Reads POOL/IMAGE[@SNAP][,conf=FILE][,id=USER]. Errors: why it is none, for a person.
[[nodiscard]] std::expected<RbdName, std::string> parse_rbd_name(std::string_view text);

}  // namespace airlock::backend
