// SPDX-License-Identifier: Apache-2.0
#include "iommu/mapping_table.h"

#include <iterator>

#include "base/check.h"

namespace airlock::iommu {

// No two overlap: of those that begin in or before the range, the last reaches farthest.
bool MappingTable::overlaps(const AddressRange& range) const {
  const auto after = by_first_.upper_bound(range.last);
  return after != by_first_.begin() && std::prev(after)->second.range.last >= range.first;
}

bool MappingTable::splits(const AddressRange& range) const {
  for (const std::uint64_t end : {range.first, range.last}) {
    const Mapping* const mapping = find(end);
    if (mapping != nullptr && !range.contains(mapping->range)) return true;
  }
  return false;
}

const Mapping* MappingTable::find(std::uint64_t address) const {
  const auto after = by_first_.upper_bound(address);
  if (after == by_first_.begin()) return nullptr;
  const Mapping& before = std::prev(after)->second;
  return before.range.contains(address) ? &before : nullptr;
}

std::vector<Mapping> MappingTable::inside(const AddressRange& range) const {
  std::vector<Mapping> found;
  for (auto at = by_first_.lower_bound(range.first);
       at != by_first_.end() && range.contains(at->second.range); ++at) {
    found.push_back(at->second);
  }
  return found;
}

void MappingTable::add(const Mapping& mapping) {
  CHECK(mapping.range.first <= mapping.range.last && !overlaps(mapping.range));
  by_first_.emplace(mapping.range.first, mapping);
}

void MappingTable::remove(std::uint64_t first) {
  const bool removed = by_first_.erase(first) == 1;
  CHECK(removed);
}

}  // namespace airlock::iommu
