// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <utility>

#include "base/fd.h"
#include "shm/shared_bytes.h"

namespace airlock::shm {

enum class Protection : std::uint8_t { kRead, kReadWrite };

/// Owns one shared mapping of a file and unmaps it. Movable. Views of it must not outlive it.
class Mapping {
 public:
  struct Options {
    std::uint64_t offset = 0;  // in the file; page aligned
    std::uint64_t length = 0;  // bytes, not zero
    Protection protection = Protection::kReadWrite;
  };

  /// Maps part of `fd`, which may be closed afterwards. The caller vouches for the file's size: who
  /// maps memory that a peer may truncate can be killed by it (SealedMemfd is the safe way).
  /// Errors: kSystem, kNotAligned, kTooSmall (length zero).
  static Result<Mapping> map(const Fd& fd, const Options& options);

  Mapping() = default;
  ~Mapping();
  Mapping(Mapping&& other) noexcept;
  Mapping& operator=(Mapping&& other) noexcept;
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  [[nodiscard]] SharedBytes bytes() const { return {base_, size_}; }

 private:
  friend class Reservation;

  Mapping(std::byte* base, std::uint64_t size) : base_(base), size_(size) {}
  /// At `place`, in a Reservation; null: anywhere.
  static Result<Mapping> map_at(const Fd& fd, const Options& options, std::byte* place);

  std::byte* base_ = nullptr;
  std::uint64_t size_ = 0;
  bool reserved_ = false;  // its addresses go back to a Reservation
};

/// Owns addresses of this process without memory behind them, so that mappings can lie side by side
/// there. Movable. Mappings in it must not outlive it.
class Reservation {
 public:
  /// Room for `size` bytes, whole pages, whose first address is a multiple of kAlignment: what is
  /// aligned for huge pages there is aligned in memory too. Errors: kSystem.
  static Result<Reservation> create(std::uint64_t size);
  static constexpr std::uint64_t kAlignment = std::uint64_t{1} << 30U;

  /// As Mapping::map(), at `at` bytes from the first address, where no other mapping is. Offset and
  /// options.length: whole pages, inside. Errors: those of Mapping::map(); nothing is changed then.
  [[nodiscard]] Result<Mapping> map(const Fd& fd, const Mapping::Options& options,
                                    std::uint64_t at) const;
  /// What lies at the addresses, of which only those of mappings may be touched.
  [[nodiscard]] SharedBytes bytes() const { return addresses_.bytes(); }

 private:
  explicit Reservation(Mapping addresses) : addresses_(std::move(addresses)) {}

  Mapping addresses_;
};

}  // namespace airlock::shm
