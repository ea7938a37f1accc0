// SPDX-License-Identifier: Apache-2.0
#include "backend/rbd/rbd_name.h"

#include <algorithm>

#include <fmt/core.h>

namespace airlock::backend {

std::vector<std::string> RbdName::settings() const {
  std::vector<std::string> all{"pool=" + pool, "image=" + image};
  if (!snapshot.empty()) all.push_back("snapshot=" + snapshot);
  if (!conf.empty()) all.push_back("conf=" + conf);
  if (!id.empty()) all.push_back("id=" + id);
  return all;
}

std::expected<RbdName, std::string> parse_rbd_name(std::string_view text) {
  RbdName name;
  std::size_t comma = text.find(',');
  std::string_view rest = comma == std::string_view::npos ? "" : text.substr(comma + 1);
  text = text.substr(0, comma);
  const std::size_t slash = text.find('/');
  if (slash == std::string_view::npos) return std::unexpected("it is not POOL/IMAGE");
  name.pool = text.substr(0, slash);
  text.remove_prefix(slash + 1);
  const std::size_t at = text.find('@');
  name.image = text.substr(0, at);
  if (at != std::string_view::npos) name.snapshot = text.substr(at + 1);
  if (name.pool.empty() || name.image.empty() || name.image.find('/') != std::string::npos ||
      (at != std::string_view::npos && name.snapshot.empty())) {
    return std::unexpected("it is not POOL/IMAGE[@SNAP]");
  }
  while (!rest.empty()) {
    comma = rest.find(',');
    const std::string_view option = rest.substr(0, comma);
    rest = comma == std::string_view::npos ? "" : rest.substr(comma + 1);
    if (option.starts_with("conf=") && option.size() > 5) {
      name.conf = option.substr(5);
    } else if (option.starts_with("id=") && option.size() > 3) {
      name.id = option.substr(3);
    } else {
      return std::unexpected(fmt::format("there is no '{}', only conf=FILE and id=USER", option));
    }
  }
  return name;
}

}  // namespace airlock::backend
