// SPDX-License-Identifier: Apache-2.0
#include "dt/tree.h"

#include <gtest/gtest.h>

#include "dt/test_tree.h"

namespace airlock::dt {
namespace {

std::string why_not(std::span<const std::byte> blob) {
  const auto tree = Tree::parse(blob);
  return tree ? "" : tree.error();
}

TEST(DtTree, FindsNodesByPathAndPhandle) {
  const Tree tree = Machine().tree();
  const auto pool = tree.find(kPoolPath);
  ASSERT_TRUE(pool);
  EXPECT_EQ(tree.path(*pool), kPoolPath);
  EXPECT_EQ(tree.name(*pool), "pool@50000000");
  EXPECT_EQ(tree.by_phandle(kPoolPhandle), pool);
  EXPECT_EQ(tree.find("/"), kRoot);
  EXPECT_EQ(tree.path(tree.parent(*pool)), "/reserved-memory");
  EXPECT_EQ(tree.new_phandle(), kIommuPhandle + 1);
}

TEST(DtTree, FindsNothingThatIsNotThere) {
  const Tree tree = Machine().tree();
  EXPECT_FALSE(tree.find("/pool@50000000"));
  EXPECT_FALSE(tree.find("/reserved-memory/pool"));
  EXPECT_FALSE(tree.find(""));
  EXPECT_FALSE(tree.by_phandle(0x99));
}

TEST(DtTree, ReadsPropertiesAsTheyAre) {
  TreeBuilder builder;
  builder.begin("").text("one", "word").bytes("open", "ended").cells("two", {1, 0xffffffff});
  builder.bytes("compatible", std::string("first\0second\0", 13)).flag("empty");
  const auto tree = Tree::parse(builder.end().finish());
  ASSERT_TRUE(tree);
  EXPECT_EQ(tree->word(kRoot, "one"), "word");
  EXPECT_EQ(tree->cells(kRoot, "two"), (std::vector<std::uint32_t>{1, 0xffffffff}));
  EXPECT_TRUE(tree->compatible(kRoot, "second"));
  EXPECT_TRUE(tree->has(kRoot, "empty"));
  EXPECT_TRUE(tree->available(kRoot));
  // And not as they are not.
  EXPECT_FALSE(tree->word(kRoot, "open"));
  EXPECT_FALSE(tree->cells(kRoot, "open"));
  EXPECT_FALSE(tree->compatible(kRoot, "sec"));
  EXPECT_FALSE(tree->compatible(kRoot, "econd"));
  EXPECT_FALSE(tree->has(kRoot, "none"));
}

TEST(DtTree, ReadsStatusAsLinuxDoes) {
  for (const auto& [status, available] :
       {std::pair("okay", true), std::pair("ok", true), std::pair("disabled", false),
        std::pair("fail", false), std::pair("okay2", false)}) {
    TreeBuilder builder;
    const auto tree = Tree::parse(builder.begin("").text("status", status).end().finish());
    ASSERT_TRUE(tree);
    EXPECT_EQ(tree->available(kRoot), available) << status;
  }
}

TEST(DtTree, ReadsRangesInItsParentsCells) {
  TreeBuilder builder;
  builder.begin("").cells("#address-cells", {1}).cells("#size-cells", {2});
  builder.begin("a").cells("reg", {0x10, 1, 2, 0x20, 0, 3}).end();
  builder.begin("b").cells("reg", {1, 2}).end().end();
  const auto tree = Tree::parse(builder.finish());
  ASSERT_TRUE(tree);
  const std::vector<Range> expected = {{.first = 0x10, .bytes = 0x100000002},
                                       {.first = 0x20, .bytes = 3}};
  EXPECT_EQ(tree->ranges(1, "reg"), expected);
  EXPECT_FALSE(tree->ranges(2, "reg"));  // no whole entries
  EXPECT_FALSE(tree->ranges(2, "ranges"));
}

TEST(DtTree, HasNoRangesWhereNumbersAreTooLong) {
  TreeBuilder builder;
  builder.begin("").cells("#address-cells", {3}).cells("#size-cells", {2});
  const auto tree =
      Tree::parse(builder.begin("a").cells("reg", {1, 2, 3, 4, 5}).end().end().finish());
  ASSERT_TRUE(tree);
  EXPECT_FALSE(tree->ranges(1, "reg"));
}

TEST(DtTree, TakesTheHeadersReservations) {
  Machine machine;
  machine.header_reserves = {{.first = 0x48000000, .bytes = 0x1000}};
  EXPECT_EQ(machine.tree().reservations(), machine.header_reserves);
  EXPECT_TRUE(Machine().tree().reservations().empty());
}

TEST(DtTree, RefusesWhatIsNoTree) {
  EXPECT_NE(why_not({}), "");
  const std::vector<std::byte> zeros(4096);
  EXPECT_NE(why_not(zeros).find("no device tree"), std::string::npos);
  const auto blob = Machine().blob();
  EXPECT_EQ(why_not(blob), "");
}

// Goal: a blob that ends too early is refused wherever it ends. Method: each length.
// Before libfdt has a look: 1.6.1 crashes where the root of an old format has no name.
TEST(DtTree, RefusesOldFormats) {
  constexpr std::size_t kVersionByte = 23;     // the last of `version`
  constexpr std::size_t kCompatibleByte = 27;  // and of `last_comp_version`
  auto blob = Machine().blob();
  for (const std::byte version : {std::byte{1}, std::byte{8}, std::byte{15}}) {
    blob.at(kVersionByte) = version;
    blob.at(kCompatibleByte) = std::byte{1};
    EXPECT_NE(why_not(blob).find("older than"), std::string::npos) << why_not(blob);
  }
}

TEST(DtTree, RefusesEveryTruncation) {
  const auto blob = Machine().blob();
  for (std::size_t length = 0; length < blob.size(); ++length)
    ASSERT_NE(why_not(std::span(blob).first(length)), "") << length;
}

TEST(DtTree, LeavesOutWhatFollows) {
  auto blob = Machine().blob();
  const std::size_t size = blob.size();
  blob.resize(size + 100);
  const auto tree = Tree::parse(blob);
  ASSERT_TRUE(tree);
  EXPECT_EQ(tree->blob().size(), size);
}

TEST(DtTree, RefusesWhatNoKernelReads) {
  EXPECT_NE(why_not(std::vector<std::byte>(Tree::kBytesMax + 1)).find("more than any kernel"),
            std::string::npos);
}

TEST(DtTree, RefusesNodesBeyondItsLimits) {
  const auto deep = [](std::size_t depth) {
    TreeBuilder builder;
    for (std::size_t i = 0; i < depth; ++i)
      builder.begin(i == 0 ? "" : "n");
    for (std::size_t i = 0; i < depth; ++i)
      builder.end();
    return builder.finish();
  };
  EXPECT_EQ(why_not(deep(Tree::kDepthMax)), "");
  EXPECT_EQ(why_not(deep(Tree::kDepthMax + 1)), "nodes more than 64 deep");
  const auto wide = [](std::size_t nodes) {
    TreeBuilder builder;
    builder.begin("");
    for (std::size_t i = 1; i < nodes; ++i)
      builder.begin("n").end();
    return builder.end().finish();
  };
  EXPECT_EQ(why_not(wide(Tree::kNodesMax)), "");
  EXPECT_EQ(why_not(wide(Tree::kNodesMax + 1)), "more than 16384 nodes");
  const auto named = [](std::size_t length) {
    TreeBuilder builder;
    return builder.begin("").begin(std::string(length, 'n')).end().end().finish();
  };
  EXPECT_EQ(why_not(named(255)), "");
  EXPECT_EQ(why_not(named(256)), "a node's name of more than 255 bytes");
}

}  // namespace
}  // namespace airlock::dt
