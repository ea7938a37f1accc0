// SPDX-License-Identifier: Apache-2.0
#include "compare/rig_slots.h"

namespace airlock::compare {

RigSlots::RigSlots(Access& access) : access_(access), slots_(RigDriver::kDepthMost) {
  for (std::uint32_t slot = RigDriver::kDepthMost; slot > 0; --slot)
    free_.push_back(slot - 1);
}

Result<std::uint32_t> RigSlots::take(const RigDriver::Request& request, pool::Direction direction) {
  if (free_.empty()) return fail(Errc::kQueueFull);
  auto mapped = access_.map(request.buffer, direction);
  if (!mapped) {
    count_error();
    return fail(mapped.error());
  }
  const std::uint32_t index = free_.back();
  free_.pop_back();
  slots_[index] = {.mapped = *mapped, .request = request, .since = RigDriver::Clock::now()};
  return index;
}

void RigSlots::abandon(std::uint32_t index) {
  static_cast<void>(access_.unmap(slots_.at(index).mapped, 0));
  free_.push_back(index);
}

Result<void> RigSlots::release(std::uint32_t index, std::uint64_t written) {
  const Slot& slot = slots_.at(index);
  TRY(access_.unmap(slot.mapped, written));
  counts_.mapped_ns += static_cast<std::uint64_t>(
      std::chrono::nanoseconds(RigDriver::Clock::now() - slot.since).count());
  free_.push_back(index);
  return {};
}

}  // namespace airlock::compare
