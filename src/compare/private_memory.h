// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>

#include "compare/canary.h"
#include "shm/sealed_memfd.h"
#include "window/address.h"

namespace airlock::compare {

/// Where private memory begins on the guest's bus, where a device can be let at it.
inline constexpr window::BusAddress kPrivateBase{0x4000'0000};
/// Where memory begins that driver and device share.
inline constexpr window::BusAddress kSharedBase{0x8000'0000};
inline constexpr std::uint64_t kPageBytes = 4096;

/// The guest's RAM: a file that its device gets in no model but `open`. The first kReserved bytes
/// are kept for rings, by models that have theirs here; the rest is the application's, and full of
/// canary words.
class PrivateMemory {
 public:
  static constexpr std::uint64_t kReserved = std::uint64_t{256} << 10;

  /// Errors: those of SealedMemfd.
  static Result<PrivateMemory> create(std::uint64_t bytes);
  /// Of another process. Errors: those of SealedMemfd::adopt().
  static Result<PrivateMemory> adopt(Fd fd, std::uint64_t bytes);

  PrivateMemory() = default;
  [[nodiscard]] const Fd& fd() const { return memory_.fd(); }
  [[nodiscard]] std::uint64_t size() const { return memory_.size(); }
  [[nodiscard]] shm::SharedBytes bytes() const { return mapping_.bytes(); }
  /// All of it as the guest itself uses it.
  [[nodiscard]] std::span<std::byte> span() const { return mapping_.bytes().in_place(); }
  /// Where `buffer` is in it. Errors: kOutOfRange (not inside, or in the reserved part).
  [[nodiscard]] Result<std::uint64_t> offset_of(std::span<const std::byte> buffer) const;

  /// Fills all but the reserved part.
  void fill(const Canary& canary) const { canary.fill(span().subspan(kReserved), kReserved); }

 private:
  PrivateMemory(shm::SealedMemfd memory, shm::Mapping mapping)
      : memory_(std::move(memory)), mapping_(std::move(mapping)) {}

  shm::SealedMemfd memory_;
  shm::Mapping mapping_;
};

/// Gives out memory for rings, from the start of a stretch on, for as long as that lives.
class CoherentArea {
 public:
  CoherentArea() = default;
  CoherentArea(std::uint64_t first, std::uint64_t end) : next_(first), end_(end) {}

  /// Aligned to a page. Errors: kPoolFull.
  Result<window::RegionOffset> take(std::uint64_t bytes);

 private:
  std::uint64_t next_ = 0;
  std::uint64_t end_ = 0;
};

}  // namespace airlock::compare
