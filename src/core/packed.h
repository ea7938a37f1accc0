/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * What the AVAIL and USED flags of a packed descriptor say, against the reader's own wrap counter
 * for that lap of the ring. Read the flags once, with acquire; then the rest. VIRTIO 1.3, 2.8.1.
 */
#ifndef AIRLOCK_CORE_PACKED_H
#define AIRLOCK_CORE_PACKED_H

#include "core/descriptor.h"
#include "core/types.h"

/* The driver made it available: AVAIL is the driver's wrap counter, USED its inverse. */
static inline bool airlock_packed_is_available(uint16_t flags, bool wrap) {
  return ((flags & AIRLOCK_DESC_AVAIL) != 0) == wrap && ((flags & AIRLOCK_DESC_USED) != 0) != wrap;
}

/* The device used it: AVAIL and USED both are the device's wrap counter. HD-5. */
static inline bool airlock_packed_is_used(uint16_t flags, bool wrap) {
  return ((flags & AIRLOCK_DESC_AVAIL) != 0) == wrap && ((flags & AIRLOCK_DESC_USED) != 0) == wrap;
}

/* The two flags of a descriptor that is made available, or used, in the lap of `wrap`. */
static inline uint16_t airlock_packed_available_flags(bool wrap) {
  return wrap ? AIRLOCK_DESC_AVAIL : AIRLOCK_DESC_USED;
}
static inline uint16_t airlock_packed_used_flags(bool wrap) {
  return wrap ? (uint16_t)(AIRLOCK_DESC_AVAIL | AIRLOCK_DESC_USED) : (uint16_t)0;
}

#endif
