// SPDX-License-Identifier: Apache-2.0
//
// Goal: mappings never overlap, and a range takes away whole ones or none. Method: the
// specification's own examples, and ranges at both ends of the address space.
#include "iommu/mapping_table.h"

#include <gtest/gtest.h>

#include <limits>

namespace airlock::iommu {
namespace {

constexpr AddressRange from_to(std::uint64_t first, std::uint64_t last) {
  return {.first = first, .last = last};
}

constexpr std::uint64_t kMax = std::numeric_limits<std::uint64_t>::max();

MappingTable table_of(const std::vector<AddressRange>& ranges) {
  MappingTable table;
  for (const AddressRange& range : ranges)
    table.add({.range = range, .physical = 0x1000 + range.first});
  return table;
}

// VIRTIO 1.3, 5.13.6.5.2: a range is taken if any of its addresses is.
TEST(MappingTable, KnowsWhatOverlaps) {
  const MappingTable table = table_of({from_to(10, 19), from_to(30, 39)});
  for (const AddressRange& range :
       std::vector<AddressRange>{from_to(10, 19), from_to(0, 10), from_to(19, 25), from_to(12, 13),
                                 from_to(0, 100), from_to(25, 30), from_to(39, kMax)}) {
    EXPECT_TRUE(table.overlaps(range)) << range.first << " to " << range.last;
  }
  for (const AddressRange& range : std::vector<AddressRange>{from_to(0, 9), from_to(20, 29),
                                                             from_to(40, kMax), from_to(20, 20)}) {
    EXPECT_FALSE(table.overlaps(range)) << range.first << " to " << range.last;
  }
}

// VIRTIO 1.3, 5.13.6.6: the seven examples.
TEST(MappingTable, TakesAwayWholeMappingsOrNone) {
  struct Example {
    std::vector<AddressRange> mapped;
    AddressRange range{};
    bool splits = false;
    std::size_t inside = 0;
  };
  for (const Example& example :
       {Example{.mapped = {}, .range = from_to(0, 4), .splits = false, .inside = 0},
        Example{.mapped = {from_to(0, 9)}, .range = from_to(0, 9), .splits = false, .inside = 1},
        Example{.mapped = {from_to(0, 4), from_to(5, 9)},
                .range = from_to(0, 9),
                .splits = false,
                .inside = 2},
        Example{.mapped = {from_to(0, 9)}, .range = from_to(0, 4), .splits = true, .inside = 0},
        Example{.mapped = {from_to(0, 4), from_to(5, 9)},
                .range = from_to(0, 4),
                .splits = false,
                .inside = 1},
        Example{.mapped = {from_to(0, 4)}, .range = from_to(0, 9), .splits = false, .inside = 1},
        Example{.mapped = {from_to(0, 4), from_to(10, 14)},
                .range = from_to(0, 14),
                .splits = false,
                .inside = 2},
        Example{.mapped = {from_to(0, 9)}, .range = from_to(5, 9), .splits = true, .inside = 0},
        Example{.mapped = {from_to(0, 9)}, .range = from_to(3, 5), .splits = true, .inside = 0},
        Example{.mapped = {from_to(0, 4), from_to(5, 9)},
                .range = from_to(0, 7),
                .splits = true,
                .inside = 1}}) {
    const MappingTable table = table_of(example.mapped);
    EXPECT_EQ(table.splits(example.range), example.splits);
    EXPECT_EQ(table.inside(example.range).size(), example.inside);
  }
}

TEST(MappingTable, FindsTheMappingOfAnAddress) {
  MappingTable table = table_of({from_to(10, 19), from_to(20, 29)});
  EXPECT_EQ(table.find(9), nullptr);
  ASSERT_NE(table.find(19), nullptr);
  EXPECT_EQ(table.find(19)->range, (from_to(10, 19)));
  EXPECT_EQ(table.find(20)->range, (from_to(20, 29)));
  EXPECT_EQ(table.find(30), nullptr);
  table.remove(10);
  EXPECT_EQ(table.find(19), nullptr);
  EXPECT_EQ(table.count(), 1U);
}

TEST(MappingTable, ReachesBothEndsOfTheAddresses) {
  const MappingTable table = table_of({from_to(0, kMax)});
  EXPECT_TRUE(table.overlaps(from_to(kMax, kMax)));
  EXPECT_TRUE(table.splits({0, kMax - 1}));
  EXPECT_EQ(table.inside(from_to(0, kMax)).size(), 1U);
  EXPECT_NE(table.find(kMax), nullptr);
}

}  // namespace
}  // namespace airlock::iommu
