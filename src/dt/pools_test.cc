// SPDX-License-Identifier: Apache-2.0
#include "dt/pools.h"

#include <algorithm>

#include <gtest/gtest.h>

#include "dt/test_tree.h"

namespace airlock::dt {
namespace {

using Regions = std::vector<std::uint32_t>;

const User* user_of(const Report& report, const std::string& path) {
  const auto found = std::ranges::find(report.users, path, &User::path);
  return found == report.users.end() ? nullptr : &*found;
}

/// The path of the pool that this one gets; empty if none.
std::string pool_of(const Report& report, const std::string& path) {
  const User* const user = user_of(report, path);
  return user != nullptr && user->pool ? report.pools[*user->pool].path : "";
}

bool finds(const Report& report, Finding::Weight weight, const std::string& rule,
           const std::string& words) {
  return std::ranges::any_of(report.findings, [&](const Finding& one) {
    return one.weight == weight && one.rule == rule && one.words.find(words) != std::string::npos;
  });
}

// Goal: what a test changes about the machine is refused, by that rule and in those words, and the
// disk gets no pool.
void expect_refused(const Machine& machine, const std::string& rule, const std::string& words) {
  const Report report = inspect(machine.tree());
  EXPECT_FALSE(report.sound());
  EXPECT_TRUE(finds(report, Finding::Weight::kRefused, rule, words)) << rule << ": " << words;
  EXPECT_EQ(pool_of(report, kDiskPath), "");
}

// DT-1, DT-3: the machine as it should be, the twin of all that follows.
TEST(DtPools, FindsThePoolAndItsUser) {
  const Report report = inspect(Machine().tree());
  EXPECT_TRUE(report.sound());
  EXPECT_TRUE(report.findings.empty());
  ASSERT_EQ(report.pools.size(), 1U);
  EXPECT_EQ(report.pools[0].path, kPoolPath);
  EXPECT_EQ(report.pools[0].base, 0x50000000U);
  EXPECT_EQ(report.pools[0].bytes, 0x4000000U);
  ASSERT_EQ(report.users.size(), 1U);
  EXPECT_FALSE(report.users[0].host_bridge);
  EXPECT_EQ(pool_of(report, kDiskPath), kPoolPath);
}

TEST(DtPools, HasNothingToSayOfATreeWithout) {
  TreeBuilder builder;
  const auto tree = Tree::parse(builder.begin("").end().finish());
  ASSERT_TRUE(tree);
  const Report report = inspect(*tree);
  EXPECT_TRUE(report.sound());
  EXPECT_TRUE(report.pools.empty());
  EXPECT_TRUE(report.users.empty());
}

// DT-1
TEST(DtPools, RefusesNoMapAndReusable) {
  expect_refused({.pool_flags = {"no-map"}}, "DT-1", "`no-map`");
  expect_refused({.pool_flags = {"reusable"}}, "DT-1", "`reusable`");
}

// DT-2
TEST(DtPools, RefusesDefaultsOfTheSystem) {
  expect_refused({.pool_flags = {"linux,cma-default"}}, "DT-2", "`linux,cma-default`");
  expect_refused({.pool_flags = {"linux,dma-default"}}, "DT-2", "`linux,dma-default`");
}

// DT-1: Linux ignores a /reserved-memory that is not like the root.
TEST(DtPools, RefusesReservedMemoryThatLinuxIgnores) {
  expect_refused({.ranges = false}, "DT-1", "it needs `ranges`");
  expect_refused({.address_cells = 1}, "DT-1", "#address-cells 2");
}

// DT-1
TEST(DtPools, RefusesRangesThatAreNone) {
  expect_refused({.pool_reg = {0, 0x50000000, 0}}, "DT-1", "no address and size");
  expect_refused({.pool_reg = {0, 0x50000000, 0, 0}}, "DT-1", "empty, or wraps");
  expect_refused({.pool_reg = {0xffffffff, 0xfffff000, 0, 0x2000}}, "DT-1", "empty, or wraps");
  expect_refused({.pool_reg = {0, 0x50000000, 0, 0x1000, 0, 0x51000000, 0, 0x1000}}, "DT-1",
                 "more than one range");
}

// DEF-4
TEST(DtPools, RefusesWhatIsNotWholePages) {
  expect_refused({.pool_reg = {0, 0x50000800, 0, 0x4000000}}, "DEF-4", "no multiple of 4096");
  expect_refused({.pool_reg = {0, 0x50000000, 0, 0x4000800}}, "DEF-4", "no multiple of 4096");
}

// DT-1: across two nodes that adjoin it is in memory; beyond their end it is not.
TEST(DtPools, RefusesAPoolOutsideMemory) {
  EXPECT_TRUE(inspect(Machine{.pool_reg = {0, 0x51000000, 0, 0x4000000}}.tree()).sound());
  expect_refused({.pool_reg = {0, 0x5e000000, 0, 0x4000000}}, "DT-1", "not in the memory");
  expect_refused({.pool_reg = {0, 0x10000000, 0, 0x4000000}}, "DT-1", "not in the memory");
}

// DT-1
TEST(DtPools, RefusesMemoryThatIsOfOthers) {
  EXPECT_TRUE(inspect(Machine{.other_reg = {0, 0x54000000, 0, 0x1000}}.tree()).sound());
  expect_refused({.other_reg = {0, 0x53fff000, 0, 0x1000}}, "DT-1",
                 "overlaps /reserved-memory/firmware");
  expect_refused({.header_reserves = {{.first = 0x50000000, .bytes = 1}}}, "DT-1", "header");
}

// DT-1
TEST(DtPools, TakesAPoolThatTheKernelPlaces) {
  const Report report = inspect(Machine{.pool_size = {0, 0x4000000}}.tree());
  EXPECT_TRUE(report.sound());
  EXPECT_FALSE(report.pools.at(0).base);
  EXPECT_EQ(report.pools[0].bytes, 0x4000000U);
  expect_refused({.pool_size = {0x4000000}}, "DT-1", "neither `reg` nor `size`");
  expect_refused({.pool_size = {0, 0}}, "DT-1", "its size is 0");
  expect_refused({.pool_size = {0, 0x4000001}}, "DEF-4", "no multiple");
}

// DT-3: a node of another kind is no pool, and not a mistake.
TEST(DtPools, TakesNoOtherReservedMemoryForAPool) {
  const Report report = inspect(Machine{.pool_compatible = "shared-dma-pool"}.tree());
  EXPECT_TRUE(report.sound());
  EXPECT_TRUE(report.pools.empty());
  EXPECT_EQ(user_of(report, kDiskPath), nullptr);
}

// DT-3
TEST(DtPools, RefusesAUserWhosePoolIsDisabled) {
  expect_refused({.pool_status = "disabled"}, "DT-3", "reach all memory");
  EXPECT_TRUE(inspect(Machine{.pool_status = "okay"}.tree()).sound());
}

// DT-3: of two pools the first counts, and one that is disabled is passed over.
TEST(DtPools, GivesTheFirstOfTwoPools) {
  const Machine two{.second_reg = {0, 0x58000000, 0, 0x1000000},
                    .disk_regions = {kPoolPhandle, kPoolPhandle + 2}};
  Report report = inspect(two.tree());
  EXPECT_TRUE(report.sound());
  EXPECT_EQ(pool_of(report, kDiskPath), kPoolPath);
  EXPECT_TRUE(finds(report, Finding::Weight::kNote, "DT-3", "the first"));

  Machine first_disabled = two;
  first_disabled.pool_status = "disabled";
  report = inspect(first_disabled.tree());
  EXPECT_TRUE(report.sound());
  EXPECT_EQ(pool_of(report, kDiskPath), "/reserved-memory/second");
}

// DT-3: a first pool that Linux can't make is not replaced by the second.
TEST(DtPools, GivesNoSecondPoolForAFirstThatIsNone) {
  expect_refused({.pool_flags = {"no-map"},
                  .second_reg = {0, 0x58000000, 0, 0x1000000},
                  .disk_regions = {kPoolPhandle, kPoolPhandle + 2}},
                 "DT-3", "reach all memory");
}

// DT-5
TEST(DtPools, LetsDevicesShareAPool) {
  const Report report = inspect(Machine{.bridge_regions = {kPoolPhandle}}.tree());
  EXPECT_TRUE(report.sound());
  EXPECT_EQ(pool_of(report, kDiskPath), kPoolPath);
  EXPECT_EQ(pool_of(report, kBridgePath), kPoolPath);
}

// DT-3: the host bridge's pool is for what is behind it, unless a card names memory itself.
TEST(DtPools, KnowsAHostBridgeAndWhatIsBehindIt) {
  Machine machine{.disk_regions = {}, .bridge_regions = {kPoolPhandle}};
  Report report = inspect(machine.tree());
  ASSERT_NE(user_of(report, kBridgePath), nullptr);
  EXPECT_TRUE(user_of(report, kBridgePath)->host_bridge);
  EXPECT_TRUE(report.findings.empty());

  machine.other_reg = {0, 0x5c000000, 0, 0x1000};
  machine.card_regions = {kIommuPhandle};
  report = inspect(machine.tree());
  EXPECT_TRUE(finds(report, Finding::Weight::kNote, "DT-3", "does not get that of"));
}

// DT-4
TEST(DtPools, DoesNotUseThePoolBehindAnIommu) {
  Report report = inspect(Machine{.disk_iommu = true}.tree());
  EXPECT_TRUE(report.sound());
  EXPECT_EQ(pool_of(report, kDiskPath), "");
  EXPECT_TRUE(finds(report, Finding::Weight::kNote, "DT-4", "behind an IOMMU"));

  report = inspect(Machine{.disk_iommu = true, .iommu_status = "disabled"}.tree());
  EXPECT_EQ(pool_of(report, kDiskPath), kPoolPath);

  report =
      inspect(Machine{.bridge_regions = {kPoolPhandle}, .iommu_map = {0, kIommuPhandle, 0, 0x10000}}
                  .tree());
  EXPECT_EQ(pool_of(report, kBridgePath), "");
  EXPECT_EQ(pool_of(report, kDiskPath), kPoolPath);
}

// DT-3
TEST(DtPools, RefusesAPhandleOfNobody) {
  expect_refused({.disk_regions = {0x77}}, "DT-3", "no node has that phandle");
}

// DT-1: only what is in /reserved-memory becomes a pool.
TEST(DtPools, RefusesAPoolElsewhere) {
  TreeBuilder builder;
  builder.begin("").begin("pool").text("compatible", kPoolCompatible).cells("phandle", {1}).end();
  builder.begin("disk").cells("memory-region", {1}).end();
  const auto tree = Tree::parse(builder.end().finish());
  ASSERT_TRUE(tree);
  const Report report = inspect(*tree);
  EXPECT_TRUE(report.pools.empty());
  EXPECT_TRUE(finds(report, Finding::Weight::kRefused, "DT-1", "nobody makes a pool"));
  EXPECT_EQ(pool_of(report, "/disk"), "");
}

// DT-8
TEST(DtPools, NotesAPoolTooSmallForAMapping) {
  const Report report = inspect(Machine{.pool_reg = {0, 0x50000000, 0, 0x1000}}.tree());
  EXPECT_TRUE(report.sound());
  EXPECT_TRUE(finds(report, Finding::Weight::kNote, "DT-8", "one mapping"));
}

// Goal: a report stays small whatever the tree has. Method: more of each than it keeps.
TEST(DtPools, BoundsWhatItReports) {
  TreeBuilder builder;
  builder.begin("").cells("#address-cells", {1}).cells("#size-cells", {1});
  builder.begin("reserved-memory").cells("#address-cells", {1}).cells("#size-cells", {1});
  builder.flag("ranges");
  constexpr unsigned kMany = 2000;
  for (unsigned i = 0; i < kMany; ++i) {
    builder.begin("p").text("compatible", kPoolCompatible).cells("phandle", {i + 1});
    builder.cells("reg", {i << 12, 0x1000}).flag("no-map").end();
  }
  builder.end();
  for (unsigned i = 0; i < kMany; ++i)
    builder.begin("d").cells("memory-region", {1, i + 1}).end();
  builder.begin("greedy").cells("memory-region", Regions(65, 1)).end();
  const auto tree = Tree::parse(builder.end().finish());
  ASSERT_TRUE(tree);
  const Report report = inspect(*tree);
  EXPECT_EQ(report.pools.size(), 64U);
  EXPECT_EQ(report.users.size(), 1024U);
  EXPECT_EQ(report.findings.size(), 256U);
  EXPECT_FALSE(report.sound());
}

}  // namespace
}  // namespace airlock::dt
