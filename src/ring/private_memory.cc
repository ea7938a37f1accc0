// SPDX-License-Identifier: Apache-2.0
#include "ring/private_memory.h"

#include <cstring>
#include <utility>

namespace airlock::ring {

PrivateMemory::PrivateMemory(std::size_t bytes)
    : memory_(static_cast<std::byte*>(::operator new(bytes, std::align_val_t{kAlignment}))),
      size_(bytes) {
  std::memset(memory_.get(), 0, size_);
}

PrivateMemory SpareMemory::take(std::size_t bytes) {
  if (spare_.empty()) return PrivateMemory(bytes);
  PrivateMemory last = std::move(spare_.back());
  spare_.pop_back();
  bytes_ -= last.bytes().size();
  if (last.bytes().size() >= bytes) return last;
  return PrivateMemory(bytes);
}

void SpareMemory::give(PrivateMemory memory) {
  const std::size_t bytes = memory.bytes().size();
  if (bytes > kBytesMost - bytes_) return;
  bytes_ += bytes;
  spare_.push_back(std::move(memory));
}

}  // namespace airlock::ring
