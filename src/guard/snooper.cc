// SPDX-License-Identifier: Apache-2.0
#include "guard/snooper.h"

#include <algorithm>

#include "base/log.h"
#include "core/used.h"
#include "spec/virtio_ring.h"
#include "wire/message.h"

namespace airlock::guard {

namespace {

// Of the available and the used ring: flags, index, entries. VIRTIO 1.3, 2.7.6 and 2.7.8.
constexpr std::uint64_t kIndexOffset = 2;
constexpr std::uint64_t kEntriesOffset = 4;
constexpr std::uint64_t kUsedBytes = 8;  // of a used element
// Buffers in flight that are followed, for each entry of a queue: indirect tables make them many.
constexpr std::size_t kLivePerEntry = 16;

}  // namespace

void Snooper::map(const window::GuestMemory::Range& range, const Fd& fd) {
  if (const auto mapped = memory_.map(range, fd); !mapped) {
    log(LogLevel::kWarning, "guest memory can't be followed: {}", describe(mapped.error()));
  }
}

void Snooper::unmap(std::uint64_t address, std::uint64_t size) {
  static_cast<void>(memory_.unmap(window::BusAddress(address), size));
}

void Snooper::open(Queue& queue, const VirtioRecord::QueueAreas& areas, std::uint64_t features) {
  queue = Queue{};
  queue.areas = areas;
  queue.features = features;
  queue.live.resize(kLivePerEntry * areas.size);
  queue.used.resize(kEntriesOffset + kUsedBytes * areas.size);
  queue.state.descriptors = areas.descriptors;
  queue.state.driver_area = areas.driver;
  queue.state.device_area = areas.device;
  queue.state.rules.queue_size = areas.size;
  queue.state.live = queue.live.data();
  queue.state.capacity = static_cast<std::uint32_t>(queue.live.size());
  static_cast<void>(airlock_snoop_open(&queue.state, features));
}

void Snooper::follow(const std::map<std::uint16_t, VirtioRecord::QueueAreas>& areas,
                     std::uint64_t features) {
  std::erase_if(queues_, [&](const auto& entry) { return !areas.contains(entry.first); });
  for (const auto& [index, area] : areas) {
    Queue& queue = queues_[index];
    if (queue.areas != area || queue.features != features) {
      open(queue, area, features);
    }
    if (queue.state.rules.queue_size != 0) follow(queue);
  }
}

void Snooper::follow(Queue& queue) {
  const std::uint32_t size = queue.areas.size;
  const auto ring = memory_.find(queue.areas.driver, kEntriesOffset + std::uint64_t{2} * size,
                                 window::Access::kRead);
  // Before the driver has made its memory known there is nothing to follow.
  if (!ring || queue.areas.driver % 2 != 0) return;
  const std::uint16_t index = ring->load_acquire<Le16>(kIndexOffset).get();
  if (airlock_check_index_advance(queue.available_index, index, size) != AIRLOCK_OK) {
    airlock_snoop_close(&queue.state, AIRLOCK_GUARD_BAD_CHAIN);
    return;
  }
  for (; queue.available_index != index; ++queue.available_index) {
    const std::uint64_t slot = queue.available_index % size;
    if (!walk(queue, ring->load_relaxed<Le16>(kEntriesOffset + 2 * slot).get())) return;
  }
}

// Each descriptor is read once, and judged by core from the copy.
bool Snooper::walk(Queue& queue, std::uint16_t head) {
  airlock_chain chain{};
  if (airlock_snoop_begin(&queue.state, &chain, head) != AIRLOCK_GUARD_PASS) return false;
  while (chain.more) {
    const auto bytes = memory_.find(airlock_snoop_next(&queue.state, &chain),
                                    sizeof(spec::VirtqDesc), window::Access::kRead);
    if (!bytes) {
      airlock_snoop_close(&queue.state, AIRLOCK_GUARD_BAD_CHAIN);
      return false;
    }
    const auto wire = bytes->snapshot<spec::VirtqDesc>(0);
    const airlock_descriptor descriptor{.address = wire.addr.get(),
                                        .length = wire.len.get(),
                                        .flags = wire.flags.get(),
                                        .next = wire.next.get()};
    if (airlock_snoop_step(&queue.state, &chain, head, &descriptor) != AIRLOCK_GUARD_PASS) {
      return false;
    }
  }
  return true;
}

bool Snooper::keeps_used_elements(std::uint64_t address, std::uint64_t size) const {
  for (const auto& [index, queue] : queues_) {
    const std::uint64_t entries = queue.areas.size;
    for (std::uint64_t ahead = queue.state.chains; ahead < entries; ++ahead) {
      const std::uint64_t slot = (queue.used_index + ahead) % entries;
      const std::uint64_t element = queue.areas.device + kEntriesOffset + kUsedBytes * slot;
      if (airlock_ranges_overlap(address, size, element, kUsedBytes)) return false;
    }
  }
  return true;
}

void Snooper::wrote(std::uint64_t address, std::span<const std::byte> bytes) {
  for (auto& [index, queue] : queues_) {
    const std::uint64_t first = queue.areas.device;
    if (!airlock_ranges_overlap(address, bytes.size(), first, queue.used.size())) continue;
    for (std::size_t i = 0; i < queue.used.size(); ++i) {
      const std::uint64_t at = first + i;
      if (at >= address && at - address < bytes.size()) queue.used[i] = bytes[at - address];
    }
    retire(queue);
  }
}

void Snooper::retire(Queue& queue) {
  if (queue.state.rules.queue_size == 0) return;
  const auto index = vfio_user::require_struct<Le16>(queue.used, kIndexOffset).get();
  if (airlock_check_index_advance(queue.used_index, index, queue.state.chains) != AIRLOCK_OK) {
    airlock_snoop_close(&queue.state, AIRLOCK_GUARD_BAD_CHAIN);
    return;
  }
  for (; queue.used_index != index; ++queue.used_index) {
    const std::uint64_t slot = queue.used_index % queue.areas.size;
    const auto id =
        vfio_user::require_struct<Le32>(queue.used, kEntriesOffset + kUsedBytes * slot).get();
    if (airlock_snoop_retire(&queue.state, id) != AIRLOCK_GUARD_PASS) return;
  }
}

std::span<const airlock_snoop> Snooper::queues() {
  view_.clear();
  for (const auto& [index, queue] : queues_)
    view_.push_back(queue.state);
  return view_;
}

}  // namespace airlock::guard
