// SPDX-License-Identifier: Apache-2.0
#include "ring/queue_record.h"

namespace airlock::ring {

namespace {

std::uint16_t live_as(Format format) {
  return format == Format::kPacked ? spec::QUEUE_STATE_PACKED : spec::QUEUE_STATE_SPLIT;
}

}  // namespace

Result<std::optional<QueueRecord::Progress>> QueueRecord::find(Format format,
                                                               QueueSize size) const {
  if (!live()) return std::optional<Progress>();
  const spec::VirtqState state = load();
  const Progress progress{.position = PackedPosition::from(state.position.get()),
                          .next = PackedPosition::from(state.next.get())};
  const bool same = state.live.get() == live_as(format) && state.size.get() == size.value();
  if (!same || progress.position.slot() >= size.value() || progress.next.slot() >= size.value()) {
    return fail(Errc::kWrongState);
  }
  return std::optional(progress);
}

void QueueRecord::begin(Format format, QueueSize size, PackedPosition start) const {
  store({.live = Le16(live_as(format)),
         .size = Le16(static_cast<std::uint16_t>(size.value())),
         .position = Le16(start.off_wrap()),
         .next = Le16(start.off_wrap())});
}

}  // namespace airlock::ring
