// SPDX-License-Identifier: Apache-2.0
#include "compare/canary.h"

#include <cstring>

#include "base/check.h"

namespace airlock::compare {

void Canary::fill(std::span<std::byte> target, std::uint64_t offset) const {
  CHECK(offset % kWordBytes == 0 && target.size() % kWordBytes == 0);
  std::uint64_t index = offset / kWordBytes;
  for (std::size_t at = 0; at < target.size(); at += kWordBytes) {
    const std::uint64_t value = word(index++);
    std::memcpy(&target[at], &value, sizeof value);
  }
}

}  // namespace airlock::compare
