/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a peer may say about ring indices and used elements, core/used.h, with the private records
 * around it as ring/split_driver_queue.cc, SplitDriverQueue::poll(), and
 * ring/split_device_queue.cc, SplitDeviceQueue::pop(), keep them. The used ring and the available
 * ring give an arbitrary value at every look. HD-1 to HD-4.
 */
#include "core/used.h"
#include "core/descriptor.h"
#include "proof.h"

#define QUEUE_SIZE_MAX 8u

static uint32_t any_power_of_two(void) {
  const uint32_t size = nondet_u32();

  ASSUME(size == 2 || size == 4 || size == 8);
  return size;
}

/*
 * The index of a ring counts modulo 2^16; its size is a power of two, up to 2^15.
 *
 * proof: index_advance
 * twin: index_advance BROKEN_COMPARED_AS_NUMBERS: an index may advance up to the limit, and no more
 */
void index_advance(void) {
  const uint16_t seen = nondet_u16();
  const uint32_t limit = nondet_u32();
  const uint32_t entries = nondet_u32();
  const uint8_t shift = nondet_u8();
  ASSUME(limit <= 32768 && entries <= 65535 && shift <= 15);
  const uint16_t now = (uint16_t)(seen + entries);
#ifdef BROKEN_COMPARED_AS_NUMBERS
  const bool good = now >= seen && (uint32_t)(now - seen) <= limit;
#else
  const bool good = airlock_check_index_advance(seen, now, limit) == AIRLOCK_OK;
#endif

  PROVE(good == (entries <= limit), "an index may advance up to the limit, and no more");
  PROVE((now & ((1u << shift) - 1)) < 1u << shift, "its slot lies in the ring");
  if (good && now < seen) REACHED("an index that went around");
  if (!good) REACHED("a jump");
}

/* SplitDriverQueue::Record, and those of its members that poll() is about. */
struct record {
  uint32_t writable_bytes;
  bool outstanding;
  bool published;
};

struct driver_queue {
  uint32_t size;
  struct record records[QUEUE_SIZE_MAX];
  uint32_t outstanding; /* published ones: the device can return no others */
  uint16_t next_used;
  uint16_t seen_used;
};

/* What holds of a queue between any two polls. */
static bool driver_queue_is_sound(const struct driver_queue* queue) {
  uint32_t outstanding = 0;

  for (uint32_t i = 0; i < queue->size; i++)
    outstanding += queue->records[i].outstanding && queue->records[i].published;
  return queue->outstanding == outstanding &&
         (uint16_t)(queue->seen_used - queue->next_used) <= outstanding;
}

/* False: no completion, or the queue is broken. */
static bool poll_used(struct driver_queue* queue) {
  if (queue->next_used == queue->seen_used) {
    const uint16_t now = nondet_u16();
    uint32_t limit = queue->outstanding;
#ifdef BROKEN_JUMP_UNCHECKED
    limit = 65535;
#endif
    if (now == queue->seen_used) return false;
    if (airlock_check_index_advance(queue->seen_used, now, limit) != AIRLOCK_OK) return false;
    queue->seen_used = now;
  }
  PROVE((uint16_t)(queue->seen_used - queue->next_used) <= queue->outstanding,
        "no more is waited for than is in flight");

  const uint32_t id = nondet_u32();
  const uint32_t length = nondet_u32();
#ifdef BROKEN_ID_UNCHECKED
  const uint32_t head = id;
#else
  if (airlock_check_used_id(id, queue->size) != AIRLOCK_OK) return false;
  const uint32_t head = id & (queue->size - 1);
  PROVE(head == id, "the mask changes nothing");
#endif
  PROVE(head < queue->size, "an id names a record");
  struct record* const record = &queue->records[head];
  bool outstanding = record->outstanding && record->published;
#ifdef BROKEN_DUPLICATE
  outstanding = true;
#endif
#ifdef BROKEN_UNPUBLISHED
  outstanding = record->outstanding;
#endif
  uint32_t writable_bytes = record->writable_bytes;
#ifdef BROKEN_LENGTH_UNCHECKED
  writable_bytes = UINT32_MAX;
#endif
  if (airlock_check_used_element(outstanding, length, writable_bytes) != AIRLOCK_OK) {
    REACHED("a refused element");
    return false;
  }
  PROVE(record->outstanding && record->published, "a completion is of what is in flight");
  PROVE(length <= record->writable_bytes, "no more was written than the device was given");
  record->outstanding = false;
  queue->outstanding--;
  queue->next_used = (uint16_t)(queue->next_used + 1);
  REACHED("a completion");
  return true;
}

