// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string_view>
#include <type_traits>
#include <vector>

#include "testing/fake_driver.h"

namespace airlock::testing {

/// A chain in a FakeDriver's ring, with the places of its buffers.
class BuiltChain {
 public:
  struct Piece {
    window::RegionOffset offset{};
    std::uint32_t length = 0;
    std::uint16_t descriptor = 0;  // its index in its table
    bool writable = false;         // by the device
    bool in_table = false;         // the indirect one
  };
  struct Table {
    window::RegionOffset offset{};
    std::uint16_t entries = 0;
    std::uint16_t descriptor = 0;  // index of the one that names it
  };

  BuiltChain(const FakeDriver& driver, std::vector<Piece> pieces)
      : BuiltChain(driver, std::move(pieces), Table()) {}
  BuiltChain(const FakeDriver& driver, std::vector<Piece> pieces, Table table)
      : driver_(&driver), pieces_(std::move(pieces)), table_(table) {}

  [[nodiscard]] std::uint16_t head() const {
    return pieces_.front().in_table ? table_.descriptor : pieces_.front().descriptor;
  }
  [[nodiscard]] const std::vector<Piece>& pieces() const { return pieces_; }
  /// Of a chain built with indirect().
  [[nodiscard]] const Table& table() const { return table_; }
  /// All bytes of the device-writable part as they are now.
  [[nodiscard]] std::vector<std::byte> written() const;

 private:
  const FakeDriver* driver_;
  std::vector<Piece> pieces_;
  Table table_;
};

/// Builds a chain piece by piece, each in a buffer of its own:
///     ChainBuilder(driver).readable(header).readable(data).writable(1).submit();
/// A rule of the ring that the calls break is broken in the ring: this is how tests lie about order
/// or length. For other lies, rewrite descriptors with FakeDriver::put_descriptor() after build().
class ChainBuilder {
 public:
  explicit ChainBuilder(FakeDriver& driver) : driver_(&driver) {}

  /// A buffer with these bytes for the device to read.
  ChainBuilder& readable(std::span<const std::byte> bytes);
  ChainBuilder& readable(std::string_view text) {
    return readable(std::as_bytes(std::span(text.data(), text.size())));
  }
  /// The same with a wire struct.
  template <class T>
    requires(std::is_trivially_copyable_v<T> && std::has_unique_object_representations_v<T> &&
             std::is_class_v<T>)
  ChainBuilder& readable_struct(const T& value) {
    return readable(std::as_bytes(std::span(&value, 1)));
  }
  /// A zeroed buffer of `length` bytes for the device to write.
  ChainBuilder& writable(std::uint32_t length);
  /// A descriptor with any address and length: nothing is allocated.
  ChainBuilder& raw(std::uint64_t address, std::uint32_t length, bool for_device_to_write);
  /// Everything after this stands in an indirect table, which the chain's last descriptor in the
  /// ring names. Once a chain (CHECK).
  ChainBuilder& indirect();

  /// Writes the descriptors; the device does not know of them yet.
  BuiltChain build();
  /// build(), and makes the chain available.
  BuiltChain submit();

 private:
  struct Entry {
    BuiltChain::Piece piece;
    std::uint64_t address = 0;

    [[nodiscard]] airlock_descriptor descriptor(bool last, std::uint16_t next) const;
  };
  [[nodiscard]] BuiltChain::Table build_table(std::uint16_t descriptor, std::span<Entry> entries);

  FakeDriver* driver_;
  std::vector<Entry> entries_;
  std::optional<std::size_t> direct_;  // entries in the ring, if the others are in a table
};

}  // namespace airlock::testing
