// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <vector>

namespace airlock::iommu {

/// Addresses from `first` to `last`, both with them: never empty, and all 2^64 of them are one.
struct AddressRange {
  std::uint64_t first = 0;
  std::uint64_t last = 0;  // at least `first`

  [[nodiscard]] constexpr bool contains(std::uint64_t address) const {
    return address >= first && address <= last;
  }
  [[nodiscard]] constexpr bool contains(const AddressRange& other) const {
    return other.first >= first && other.last <= last;
  }
  [[nodiscard]] constexpr bool overlaps(const AddressRange& other) const {
    return first <= other.last && other.first <= last;
  }
  friend bool operator==(const AddressRange&, const AddressRange&) = default;
};

/// What one MAP request made: I/O addresses, the guest-physical ones behind them, and what for.
struct Mapping {
  AddressRange range{};
  std::uint64_t physical = 0;  // of range.first; that of range.last does not wrap
  bool readable = false;
  bool writable = false;

  friend bool operator==(const Mapping&, const Mapping&) = default;
};

/// The mappings of a domain, none of which overlaps another. One thread.
class MappingTable {
 public:
  /// Whether any mapping has an address of `range`.
  [[nodiscard]] bool overlaps(const AddressRange& range) const;
  /// Whether a mapping lies in `range` with a part of it only.
  [[nodiscard]] bool splits(const AddressRange& range) const;
  /// The mapping of an address; null if there is none. Valid until the table changes.
  [[nodiscard]] const Mapping* find(std::uint64_t address) const;
  /// Mappings that lie in `range` as a whole, in order.
  [[nodiscard]] std::vector<Mapping> inside(const AddressRange& range) const;

  /// CHECK: it overlaps none.
  void add(const Mapping& mapping);
  /// CHECK: there is one that begins at `first`.
  void remove(std::uint64_t first);

  [[nodiscard]] std::size_t count() const { return by_first_.size(); }

 private:
  std::map<std::uint64_t, Mapping> by_first_;
};

}  // namespace airlock::iommu
