// SPDX-License-Identifier: Apache-2.0
#include "testing/chain_builder.h"

#include "spec/virtio_ring.h"

namespace airlock::testing {

std::vector<std::byte> BuiltChain::written() const {
  std::vector<std::byte> all;
  for (const Piece& piece : pieces_) {
    if (!piece.writable) continue;
    const std::vector<std::byte> bytes = driver_->get_bytes(piece.offset, piece.length);
    all.insert(all.end(), bytes.begin(), bytes.end());
  }
  return all;
}

ChainBuilder& ChainBuilder::readable(std::span<const std::byte> bytes) {
  const window::RegionOffset offset = driver_->put_bytes(bytes);
  entries_.push_back(
      {.piece = {.offset = offset, .length = static_cast<std::uint32_t>(bytes.size())},
       .address = driver_->address(offset)});
  return *this;
}

ChainBuilder& ChainBuilder::writable(std::uint32_t length) {
  const window::RegionOffset offset = driver_->region().allocate(length);
  entries_.push_back({.piece = {.offset = offset, .length = length, .writable = true},
                      .address = driver_->address(offset)});
  return *this;
}

ChainBuilder& ChainBuilder::raw(std::uint64_t address, std::uint32_t length,
                                bool for_device_to_write) {
  entries_.push_back(
      {.piece = {.length = length, .writable = for_device_to_write}, .address = address});
  return *this;
}

ChainBuilder& ChainBuilder::indirect() {
  CHECK(!direct_);
  direct_ = entries_.size();
  return *this;
}

BuiltChain ChainBuilder::build() {
  CHECK(!entries_.empty());
  const std::size_t direct = direct_.value_or(entries_.size());
  const std::size_t count = direct + (direct_ ? 1 : 0);
  const std::size_t first = driver_->take_descriptors(count);
  const auto slot = [&](std::size_t i) {
    return static_cast<std::uint16_t>((first + i) & driver_->size().mask());
  };
  for (std::size_t i = 0; i < direct; ++i) {
    Entry& entry = entries_[i];
    entry.piece.descriptor = slot(i);
    driver_->put_descriptor(slot(i), entry.descriptor(i + 1 == count, slot(i + 1)));
  }
  BuiltChain::Table table;
  if (direct_) table = build_table(slot(direct), std::span(entries_).subspan(direct));
  std::vector<BuiltChain::Piece> pieces;
  pieces.reserve(entries_.size());
  for (const Entry& entry : entries_)
    pieces.push_back(entry.piece);
  return {*driver_, std::move(pieces), table};
}

airlock_descriptor ChainBuilder::Entry::descriptor(bool last, std::uint16_t next) const {
  const unsigned flags =
      (piece.writable ? spec::VIRTQ_DESC_F_WRITE : 0U) | (last ? 0U : spec::VIRTQ_DESC_F_NEXT);
  return {.address = address,
          .length = piece.length,
          .flags = static_cast<std::uint16_t>(flags),
          .next = last ? std::uint16_t{0} : next};
}

BuiltChain::Table ChainBuilder::build_table(std::uint16_t descriptor, std::span<Entry> entries) {
  const auto bytes = static_cast<std::uint32_t>(entries.size() * AIRLOCK_DESC_BYTES);
  const window::RegionOffset table = driver_->region().allocate(bytes);
  std::uint16_t number = 0;
  for (Entry& entry : entries) {
    entry.piece.descriptor = number++;
    entry.piece.in_table = true;
    driver_->put_table_entry(table, entry.piece.descriptor,
                             entry.descriptor(number == entries.size(), number));
  }
  driver_->put_descriptor(descriptor, {.address = driver_->address(table),
                                       .length = bytes,
                                       .flags = spec::VIRTQ_DESC_F_INDIRECT,
                                       .next = 0});
  return {.offset = table,
          .entries = static_cast<std::uint16_t>(entries.size()),
          .descriptor = descriptor};
}

BuiltChain ChainBuilder::submit() {
  BuiltChain chain = build();
  driver_->make_available(chain.head());
  return chain;
}

}  // namespace airlock::testing
