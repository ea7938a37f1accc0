// SPDX-License-Identifier: Apache-2.0
//
// Goal: no blob makes the reader leave it, run long or report without bound; and what add_pool()
// writes is a tree in which inspect() gives the pool to whom it was asked for.
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/check.h"
#include "dt/patch.h"
#include "dt/pools.h"

namespace {

using namespace airlock::dt;

constexpr std::uint64_t kBase = 0x50000000;
constexpr std::uint64_t kBytes = 0x100000;

void patch(const Tree& tree, const PoolRequest& request) {
  const auto made = add_pool(tree, request);
  if (!made) {
    CHECK(!made.error().empty());
    return;
  }
  const auto again = Tree::parse(*made);
  CHECK(again.has_value());
  const Report report = inspect(*again);
  bool found = false;
  for (const Pool& pool : report.pools)
    found = found || (pool.base == kBase && pool.bytes == kBytes && pool.sound);
  CHECK(found);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto tree = Tree::parse(std::as_bytes(std::span(data, size)));
  if (!tree) {
    CHECK(!tree.error().empty());
    return 0;
  }
  const Report report = inspect(*tree);
  CHECK(report.pools.size() <= 64 && report.users.size() <= 1024 && report.findings.size() <= 256);
  for (const User& user : report.users)
    CHECK(!user.pool || report.pools.at(*user.pool).sound);
  patch(*tree, {.base = kBase, .bytes = kBytes, .nodes = {}, .host_bridge = true});
  if (tree->node_count() > 1) {
    patch(*tree, {.base = kBase, .bytes = kBytes, .nodes = {tree->path(tree->node_count() - 1)}});
  }
  return 0;
}
