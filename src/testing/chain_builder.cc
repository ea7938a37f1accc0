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

BuiltChain ChainBuilder::build() {
  CHECK(!entries_.empty());
  const std::size_t first = driver_->take_descriptors(entries_.size());
  const std::uint32_t mask = driver_->size().mask();
  std::vector<BuiltChain::Piece> pieces;
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    const bool last = i + 1 == entries_.size();
    Entry& entry = entries_[i];
    entry.piece.descriptor = static_cast<std::uint16_t>((first + i) & mask);
    const std::size_t next = last ? 0 : (first + i + 1) & mask;
    const unsigned flags = (entry.piece.writable ? spec::VIRTQ_DESC_F_WRITE : 0U) |
                           (last ? 0U : spec::VIRTQ_DESC_F_NEXT);
    driver_->put_descriptor(entry.piece.descriptor, {.address = entry.address,
                                                     .length = entry.piece.length,
                                                     .flags = static_cast<std::uint16_t>(flags),
                                                     .next = static_cast<std::uint16_t>(next)});
    pieces.push_back(entry.piece);
  }
  return {*driver_, std::move(pieces)};
}

BuiltChain ChainBuilder::submit() {
  BuiltChain chain = build();
  driver_->make_available(chain.head());
  return chain;
}

}  // namespace airlock::testing
