/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * Which bytes of guest memory the descriptors of a split ring invite while they are in flight.
 * Whoever follows the ring reads it, and hands private copies in:
 *
 *     for each new head of the available ring: airlock_snoop_begin(&queue, &chain, head);
 *       while chain.more: read the descriptor at airlock_snoop_next(&queue, &chain), then
 *         airlock_snoop_step(&queue, &chain, head, &descriptor);
 *     for each new element of the used ring: airlock_snoop_retire(&queue, id);
 *
 * used.h checks how far both indices may move. What does not pass closes the queue: it invites
 * nothing until it is opened again. Packed rings and IN_ORDER are not followed. VIRTIO 1.3, 2.7.
 */
#ifndef AIRLOCK_CORE_SNOOP_H
#define AIRLOCK_CORE_SNOOP_H

#include "core/chain.h"
#include "core/guard.h"
#include "core/range.h"

/* A buffer, or an indirect table, of a chain in flight. */
struct airlock_snoop_live {
  uint64_t address;
  uint32_t length;
  uint16_t head;
  bool writable; /* for the device to write; else to read */
  bool table;    /* an indirect table: what it names are entries of their own */
};

/* One queue; zeros are a closed one. Before it is opened the caller sets all but the counts. */
struct airlock_snoop {
  uint64_t descriptors, driver_area, device_area;
  struct airlock_chain_rules rules; /* queue_size only; 0 while the queue is closed */
  struct airlock_snoop_live* live;
  uint32_t capacity; /* of `live`: room for all that can be in flight */
  uint32_t count;    /* of `live`: those in use, the first ones */
  uint32_t chains;   /* in flight: no used index may move further */
};

static inline enum airlock_guard_reason airlock_snoop_close(struct airlock_snoop* queue,
                                                            enum airlock_guard_reason reason) {
  queue->rules.queue_size = 0;
  return reason;
}

/* The queue is enabled with these features. */
static inline enum airlock_guard_reason airlock_snoop_open(struct airlock_snoop* queue,
                                                           uint64_t features) {
  const uint64_t unfollowed = (uint64_t)3 << 34; /* VIRTIO_F_RING_PACKED, VIRTIO_F_IN_ORDER */
  const uint64_t size = queue->rules.queue_size;

  queue->count = queue->chains = 0;
  queue->rules.packed = false;
  queue->rules.indirect = (features >> 28 & 1) != 0; /* VIRTIO_F_INDIRECT_DESC */
  if ((features & unfollowed) != 0 || !airlock_is_power_of_two(size) || size > 32768 ||
      !airlock_range_within(queue->descriptors, size * 16, ~(uint64_t)0) ||
      !airlock_range_within(queue->driver_area, size * 2 + 6, ~(uint64_t)0) ||
      !airlock_range_within(queue->device_area, size * 8 + 6, ~(uint64_t)0))
    return airlock_snoop_close(queue, AIRLOCK_GUARD_NO_SNOOP);
  return AIRLOCK_GUARD_PASS;
}

/* The chain of `head` became available. Nothing of it is invited yet. */
static inline enum airlock_guard_reason airlock_snoop_begin(struct airlock_snoop* queue,
                                                            struct airlock_chain* chain,
                                                            uint32_t head) {
  bool known = airlock_check_index(head, queue->rules.queue_size) == AIRLOCK_OK;

  for (uint32_t i = 0; i < queue->count && known; i++)
    known = queue->live[i].head != head;
  airlock_chain_begin(chain, queue->rules, head);
  if (known) return AIRLOCK_GUARD_PASS;
  chain->more = false;
  return airlock_snoop_close(queue, AIRLOCK_GUARD_BAD_CHAIN);
}

/* The address of the chain's next descriptor. */
static inline uint64_t airlock_snoop_next(const struct airlock_snoop* queue,
                                          const struct airlock_chain* chain) {
  return (chain->in_table ? chain->table_address : queue->descriptors) +
         (uint64_t)chain->index * AIRLOCK_DESC_BYTES;
}

/* Takes the chain's next descriptor: a buffer, or a table for the device to read. */
static inline enum airlock_guard_reason airlock_snoop_step(struct airlock_snoop* queue,
                                                           struct airlock_chain* chain,
                                                           uint32_t head,
                                                           const struct airlock_descriptor* entry) {
  const bool was_in_table = chain->in_table;
  struct airlock_snoop_live live = {entry->address, entry->length, (uint16_t)head, false, false};

  if (airlock_chain_step(chain, entry) != AIRLOCK_OK ||
      !airlock_is_range(live.address, live.length)) {
    chain->more = false;
    return airlock_snoop_close(queue, AIRLOCK_GUARD_BAD_CHAIN);
  }
  if (queue->count >= queue->capacity) {
    chain->more = false;
    return airlock_snoop_close(queue, AIRLOCK_GUARD_TABLE_FULL);
  }
  live.table = chain->in_table != was_in_table;
  live.writable = chain->writing && !live.table;
  queue->live[queue->count++] = live;
  if (!chain->more) queue->chains++;
  return AIRLOCK_GUARD_PASS;
}

/* The device has used the chain of `head`: it invites nothing any more. */
static inline enum airlock_guard_reason airlock_snoop_retire(struct airlock_snoop* queue,
                                                             uint32_t head) {
  uint32_t kept = 0;

  for (uint32_t i = 0; i < queue->count; i++)
    if (queue->live[i].head != head) queue->live[kept++] = queue->live[i];
  if (kept == queue->count) return airlock_snoop_close(queue, AIRLOCK_GUARD_BAD_CHAIN);
  queue->count = kept;
  queue->chains--;
  return AIRLOCK_GUARD_PASS;
}

/*
 * Whether the device may write, or read, this range: it lies in one buffer in flight for that
 * direction, or in one area of the ring. It may also read the used ring, which it writes.
 */
static inline bool airlock_snoop_invites(const struct airlock_snoop* queue, bool write,
                                         uint64_t address, uint64_t count) {
  const uint64_t size = queue->rules.queue_size;
  bool invited = airlock_range_inside(address, count, queue->device_area, size * 8 + 6);

  if (size == 0) return false;
  if (!write)
    invited = invited || airlock_range_inside(address, count, queue->descriptors, size * 16) ||
              airlock_range_inside(address, count, queue->driver_area, size * 2 + 6);
  for (uint32_t i = 0; i < queue->count && !invited; i++)
    invited = queue->live[i].writable == write &&
              airlock_range_inside(address, count, queue->live[i].address, queue->live[i].length);
  return invited;
}

#endif
