/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * The driver's check of what a device reports as used. Everything that is compared against is the
 * driver's private record; nothing is read back from shared memory.
 */
#ifndef AIRLOCK_CORE_USED_H
#define AIRLOCK_CORE_USED_H

#include "core/types.h"
#include "core/verdict.h"

/*
 * A ring index that the peer owns moved from `seen` to `now` (both modulo 2^16). It may have moved
 * by at most `limit`: what is outstanding for a used index (HD-4), the queue size for an available
 * one (VIRTIO 1.3, 2.7.6). Going back is a jump of nearly 2^16.
 */
static inline enum airlock_verdict airlock_check_index_advance(uint16_t seen, uint16_t now,
                                                               uint32_t limit) {
  return (uint16_t)(now - seen) <= limit ? AIRLOCK_OK : AIRLOCK_BAD_INDEX_JUMP;
}

/* The id of a used element, read once. Only what passes may index the driver's records. HD-1. */
static inline enum airlock_verdict airlock_check_used_id(uint32_t id, uint32_t queue_size) {
  return id < queue_size ? AIRLOCK_OK : AIRLOCK_BAD_INDEX;
}

/*
 * The rest of the element, against the record that its id names: whether that head is in flight,
 * and how many bytes (writable_bytes) the driver gave the device to write. HD-2, HD-3.
 */
static inline enum airlock_verdict airlock_check_used_element(bool outstanding, uint32_t length,
                                                              uint32_t writable_bytes) {
  if (!outstanding) return AIRLOCK_NOT_OUTSTANDING;
  if (length > writable_bytes) return AIRLOCK_BAD_LENGTH;
  return AIRLOCK_OK;
}

#endif
