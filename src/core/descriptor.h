/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * A descriptor as a private copy: read from shared memory once, whatever the ring's format, and
 * never looked at there again.
 */
#ifndef AIRLOCK_CORE_DESCRIPTOR_H
#define AIRLOCK_CORE_DESCRIPTOR_H

#include "core/types.h"
#include "core/verdict.h"

/* Flags of a descriptor. VIRTIO 1.3, 2.7.5 and 2.8.1; the last two exist in packed rings only. */
#define AIRLOCK_DESC_NEXT 1u
#define AIRLOCK_DESC_WRITE 2u
#define AIRLOCK_DESC_INDIRECT 4u
#define AIRLOCK_DESC_AVAIL 0x80u
#define AIRLOCK_DESC_USED 0x8000u

/* Bytes of a descriptor in shared memory, in both formats. */
#define AIRLOCK_DESC_BYTES 16u

/* In native byte order. */
struct airlock_descriptor {
  uint64_t address; /* bus address or offset, as the window's mode has it */
  uint32_t length;  /* bytes */
  uint16_t flags;   /* AIRLOCK_DESC_* */
  uint16_t next;    /* split: index, meaningful iff flags has NEXT. packed: the buffer's id */
};

/* The check of an index into the descriptor table: a head, or a next. */
static inline enum airlock_verdict airlock_check_index(uint32_t index, uint32_t queue_size) {
  return index < queue_size ? AIRLOCK_OK : AIRLOCK_BAD_INDEX;
}

#endif
