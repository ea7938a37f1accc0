// SPDX-License-Identifier: Apache-2.0
#include "pci/msix.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "base/check.h"
#include "core/range.h"

namespace airlock::pci {

namespace {

constexpr std::uint64_t kTableBarLeast = 4096;
constexpr std::uint32_t kBitsPerWord = 64;

std::uint32_t table_bytes(std::uint16_t count) {
  return count * static_cast<std::uint32_t>(sizeof(spec::PciMsixEntry));
}

std::uint32_t pending_bytes(std::uint16_t count) {
  return (count + kBitsPerWord - 1) / kBitsPerWord * 8;
}

}  // namespace

MsixVectors::MsixVectors(std::uint16_t count)
    : count_(count), slots_(std::make_unique<Slot[]>(count)) {
  CHECK(count >= 1 && count <= spec::PCI_MSIX_VECTORS_MAX);
}

Result<void> MsixVectors::install(std::uint16_t vector, EventFd event) {
  if (vector >= count_) return fail({.code = Errc::kOutOfRange, .detail = 1, .address = vector});
  Slot& slot = slots_[vector];
  const std::scoped_lock lock(slot.mutex);
  slot.event = std::move(event);
  if (slot.event && std::exchange(slot.pending, false)) slot.event.signal();
  return {};
}

Result<Fd> MsixVectors::eventfd(std::uint16_t vector) const {
  if (vector >= count_) return Fd();
  Slot& slot = slots_[vector];
  const std::scoped_lock lock(slot.mutex);
  if (!slot.event) return Fd();
  return slot.event.duplicate();
}

void MsixVectors::remove_all() {
  for (std::uint16_t vector = 0; vector < count_; ++vector) {
    Slot& slot = slots_[vector];
    const std::scoped_lock lock(slot.mutex);
    slot.event = EventFd();
    slot.pending = false;
  }
}

void MsixVectors::clear_pending() {
  for (std::uint16_t vector = 0; vector < count_; ++vector) {
    Slot& slot = slots_[vector];
    const std::scoped_lock lock(slot.mutex);
    slot.pending = false;
  }
}

void MsixVectors::fire(std::uint16_t vector) {
  if (vector >= count_) return;
  Slot& slot = slots_[vector];
  const std::scoped_lock lock(slot.mutex);
  if (slot.event) {
    slot.event.signal();
  } else {
    slot.pending = true;
  }
}

MsixTable::MsixTable(std::uint16_t count)
    : count_(count),
      bar_size_(std::max<std::uint64_t>(
          kTableBarLeast, std::bit_ceil(std::uint64_t{table_bytes(count) + pending_bytes(count)}))),
      table_(table_bytes(count)) {
  CHECK(count >= 1 && count <= spec::PCI_MSIX_VECTORS_MAX);
  reset();
}

std::uint32_t MsixTable::pba_offset() const {
  return table_bytes(count_);
}

spec::PciMsixCap MsixTable::capability(std::uint8_t bar) const {
  CHECK(bar < spec::PCI_STD_NUM_BARS);
  return {.cap_id = spec::PCI_CAP_ID_MSIX,
          .next = 0,
          .message_control = Le16(static_cast<std::uint16_t>(count_ - 1)),
          .table = Le32(bar),
          .pba = Le32(pba_offset() | bar)};
}

void MsixTable::read(std::uint64_t offset, std::span<std::byte> target) const {
  CHECK(airlock_range_within(offset, target.size(), bar_size_));
  std::ranges::fill(target, std::byte{0});
  if (offset >= table_.size()) return;
  const auto here = std::span(table_).subspan(offset);
  std::ranges::copy(here.first(std::min(here.size(), target.size())), target.begin());
}

void MsixTable::write(std::uint64_t offset, std::span<const std::byte> source) {
  CHECK(airlock_range_within(offset, source.size(), bar_size_));
  if (offset >= table_.size()) return;
  const std::size_t length = std::min<std::size_t>(source.size(), table_.size() - offset);
  std::ranges::copy(source.first(length), table_.begin() + static_cast<std::ptrdiff_t>(offset));
}

void MsixTable::reset() {
  constexpr spec::PciMsixEntry kMasked = {
      .address_low = Le32(0),
      .address_high = Le32(0),
      .data = Le32(0),
      .vector_control = Le32(spec::PCI_MSIX_ENTRY_CTRL_MASKBIT)};
  const auto entry = std::as_bytes(std::span(&kMasked, 1));
  for (std::size_t at = 0; at < table_.size(); at += entry.size()) {
    std::ranges::copy(entry, table_.begin() + static_cast<std::ptrdiff_t>(at));
  }
}

}  // namespace airlock::pci
