// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

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
  Mapping(std::byte* base, std::uint64_t size) : base_(base), size_(size) {}

  std::byte* base_ = nullptr;
  std::uint64_t size_ = 0;
};

}  // namespace airlock::shm