/*
 * By induction: one poll from any state that submit(), publish() and polls before may have left. As
 * each completion is of a request in flight, which then is in flight no more, each request
 * completes once at most.
 *
 * proof: used_ring --unwind 9
 * twin: used_ring BROKEN_JUMP_UNCHECKED: no more is waited for than is in flight
 * twin: used_ring BROKEN_ID_UNCHECKED: an id names a record
 * twin: used_ring BROKEN_DUPLICATE: a completion is of what is in flight
 * twin: used_ring BROKEN_UNPUBLISHED: a completion is of what is in flight
 * twin: used_ring BROKEN_LENGTH_UNCHECKED: no more was written than the device was given
 */
void used_ring(void) {
  struct driver_queue queue = {.next_used = nondet_u16(), .seen_used = nondet_u16()};

  queue.size = any_power_of_two();
  queue.outstanding = nondet_u32();
  for (uint32_t i = 0; i < queue.size; i++) {
    queue.records[i].writable_bytes = nondet_u32();
    queue.records[i].outstanding = nondet_bool();
    queue.records[i].published = nondet_bool();
  }
  ASSUME(driver_queue_is_sound(&queue));
  const uint32_t before = queue.outstanding;
  const bool completed = poll_used(&queue);
  if (completed) {
    PROVE(driver_queue_is_sound(&queue), "a completion leaves the queue sound");
    PROVE(queue.outstanding + 1 == before, "a completed request is in flight no more");
  }
  if (completed && queue.outstanding == 0) REACHED("the last completion");
  if (completed && before == QUEUE_SIZE_MAX) REACHED("the first of a full queue");
}

struct device_queue {
  uint32_t size;
  bool with_us[QUEUE_SIZE_MAX]; /* SplitDeviceQueue::Record::in_flight */
  uint32_t in_flight;
  uint16_t next_avail;
  uint16_t seen_avail;
};

static bool device_queue_is_sound(const struct device_queue* queue) {
  uint32_t in_flight = 0;

  for (uint32_t i = 0; i < queue->size; i++)
    in_flight += queue->with_us[i];
  return queue->in_flight == in_flight &&
         (uint16_t)(queue->seen_avail - queue->next_avail) <= queue->size;
}

/* False: no chain, or the queue is broken. */
static bool pop_available(struct device_queue* queue) {
  if (queue->next_avail == queue->seen_avail) {
    const uint16_t now = nondet_u16();
    if (now == queue->seen_avail) return false;
#ifndef BROKEN_JUMP_UNCHECKED
    if (airlock_check_index_advance(queue->seen_avail, now, queue->size) != AIRLOCK_OK)
      return false;
#endif
    queue->seen_avail = now;
  }
  PROVE((uint16_t)(queue->seen_avail - queue->next_avail) <= queue->size,
        "no more is waited for than the ring holds");

  const uint32_t head = nondet_u16();
  if (airlock_check_index(head, queue->size) != AIRLOCK_OK) return false;
#ifndef BROKEN_HEAD_TWICE
  if (queue->with_us[head]) return false;
#endif
  PROVE(!queue->with_us[head], "a head is with us once at most");
  queue->with_us[head] = true;
  queue->in_flight++;
  queue->next_avail = (uint16_t)(queue->next_avail + 1);
  REACHED("a chain");
  return true;
}

/*
 * By induction: one pop() from any state that pop() and push_used() before may have left. A driver
 * may make the same head available as often as it likes.
 *
 * proof: available_ring --unwind 9
 * twin: available_ring BROKEN_JUMP_UNCHECKED: no more is waited for than the ring holds
 * twin: available_ring BROKEN_HEAD_TWICE: a head is with us once at most
 */
void available_ring(void) {
  struct device_queue queue = {.next_avail = nondet_u16(), .seen_avail = nondet_u16()};

  queue.size = any_power_of_two();
  queue.in_flight = nondet_u32();
  for (uint32_t i = 0; i < queue.size; i++)
    queue.with_us[i] = nondet_bool();
  ASSUME(device_queue_is_sound(&queue));
  if (!pop_available(&queue)) return;
  PROVE(device_queue_is_sound(&queue), "a chain leaves the queue sound");
  PROVE(queue.in_flight <= queue.size, "no more is in flight than the queue has slots");
  if (queue.in_flight == QUEUE_SIZE_MAX) REACHED("a full queue");
}
