// SPDX-License-Identifier: Apache-2.0
#include "compare/models/linux_pool.h"

#include <utility>
#include <vector>

namespace airlock::compare {

using pool::LinuxModel;

Result<LinuxPool::Memory> LinuxPool::make_memory(const Options& options) {
  Memory memory;
  memory.own = TRY(PrivateMemory::create(options.private_bytes));
  memory.shared = TRY(shm::SealedMemfd::create({.name = options.name, .size = options.pool_bytes}));
  memory.mapping = TRY(memory.shared.map());
  return memory;
}

// Slots that are never given back. A queue's areas and frames fit one mapping.
Result<window::RegionOffset> LinuxPool::allocate_coherent(std::uint64_t bytes) {
  if (bytes > LinuxModel::kLargest) return fail({.code = Errc::kTooLarge, .address = bytes});
  const std::uint64_t pages = (bytes + kPageBytes - 1) / kPageBytes * kPageBytes;
  std::vector<std::byte> zeros(pages);
  const auto slot = pool_.map(zeros, 0);
  if (!slot) return fail(Errc::kPoolFull);
  return window::RegionOffset{*slot * LinuxModel::kSlotBytes};
}

Result<MappedBuffer> LinuxPool::map(std::span<std::byte> buffer, pool::Direction direction) {
  TRY(memory_.own.offset_of(buffer));
  if (buffer.size() > LinuxModel::kLargest) {
    return fail({.code = Errc::kTooLarge, .address = buffer.size()});
  }
  const auto slot = pool_.map(buffer, 0);
  if (!slot) {
    ++counts_.full;
    return fail(Errc::kPoolFull);
  }
  ++counts_.maps;
  counts_.copied_bytes += buffer.size();
  return MappedBuffer{.offset = window::RegionOffset{*slot * LinuxModel::kSlotBytes},
                      .buffer = buffer,
                      .direction = direction,
                      .handle = {*slot, 0}};
}

Result<void> LinuxPool::sync_for_device(const MappedBuffer& mapped) {
  memory().copy_in(std::to_underlying(mapped.offset), mapped.buffer);
  counts_.copied_bytes += mapped.buffer.size();
  return {};
}

// All of it is copied out, whatever the device wrote: swiotlb is not told.
Result<void> LinuxPool::unmap(const MappedBuffer& mapped, std::uint64_t /*written*/) {
  const bool from_device = mapped.direction != pool::Direction::kToDevice;
  pool_.unmap(static_cast<std::uint32_t>(mapped.handle[0]), mapped.buffer.size(), from_device);
  if (from_device) counts_.copied_bytes += mapped.buffer.size();
  return {};
}

Result<void> LinuxPool::start(DeviceLink& device, std::span<const QueueLink> queues) {
  const DeviceLink::Loan loan{.shape = {.size = memory_.shared.size(), .address = kSharedBase},
                              .memory = &memory_.shared.fd()};
  return device.start(std::span(&loan, 1), queues);
}

AccessCounts LinuxPool::counts() const {
  AccessCounts counts = counts_;
  counts.high_water_bytes = pool_.most_used() * LinuxModel::kSlotBytes;
  return counts;
}

}  // namespace airlock::compare
