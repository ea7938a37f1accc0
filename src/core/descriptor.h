/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * The device's check of a descriptor chain, one descriptor at a time.
 *
 * The caller reads each descriptor from shared memory once, into a struct airlock_descriptor, and
 * hands that private copy here; what passes needs no second look at the ring. A walk ends after at
 * most queue_size steps whatever the driver writes. Where the addresses lead is not decided here:
 * that is the window's.
 */
#ifndef AIRLOCK_CORE_DESCRIPTOR_H
#define AIRLOCK_CORE_DESCRIPTOR_H

#include "core/types.h"
#include "core/verdict.h"

/* Flags of a descriptor. VIRTIO 1.3, 2.7.5. */
#define AIRLOCK_DESC_NEXT 1u
#define AIRLOCK_DESC_WRITE 2u
#define AIRLOCK_DESC_INDIRECT 4u

/* A private copy of one descriptor, in native byte order. */
struct airlock_descriptor {
  uint64_t address; /* bus address or offset, as the window's mode has it */
  uint32_t length;  /* bytes */
  uint16_t flags;   /* AIRLOCK_DESC_* */
  uint16_t next;    /* index, meaningful iff flags has AIRLOCK_DESC_NEXT */
};

/* What is known of a chain so far. Zero-initialise all but queue_size. */
struct airlock_chain {
  uint32_t queue_size;     /* entries of the table that is walked, 1 to 32768 */
  uint32_t count;          /* descriptors taken */
  uint32_t readable_bytes; /* for the device to read */
  uint32_t writable_bytes; /* for the device to write */
  bool writing;            /* a device-writable descriptor was seen */
};

/* The check of an index into the descriptor table: a head, or a next. */
static inline enum airlock_verdict airlock_check_index(uint32_t index, uint32_t queue_size) {
  return index < queue_size ? AIRLOCK_OK : AIRLOCK_BAD_INDEX;
}

/*
 * Takes one more descriptor into the chain, or says why it can't be. On anything but AIRLOCK_OK
 * the chain is unchanged and must be abandoned. Proves, descriptor by descriptor: no more than
 * queue_size of them; flags known; readable before writable; no length of zero; the chain's sum of
 * bytes fits 32 bits; next, where there is one, below queue_size.
 * VIRTIO 1.3, 2.7.4.2, 2.7.5, 2.7.5.1, 2.7.5.2.
 */
static inline enum airlock_verdict airlock_chain_step(struct airlock_chain* chain,
                                                      const struct airlock_descriptor* descriptor) {
  const uint32_t known = AIRLOCK_DESC_NEXT | AIRLOCK_DESC_WRITE;
  const bool writes = (descriptor->flags & AIRLOCK_DESC_WRITE) != 0;
  const uint32_t taken = chain->readable_bytes + chain->writable_bytes;

  if (chain->count >= chain->queue_size) return AIRLOCK_CHAIN_TOO_LONG;
  if ((descriptor->flags & ~known) != 0) return AIRLOCK_BAD_FLAGS;
  if (descriptor->length == 0) return AIRLOCK_BAD_LENGTH;
  if (!writes && chain->writing) return AIRLOCK_BAD_ORDER;
  if (descriptor->length > UINT32_MAX - taken) return AIRLOCK_CHAIN_TOO_BIG;
  if ((descriptor->flags & AIRLOCK_DESC_NEXT) != 0 &&
      airlock_check_index(descriptor->next, chain->queue_size) != AIRLOCK_OK)
    return AIRLOCK_BAD_INDEX;

  chain->count++;
  chain->writing = writes;
  if (writes)
    chain->writable_bytes += descriptor->length;
  else
    chain->readable_bytes += descriptor->length;
  return AIRLOCK_OK;
}

#endif
