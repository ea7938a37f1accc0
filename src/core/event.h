/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * VIRTIO_F_EVENT_IDX: whether a step of a ring passes the place at which the other side wants to
 * hear of it. The other side writes that place and may write anything: every value is legal, and
 * decides on a notification and nothing else (HD-21).
 */
#ifndef AIRLOCK_CORE_EVENT_H
#define AIRLOCK_CORE_EVENT_H

#include "core/types.h"

/*
 * The index went from `before` to `now`, modulo 2^16: was entry number `event` among what was
 * added? VIRTIO 1.3, 2.7.7.2, 2.7.10.
 */
static inline bool airlock_need_event(uint16_t event, uint16_t now, uint16_t before) {
  return (uint16_t)(now - event - 1) < (uint16_t)(now - before);
}

/*
 * The same in a packed ring of `size` slots, VIRTIO 1.3, 2.8.10. `event` is desc_event_off_wrap as
 * read: 15 bits of a slot, and the wrap counter of its lap. We went on by `moved` slots (at most
 * size) and stand at slot `position` with wrap counter `wrap`.
 */
static inline bool airlock_need_event_packed(uint16_t event, uint16_t position, bool wrap,
                                             uint16_t moved, uint32_t size) {
  uint16_t slot = (uint16_t)(event & 0x7fffu);

  if (((event & 0x8000u) != 0) != wrap) slot = (uint16_t)(slot - size); /* of the lap before */
  return airlock_need_event(slot, position, (uint16_t)(position - moved));
}

#endif
