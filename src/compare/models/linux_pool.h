// SPDX-License-Identifier: Apache-2.0
//
// What `pool` and `shared` have in common: Linux's swiotlb, over one piece of memory that driver
// and device share.
#pragma once

#include <memory>

#include "compare/access.h"
#include "pool/linux_model.h"

namespace airlock::compare {

/// swiotlb's rules as they are: copied in for every direction, so that partial writes of the device
/// keep the rest (DT-11), 256 KiB at most (DT-8), nothing zeroed, no wait where there is no room;
/// coherent memory comes from the same memory (DT-6). One area, one lock.
class LinuxPool : public Access {
 public:
  struct Options {
    std::uint64_t private_bytes = 0;
    std::uint64_t pool_bytes = 0;
    const char* name = "";  // of the pool's memory, in /proc/PID/maps
  };
  struct Memory {
    PrivateMemory own;
    shm::SealedMemfd shared;
    shm::Mapping mapping;
  };
  /// Errors: those of the memory.
  static Result<Memory> make_memory(const Options& options);

  explicit LinuxPool(Memory memory)
      : memory_(std::move(memory)), pool_(memory_.mapping.bytes(), 1) {}

  [[nodiscard]] const PrivateMemory& private_memory() const override { return memory_.own; }
  [[nodiscard]] shm::SharedBytes memory() const override { return memory_.mapping.bytes(); }
  [[nodiscard]] window::Publisher publisher() const override {
    return {.mode = window::AddressMode::kBus, .region = kSharedBase};
  }
  Result<window::RegionOffset> allocate_coherent(std::uint64_t bytes) override;
  Result<MappedBuffer> map(std::span<std::byte> buffer, pool::Direction direction) override;
  Result<void> sync_for_device(const MappedBuffer& mapped) override;
  Result<void> unmap(const MappedBuffer& mapped, std::uint64_t written) override;
  Result<void> start(DeviceLink& device, std::span<const QueueLink> queues) override;
  [[nodiscard]] AccessCounts counts() const override;

 private:
  Memory memory_;
  pool::LinuxModel pool_;
  AccessCounts counts_;
};

}  // namespace airlock::compare
