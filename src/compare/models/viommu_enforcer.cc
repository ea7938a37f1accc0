// SPDX-License-Identifier: Apache-2.0
#include "compare/models/viommu_enforcer.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <optional>
#include <utility>

#include "compare/models/viommu.h"

namespace airlock::compare {

namespace {

using IoPage = std::array<std::byte, kPageBytes>;

// A device that looks where nothing is must not make this process keep more than this.
constexpr std::size_t kUntoldFaultsMost = 256;

std::uint64_t io_offset(const iommu::Mapping& mapping) {
  return mapping.range.first - std::to_underlying(kIoBase);
}
std::uint64_t length_of(const iommu::Mapping& mapping) {
  return mapping.range.last - mapping.range.first + 1;
}

// Only what is different goes there. By words, as most of a page is the same.
void merge_io(const IoPage& shown, const IoPage& found, std::span<std::byte> target) {
  constexpr std::size_t kMergedWord = 8;
  for (std::size_t word = 0; word < shown.size(); word += kMergedWord) {
    if (std::memcmp(&shown.at(word), &found.at(word), kMergedWord) == 0) continue;
    for (std::size_t i = 0; i < kMergedWord; ++i) {
      const std::size_t at = word + i;
      if (shown.at(at) != found.at(at)) target[at] = found.at(at);
    }
  }
}

}  // namespace

Result<std::unique_ptr<EndpointMemory>> EndpointMemory::create(std::uint64_t bytes) {
  auto made = std::make_unique<EndpointMemory>();
  made->file_ = TRY(shm::SealedMemfd::create({.name = "airlock-io", .size = bytes}));
  made->mapping_ = TRY(made->file_.map());
  made->shown_file_ = TRY(shm::SealedMemfd::create({.name = "airlock-shown", .size = bytes}));
  made->shown_ = TRY(made->shown_file_.map());
  return made;
}

void EndpointMemory::show(std::uint64_t offset, std::span<const std::byte> memory) {
  // From one copy to the other: the guest may write to its memory in between.
  shown_.bytes().copy_in(offset, memory);
  mapping_.bytes().copy_in(offset, shown_.bytes().in_place().subspan(offset, memory.size()));
}

Result<bool> EndpointMemory::hide(std::uint64_t offset, std::uint64_t length,
                                  std::span<std::byte> memory) {
  std::vector<IoPage> found(length / kPageBytes);
  mapping_.bytes().copy_out(offset, std::as_writable_bytes(std::span(found)));
  TRY(punch({.offset = offset, .length = length}));
  bool changed = false;
  for (std::size_t i = 0; i < found.size(); ++i) {
    IoPage shown;
    shown_.bytes().copy_out(offset + i * kPageBytes, shown);
    if (shown == found[i]) continue;
    changed = true;
    if (!memory.empty()) merge_io(shown, found[i], memory.subspan(i * kPageBytes, kPageBytes));
  }
  return changed;
}

Result<EndpointMemory::Present> EndpointMemory::present(std::uint64_t offset) const {
  const off_t first = ::lseek(file_.fd().get(), static_cast<off_t>(offset), SEEK_DATA);
  if (first < 0) {
    if (errno == ENXIO) return Present{.offset = file_.size(), .length = 0};
    return fail(system_error());
  }
  const off_t end = ::lseek(file_.fd().get(), first, SEEK_HOLE);
  if (end < 0) return fail(system_error());
  return Present{.offset = static_cast<std::uint64_t>(first),
                 .length = static_cast<std::uint64_t>(end - first)};
}

bool EndpointMemory::blank(const Present& part) const {
  const auto bytes = mapping_.bytes().in_place().subspan(part.offset, part.length);
  return std::ranges::all_of(bytes, [](std::byte byte) { return byte == std::byte{0}; });
}

Result<void> EndpointMemory::punch(const Present& part) const {
  if (::fallocate(file_.fd().get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                  static_cast<off_t>(part.offset), static_cast<off_t>(part.length)) != 0) {
    return fail(system_error());
  }
  return {};
}

Result<void> ViommuEnforcer::add(std::uint32_t endpoint) {
  endpoints_[endpoint] = TRY(EndpointMemory::create(kIoBytes));
  return {};
}

const EndpointMemory* ViommuEnforcer::find(std::uint32_t endpoint) const {
  const auto found = endpoints_.find(endpoint);
  return found == endpoints_.end() ? nullptr : found->second.get();
}

Result<void> ViommuEnforcer::confine(std::uint32_t endpoint) {
  if (has_everything_.contains(endpoint)) return fail(Errc::kWrongState);
  return {};
}

// What may be written can be read, as where there are no write-only pages: VIRTIO 1.3, 5.13.6.5.2.
Result<void> ViommuEnforcer::let_at(std::uint32_t endpoint, const iommu::Mapping& mapping) {
  if (!mapping.readable && !mapping.writable) return {};
  const std::uint64_t length = length_of(mapping);
  const std::uint64_t at = mapping.physical - std::to_underlying(kPrivateBase);
  endpoints_.at(endpoint)->show(io_offset(mapping), own_.span().subspan(at, length));
  moved_bytes_ += length;
  pages_ += length / kPageBytes;
  pages_most_ = std::max(pages_most_, pages_);
  return {};
}

Result<void> ViommuEnforcer::take_back(std::uint32_t endpoint, const iommu::Mapping& mapping) {
  const std::uint64_t length = length_of(mapping);
  // Of one that allows nothing, nothing was shown.
  if (keep_ || (!mapping.readable && !mapping.writable)) return {};
  const std::uint64_t at = mapping.physical - std::to_underlying(kPrivateBase);
  std::span<std::byte> memory;
  if (mapping.writable) memory = own_.span().subspan(at, length);
  const bool changed = TRY(endpoints_.at(endpoint)->hide(io_offset(mapping), length, memory));
  moved_bytes_ += length;
  pages_ -= length / kPageBytes;
  if (changed && !mapping.writable && faults_.size() < kUntoldFaultsMost) {
    faults_.push_back({.reason = spec::VIRTIO_IOMMU_FAULT_R_MAPPING,
                       .access = window::Access::kWrite,
                       .endpoint = endpoint,
                       .address = mapping.range.first});
  }
  return {};
}

Result<void> ViommuEnforcer::find_strays(const iommu::Iommu& iommu, std::uint32_t endpoint) {
  const EndpointMemory& memory = *endpoints_.at(endpoint);
  const auto refusal = [&](std::uint64_t offset) -> std::optional<iommu::Fault> {
    const std::uint64_t address = std::to_underlying(kIoBase) + offset;
    const iommu::AddressRange page{.first = address, .last = address + kPageBytes - 1};
    if (iommu.translate(endpoint, page, window::Access::kWrite)) return std::nullopt;
    const auto read = iommu.translate(endpoint, page, window::Access::kRead);
    return read ? std::nullopt : std::optional(read.error());
  };
  std::uint64_t at = 0;
  for (;;) {
    const EndpointMemory::Present part = TRY(memory.present(at));
    if (part.length == 0) return {};
    at = part.offset;
    const std::uint64_t end = part.offset + part.length;
    std::optional<iommu::Fault> fault;
    for (; at < end && !fault; at += kPageBytes)
      fault = refusal(at);
    if (!fault) continue;
    const std::uint64_t first = at - kPageBytes;
    while (at < end && refusal(at))
      at += kPageBytes;
    const EndpointMemory::Present stray{.offset = first, .length = at - first};
    if (!memory.blank(stray)) fault->access = window::Access::kWrite;
    TRY(memory.punch(stray));
    if (faults_.size() < kUntoldFaultsMost) faults_.push_back(*fault);
  }
}

Result<std::vector<iommu::Fault>> ViommuEnforcer::take_faults(const iommu::Iommu& iommu) {
  if (!keep_) {
    for (const auto& [endpoint, memory] : endpoints_)
      TRY(find_strays(iommu, endpoint));
  }
  return std::exchange(faults_, {});
}

}  // namespace airlock::compare
