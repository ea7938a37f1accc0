/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * The device's walk along a descriptor chain, as a machine: it says which descriptor to read next,
 * the caller reads it from shared memory once and hands the private copy in. Split and packed
 * rings, with and without indirect tables. What passed needs no second look at the ring, and a walk
 * ends after at most queue_size buffers whatever the driver writes, also while it writes. Where the
 * addresses lead is not decided here: that is the window's.
 *
 *     airlock_chain_begin(&chain, rules, head);
 *     while (chain.more) {
 *       was_in_table = chain.in_table;
 *       descriptor = read number chain.index of the ring, or of the table if chain.in_table;
 *       verdict = airlock_chain_step(&chain, &descriptor);
 *       if it is not AIRLOCK_OK: abandon the chain;
 *       if (chain.in_table && !was_in_table) the descriptor named the table: find it, read only;
 *       else it is a buffer: find it, for the device to write if chain.writing;
 *     }
 */
#ifndef AIRLOCK_CORE_CHAIN_H
#define AIRLOCK_CORE_CHAIN_H

#include "core/descriptor.h"
#include "core/types.h"
#include "core/verdict.h"

/* What was negotiated for the queue. */
struct airlock_chain_rules {
  uint32_t queue_size; /* entries of the ring's table, 1 to 32768 */
  bool packed;         /* VIRTIO_F_RING_PACKED */
  bool indirect;       /* VIRTIO_F_INDIRECT_DESC */
};

/* A walk. Written by the functions below only. */
struct airlock_chain {
  struct airlock_chain_rules rules;

  /* What to read next. */
  uint32_t index;         /* number of the descriptor, below the entries of its table */
  bool more;              /* there is one; false: the chain is complete */
  bool in_table;          /* it is in the indirect table, not in the ring */
  uint64_t table_address; /* of the indirect table, as the driver wrote it */
  uint32_t table_entries; /* of the indirect table: 1 to queue_size */

  /* The chain so far. */
  uint32_t ring_count;     /* descriptors of the ring itself that it takes */
  uint32_t count;          /* buffers */
  uint32_t readable_bytes; /* for the device to read */
  uint32_t writable_bytes; /* for the device to write */
  bool writing;            /* a device-writable buffer was seen: the last one is */
};

/* Starts at descriptor `head` of the ring, which the caller knows to be below the queue size. */
static inline void airlock_chain_begin(struct airlock_chain* chain,
                                       struct airlock_chain_rules rules, uint32_t head) {
  chain->rules = rules;
  chain->index = head;
  chain->more = true;
  chain->in_table = false;
  chain->table_address = 0;
  chain->table_entries = 0;
  chain->ring_count = 0;
  chain->count = 0;
  chain->readable_bytes = 0;
  chain->writable_bytes = 0;
  chain->writing = false;
}

/*
 * The flags that a descriptor may have where it stands; in a packed ring's indirect table all but
 * WRITE are reserved, and ignored by the caller below. VIRTIO 1.3, 2.7.5, 2.7.5.3.1, 2.8.7.
 */
static inline uint32_t airlock_chain_known_flags(const struct airlock_chain* chain) {
  uint32_t known = AIRLOCK_DESC_NEXT | AIRLOCK_DESC_WRITE;

  if (chain->in_table) return chain->rules.packed ? 0xffffu : known;
  if (chain->rules.packed) known |= AIRLOCK_DESC_AVAIL | AIRLOCK_DESC_USED;
  if (chain->rules.indirect) known |= AIRLOCK_DESC_INDIRECT;
  return known;
}

/*
 * A descriptor of the ring that names an indirect table: the rest of the chain is in it, in a
 * packed ring all of it. Its WRITE flag means nothing. VIRTIO 1.3, 2.7.5.3.1, 2.7.5.3.2, 2.8.7.
 */
static inline enum airlock_verdict airlock_chain_enter_table(
    struct airlock_chain* chain, const struct airlock_descriptor* descriptor) {
  const uint32_t entries = descriptor->length / AIRLOCK_DESC_BYTES;

  if ((descriptor->flags & AIRLOCK_DESC_NEXT) != 0) return AIRLOCK_BAD_FLAGS;
  if (chain->rules.packed && chain->ring_count != 0) return AIRLOCK_BAD_FLAGS;
  if (entries == 0 || descriptor->length % AIRLOCK_DESC_BYTES != 0) return AIRLOCK_BAD_LENGTH;
  if (entries > chain->rules.queue_size) return AIRLOCK_CHAIN_TOO_LONG;
  chain->in_table = true;
  chain->index = 0;
  chain->table_address = descriptor->address;
  chain->table_entries = entries;
  chain->ring_count++;
  return AIRLOCK_OK;
}

/* Where the chain goes on after `descriptor`, or that it ends there. */
static inline enum airlock_verdict airlock_chain_advance(
    struct airlock_chain* chain, const struct airlock_descriptor* descriptor) {
  const uint32_t entries = chain->in_table ? chain->table_entries : chain->rules.queue_size;
  uint32_t next = chain->index + 1;
  bool more = (descriptor->flags & AIRLOCK_DESC_NEXT) != 0;

  if (chain->rules.packed) {
    /* The next one stands behind this one; a table is used whole, a ring goes round. */
    if (chain->in_table) more = next < entries;
    if (next >= entries) next = 0;
  } else {
    next = descriptor->next;
    if (more && airlock_check_index(next, entries) != AIRLOCK_OK) return AIRLOCK_BAD_INDEX;
  }
  chain->more = more;
  if (more) chain->index = next;
  return AIRLOCK_OK;
}

/*
 * Takes one more descriptor, or says why it can't be. On anything but AIRLOCK_OK the chain must be
 * abandoned. Proves, descriptor by descriptor: no more than queue_size buffers; flags known and
 * negotiated; one indirect table at most, of 1 to queue_size whole descriptors, that ends the
 * chain; readable before writable; no length of zero; the chain's sum of bytes fits 32 bits; index
 * below the entries of its table. VIRTIO 1.3, 2.7.4.2, 2.7.5, 2.7.5.1 to 2.7.5.3, 2.8.5 to 2.8.7.
 */
static inline enum airlock_verdict airlock_chain_step(struct airlock_chain* chain,
                                                      const struct airlock_descriptor* descriptor) {
  const bool writes = (descriptor->flags & AIRLOCK_DESC_WRITE) != 0;
  const uint32_t taken = chain->readable_bytes + chain->writable_bytes;
  enum airlock_verdict verdict;

  if (chain->count >= chain->rules.queue_size) return AIRLOCK_CHAIN_TOO_LONG;
  if ((descriptor->flags & ~airlock_chain_known_flags(chain)) != 0) return AIRLOCK_BAD_FLAGS;
  if (!chain->in_table && (descriptor->flags & AIRLOCK_DESC_INDIRECT) != 0)
    return airlock_chain_enter_table(chain, descriptor);
  if (descriptor->length == 0) return AIRLOCK_BAD_LENGTH;
  if (!writes && chain->writing) return AIRLOCK_BAD_ORDER;
  if (descriptor->length > UINT32_MAX - taken) return AIRLOCK_CHAIN_TOO_BIG;
  verdict = airlock_chain_advance(chain, descriptor);
  if (verdict != AIRLOCK_OK) return verdict;

  chain->count++;
  if (!chain->in_table) chain->ring_count++;
  chain->writing = writes;
  if (writes)
    chain->writable_bytes += descriptor->length;
  else
    chain->readable_bytes += descriptor->length;
  return AIRLOCK_OK;
}

#endif
