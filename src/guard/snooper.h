// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "core/snoop.h"
#include "guard/virtio_record.h"
#include "window/guest_memory.h"

namespace airlock::guard {

/// Follows a device's split rings in guest memory, for the policy `snoop`: what is invited at a
/// moment is in queues(). It reads memory that the VM shared by a file; of other memory it knows
/// nothing, and nothing of it is invited. One thread.
class Snooper {
 public:
  /// Memory of the VM's, as it maps and unmaps it; one that can't be mapped here invites nothing.
  void map(const window::GuestMemory::Range& range, const Fd& fd);
  void unmap(std::uint64_t address, std::uint64_t size);

  /// Looks what the driver has made available since, in the queues that it has set up.
  void follow(const VirtioRecord& virtio) { follow(virtio.queue_areas(), virtio.features()); }
  /// The same for who knows by other means which queues there are, by index.
  void follow(const std::map<std::uint16_t, VirtioRecord::QueueAreas>& areas,
              std::uint64_t features);
  /// Whether a write changes no used element but those that the device may return next: it could
  /// otherwise tell the driver of another chain than it has told of here.
  [[nodiscard]] bool keeps_used_elements(std::uint64_t address, std::uint64_t size) const;
  /// The device writes, as it was allowed to: what it returns so is invited no more.
  void wrote(std::uint64_t address, std::span<const std::byte> bytes);

  /// For airlock_guard_memory; until the next call of any of the above.
  [[nodiscard]] std::span<const airlock_snoop> queues();

 private:
  struct Queue {
    VirtioRecord::QueueAreas areas;
    std::uint64_t features = 0;
    airlock_snoop state{};
    std::vector<airlock_snoop_live> live;
    std::vector<std::byte> used;  // the used ring, as the device has written it
    std::uint16_t available_index = 0;
    std::uint16_t used_index = 0;
  };

  void open(Queue& queue, const VirtioRecord::QueueAreas& areas, std::uint64_t features);
  void follow(Queue& queue);
  bool walk(Queue& queue, std::uint16_t head);
  void retire(Queue& queue);

  window::GuestMemory memory_;
  std::map<std::uint16_t, Queue> queues_;
  std::vector<airlock_snoop> view_;
};

}  // namespace airlock::guard
