// SPDX-License-Identifier: Apache-2.0
#include "ring/private_memory.h"

#include <sys/mman.h>

#include <new>
#include <utility>

namespace airlock::ring {

PrivateMemory::PrivateMemory(std::size_t bytes) {
  if (bytes == 0) return;
  void* const memory =
      mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  memory_ = {static_cast<std::byte*>(memory), Unmap{.size = bytes}};
}

void PrivateMemory::Unmap::operator()(std::byte* memory) const {
  munmap(memory, size);
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
