// SPDX-License-Identifier: Apache-2.0
//
// The seam on the driver's side. What a driver asks of its DMA API, an Access answers in the way of
// one model; rings, requests and checks are the same for all.
//
// driver::Blk and driver::Net are not used here: they speak to the pool of a region, without a
// virtual call on their way. RigDisk and RigNet are small drivers on the same rings that speak to
// this.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "compare/device_link.h"
#include "compare/private_memory.h"
#include "pool/pool.h"

namespace airlock::compare {

/// A live mapping: where the device finds the bytes, and the model's own name for it.
struct MappedBuffer {
  window::RegionOffset offset{};  // in Access::memory(); from Publisher to an address
  std::span<std::byte> buffer;    // the driver's, as it was mapped
  pool::Direction direction = pool::Direction::kToDevice;
  std::array<std::uint64_t, 2> handle{};
};

/// What a model did so far on the guest's side, and had done by its trusted part.
struct AccessCounts {
  std::uint64_t maps = 0;
  std::uint64_t full = 0;              // maps refused for want of room
  std::uint64_t copied_bytes = 0;      // by this process, between private and shared memory
  std::uint64_t messages = 0;          // to the trusted part: what a hypercall would be
  std::uint64_t high_water_bytes = 0;  // of the pool, at most
  std::uint64_t faults = 0;            // of the device's, that a trusted part told the driver of
};
struct TrustedCounts {
  std::uint64_t cpu_ns = 0;
  std::uint64_t copied_bytes = 0;    // that the model is made of
  std::uint64_t stand_in_bytes = 0;  // that the rig copies where a hypervisor changes a page table
  std::uint64_t wakes = 0;           // of others, by eventfd
};

/// One way to let a device at a driver's buffers. One thread. Outlives its mappings.
class Access {
 public:
  Access() = default;
  virtual ~Access() = default;
  Access(const Access&) = delete;
  Access& operator=(const Access&) = delete;

  /// The guest's RAM, in which the application has its buffers.
  [[nodiscard]] virtual const PrivateMemory& private_memory() const = 0;
  /// All that addresses in rings lead to; driver and device see it, whole or in part.
  [[nodiscard]] virtual shm::SharedBytes memory() const = 0;
  /// How an offset in memory() becomes an address.
  [[nodiscard]] virtual window::Publisher publisher() const = 0;

  /// The features that the driver accepts. Errors: kUnsupported, with one that has to be there.
  [[nodiscard]] virtual Result<std::uint64_t> choose(std::uint64_t offered) const;
  /// Memory in memory() that driver and device use all the time, zeroed; for as long as this lives.
  /// Errors: kPoolFull.
  virtual Result<window::RegionOffset> allocate_coherent(std::uint64_t bytes) = 0;
  /// A buffer that needs no copy, for as long as this lives. Most models have none: it is then
  /// private memory at `offset` (CHECK: inside). Errors: kPoolFull.
  virtual Result<std::span<std::byte>> allocate_buffer(std::uint64_t offset, std::uint64_t bytes);

  /// Lets the device at a buffer. Errors: kPoolFull (there may be room later), kTooLarge (never),
  /// kOutOfRange (no buffer of this guest's); those of the trusted part.
  virtual Result<MappedBuffer> map(std::span<std::byte> buffer, pool::Direction direction) = 0;
  /// Shows the device what the driver wrote to a mapped buffer since. Errors: as unmap().
  virtual Result<void> sync_for_device(const MappedBuffer& mapped) = 0;
  /// Ends it: the first `written` bytes are the driver's to read, and the device's no more.
  /// Errors: kBadHandle; those of the trusted part.
  virtual Result<void> unmap(const MappedBuffer& mapped, std::uint64_t written) = 0;

  /// DRIVER_OK: whoever serves the queues is told of them. Errors: theirs.
  virtual Result<void> start(DeviceLink& device, std::span<const QueueLink> queues) = 0;

  [[nodiscard]] virtual AccessCounts counts() const = 0;
  [[nodiscard]] virtual Result<TrustedCounts> trusted_counts() { return TrustedCounts{}; }

 protected:
  /// choose() of a model whose addresses lead nowhere, or elsewhere, as physical ones: a device
  /// without ACCESS_PLATFORM would take them for that. Errors: kUnsupported. SYS-5.
  [[nodiscard]] Result<std::uint64_t> choose_of_platform(std::uint64_t offered) const;
};

}  // namespace airlock::compare
