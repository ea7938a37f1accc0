// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "base/fd.h"
#include "compare/canary.h"

namespace airlock::compare {

/// What is looked for: words of the canary of `key`, in a private memory of `private_bytes`.
struct Look {
  static constexpr std::size_t kDeclaredMost = 6;

  std::uint64_t key = 0;
  std::uint64_t private_bytes = 0;
  std::array<Declared, kDeclaredMost> declared{};  // what the driver gave away on purpose
};

/// What was found: different bytes of the private memory, each counted once.
struct Seen {
  std::uint64_t bytes = 0;          // in all
  std::uint64_t outside_bytes = 0;  // of them, in none of the declared buffers
  std::uint64_t first_outside = 0;  // where the first of those is in the private memory
};

/// All that this process can see: whatever it has mapped (its heap and stacks with it), and all of
/// the files that it was given, mapped or not. Opened before a sandbox closes /proc.
///
/// Mappings of more than kMappingMost bytes are left out: sanitizers reserve terabytes. A word that
/// is not aligned to its size is not found: nobody here copies so.
class Sight {
 public:
  static constexpr std::uint64_t kMappingMost = std::uint64_t{1} << 30;

  /// Errors: kSystem.
  static Result<Sight> open();

  /// Reads everything once. Errors: kSystem (a file that can't be read), kMalformed.
  [[nodiscard]] Result<Seen> look(const Look& look, std::span<const Fd> files) const;

 private:
  Sight(Fd maps, Fd memory) : maps_(std::move(maps)), memory_(std::move(memory)) {}

  Fd maps_;
  Fd memory_;
};

}  // namespace airlock::compare
