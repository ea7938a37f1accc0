// SPDX-License-Identifier: Apache-2.0
#include "dt/patch.h"

#include <algorithm>

#include <gtest/gtest.h>

#include "dt/pools.h"
#include "dt/test_tree.h"

namespace airlock::dt {
namespace {

// A machine whose disk names nothing yet; its own pool is nobody's.
Machine bare() {
  return {.disk_regions = {}};
}

PoolRequest request_for(std::vector<std::string> nodes) {
  return {.base = 0x58000000, .bytes = 0x1000000, .nodes = std::move(nodes)};
}

constexpr const char* kNewPool = "/reserved-memory/restricted-dma-pool@58000000";

std::string why_not(const Machine& machine, const PoolRequest& request) {
  const auto made = add_pool(machine.tree(), request);
  return made ? "" : made.error();
}

/// The path of the pool that a device of the changed tree gets; empty if none.
std::string pool_after(const std::vector<std::byte>& blob, const std::string& user) {
  const auto tree = Tree::parse(blob);
  if (!tree) return tree.error();
  const Report report = inspect(*tree);
  const auto found = std::ranges::find(report.users, user, &User::path);
  return found == report.users.end() || !found->pool ? "" : report.pools[*found->pool].path;
}

// DT-1, DT-5
TEST(DtPatch, AddsAPoolThatDevicesShare) {
  Machine machine = bare();
  machine.pool_size = {};
  PoolRequest request = request_for({kDiskPath});
  request.host_bridge = true;
  const auto made = add_pool(machine.tree(), request);
  ASSERT_TRUE(made) << made.error();
  EXPECT_EQ(pool_after(*made, kDiskPath), kNewPool);
  EXPECT_EQ(pool_after(*made, kBridgePath), kNewPool);
  const auto tree = Tree::parse(*made);
  ASSERT_TRUE(tree);
  EXPECT_TRUE(inspect(*tree).sound());
  const auto pool = tree->find(kNewPool);
  ASSERT_TRUE(pool);
  EXPECT_EQ(tree->by_phandle(kIommuPhandle + 1), pool);
}

// All that was there is there, with the same properties.
TEST(DtPatch, ChangesNothingElse) {
  const Tree before = bare().tree();
  const auto made = add_pool(before, request_for({kCardPath}));
  ASSERT_TRUE(made) << made.error();
  const auto after = Tree::parse(*made);
  ASSERT_TRUE(after);
  EXPECT_EQ(after->node_count(), before.node_count() + 1);
  for (NodeIndex node = 0; node < before.node_count(); ++node) {
    const auto same = after->find(before.path(node));
    ASSERT_TRUE(same) << before.path(node);
    for (const char* name : {"reg", "compatible", "phandle", "device_type", "#size-cells"}) {
      EXPECT_EQ(after->cells(*same, name), before.cells(node, name)) << before.path(node) << name;
      EXPECT_EQ(after->word(*same, name), before.word(node, name)) << before.path(node) << name;
    }
  }
}

TEST(DtPatch, MakesReservedMemoryWhereThereIsNone) {
  for (const std::uint32_t cells : {1U, 2U}) {
    TreeBuilder builder;
    builder.begin("").cells("#address-cells", {cells}).cells("#size-cells", {cells});
    builder.begin("disk").end();
    const auto tree = Tree::parse(builder.end().finish());
    ASSERT_TRUE(tree);
    const auto made = add_pool(*tree, request_for({"/disk"}));
    ASSERT_TRUE(made) << made.error();
    EXPECT_EQ(pool_after(*made, "/disk"), kNewPool);
  }
}

// DT-3: memory of other kinds stays, and does not count.
TEST(DtPatch, KeepsOtherMemoryOfADevice) {
  Machine machine = bare();
  machine.pool_compatible = "shared-dma-pool";
  machine.disk_regions = {kPoolPhandle};
  const auto made = add_pool(machine.tree(), request_for({kDiskPath}));
  ASSERT_TRUE(made) << made.error();
  EXPECT_EQ(pool_after(*made, kDiskPath), kNewPool);
  const auto tree = Tree::parse(*made);
  ASSERT_TRUE(tree);
  EXPECT_EQ(tree->cells(tree->find(kDiskPath).value(), "memory-region"),
            (std::vector<std::uint32_t>{kPoolPhandle, kIommuPhandle + 1}));
}

// DT-3
TEST(DtPatch, RefusesADeviceThatHasAPool) {
  EXPECT_NE(why_not({}, request_for({kDiskPath})).find("has a pool already"), std::string::npos);
}

// DT-4
TEST(DtPatch, RefusesADeviceBehindAnIommu) {
  Machine machine = bare();
  machine.disk_iommu = true;
  EXPECT_NE(why_not(machine, request_for({kDiskPath})).find("DT-4"), std::string::npos);
  machine.iommu_status = "disabled";
  EXPECT_EQ(why_not(machine, request_for({kDiskPath})), "");
}

TEST(DtPatch, RefusesUsersThatAreNotThere) {
  EXPECT_EQ(why_not(bare(), request_for({"/none"})), "the tree has no node /none");
  EXPECT_EQ(why_not(bare(), request_for({"/"})), "/ is no device");
  EXPECT_EQ(why_not(bare(), request_for({})), "nobody is to use the pool");
  EXPECT_NE(why_not(bare(), request_for({kPoolPath})), "");
  TreeBuilder builder;
  const auto tree = Tree::parse(builder.begin("").end().finish());
  ASSERT_TRUE(tree);
  EXPECT_EQ(
      add_pool(*tree, {.base = 0x1000, .bytes = 0x1000, .nodes = {}, .host_bridge = true}).error(),
      "the tree has no PCI host bridge");
}

TEST(DtPatch, RefusesToChooseAmongHostBridges) {
  TreeBuilder builder;
  builder.begin("").begin("a").text("device_type", "pci").end();
  const auto tree = Tree::parse(builder.begin("b").text("device_type", "pci").end().end().finish());
  ASSERT_TRUE(tree);
  PoolRequest request = request_for({});
  request.host_bridge = true;
  EXPECT_NE(add_pool(*tree, request).error().find("several"), std::string::npos);
}

// DEF-4, DT-1
TEST(DtPatch, RefusesPlacesWhereNoPoolCanBe) {
  const auto why = [](std::uint64_t base, std::uint64_t bytes) {
    PoolRequest request = request_for({kDiskPath});
    request.base = base;
    request.bytes = bytes;
    return why_not(bare(), request);
  };
  EXPECT_NE(why(0x58000000, 0), "");
  EXPECT_NE(why(~std::uint64_t{0} - 0xfff, 0x2000), "");
  EXPECT_NE(why(0x58000001, 0x1000).find("multiples of 4096"), std::string::npos);
  EXPECT_NE(why(0x58000000, 0x1001).find("multiples of 4096"), std::string::npos);
  EXPECT_NE(why(0x10000000, 0x1000).find("not in the memory"), std::string::npos);
  EXPECT_NE(why(0x50001000, 0x1000).find("overlaps"), std::string::npos);
}

TEST(DtPatch, RefusesNumbersThatDoNotFitItsCells) {
  TreeBuilder builder;
  builder.begin("").cells("#address-cells", {1}).cells("#size-cells", {1});
  const auto tree = Tree::parse(builder.begin("disk").end().end().finish());
  ASSERT_TRUE(tree);
  PoolRequest request = request_for({"/disk"});
  EXPECT_TRUE(add_pool(*tree, request));
  request.base = std::uint64_t{1} << 32;
  EXPECT_NE(add_pool(*tree, request).error().find("does not fit"), std::string::npos);
}

TEST(DtPatch, RefusesNamesThatAreNone) {
  for (const char* name : {"", "a/b", "a@1", "a b", "0123456789012345678901234567890x"}) {
    PoolRequest request = request_for({kDiskPath});
    request.name = name;
    EXPECT_NE(why_not(bare(), request).find("no name"), std::string::npos) << name;
  }
  PoolRequest twice = request_for({kDiskPath});
  twice.base = 0x50000000;
  twice.name = "pool";
  EXPECT_NE(why_not(bare(), twice), "");  // there is such a node
}

// DT-1: what Linux would ignore is not written.
TEST(DtPatch, RefusesATreeWhoseReservedMemoryIsIgnored) {
  Machine machine = bare();
  machine.ranges = false;
  EXPECT_NE(why_not(machine, request_for({kDiskPath})).find("ranges"), std::string::npos);
}

TEST(DtPatch, RefusesATreeWithoutPhandlesLeft) {
  TreeBuilder builder;
  builder.begin("").begin("disk").cells("phandle", {0xfffffffe}).end();
  const auto tree = Tree::parse(builder.end().finish());
  ASSERT_TRUE(tree);
  EXPECT_EQ(add_pool(*tree, request_for({"/disk"})).error(), "the tree has no phandle left");
}

}  // namespace
}  // namespace airlock::dt
