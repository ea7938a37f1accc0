// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "base/fd.h"
#include "shm/mapping.h"

namespace airlock::shm {

enum class PageKind : std::uint8_t { kNormal, kHuge };

/// Memory that two processes share and neither can pull away from the other: a memfd with
/// F_SEAL_SHRINK, F_SEAL_GROW and F_SEAL_SEAL, so that no truncation makes the other side fault.
/// Nothing but the region may live in it: whoever gets the fd can map all of it.
class SealedMemfd {
 public:
  struct Options {
    const char* name = "airlock";  // shown in /proc/PID/maps
    std::uint64_t size = 0;        // bytes; a multiple of the page size
    PageKind pages = PageKind::kNormal;
  };

  /// Errors: kSystem (with PageKind::kHuge also when there are no huge pages), kNotAligned,
  /// kTooSmall.
  static Result<SealedMemfd> create(const Options& options);

  /// Takes over a peer's memfd of which exactly `size` bytes were announced.
  ///
  /// Seals don't keep a peer from punching holes. Normal pages come back, zeroed, when they are
  /// touched next; huge ones come from a pool that may be exhausted by then, and who touches them
  /// dies (SIGBUS). They are for peers that are trusted with that: `pages` is what is accepted.
  /// Errors: kUnsealed, kHugePages, kWrongSize, kSystem.
  static Result<SealedMemfd> adopt(Fd fd, std::uint64_t size, PageKind pages = PageKind::kNormal);

  SealedMemfd() = default;
  [[nodiscard]] const Fd& fd() const { return fd_; }
  [[nodiscard]] std::uint64_t size() const { return size_; }
  /// Gives the memory back to the system: all of it reads as zeros, in every process that maps it.
  void discard() const;
  /// Maps all of it, readable and writable. Errors: kSystem.
  [[nodiscard]] Result<Mapping> map() const;

 private:
  SealedMemfd(Fd fd, std::uint64_t size) : fd_(std::move(fd)), size_(size) {}

  Fd fd_;
  std::uint64_t size_ = 0;
};

}  // namespace airlock::shm
