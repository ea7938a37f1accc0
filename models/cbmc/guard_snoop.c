/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core/snoop.h: at any moment a queue invites exactly the areas of its ring and, in their
 * direction, the buffers and tables of the descriptors that were taken and not retired. By
 * induction: what one call does to any state; the question that is asked before and after it is
 * any.
 */
#include "core/chain.h"
#include "core/range.h"
#include "proof.h"

/*
 * Whether [address, address + length) lies inside [base, base + size): range.c proves that this is
 * what core/range.h answers. Here it is a function of which nothing is known, so that what is
 * proved depends on what is asked of it alone.
 */
__CPROVER_bool __CPROVER_uninterpreted_inside(uint64_t address, uint64_t length, uint64_t base,
                                              uint64_t size);
#define airlock_range_inside __CPROVER_uninterpreted_inside
#define inside __CPROVER_uninterpreted_inside

/* Twins that take one check out of the header. */
#ifdef BROKEN_CHAIN_UNCHECKED
#define airlock_chain_step(chain, descriptor) AIRLOCK_OK
#endif
#ifdef BROKEN_HEAD_TWICE
#define airlock_check_index(head, size) ((void)(size), AIRLOCK_OK)
#endif
#include "core/snoop.h"

#define LIVE_MAX 3u

/* Any access that a device could ask for. */
struct question {
  uint64_t address, count;
  bool write;
};

static struct question any_question(void) {
  const struct question question = {
      .address = nondet_u64(), .count = nondet_u64(), .write = nondet_bool()};

  ASSUME(question.count != 0);
  return question;
}

static bool answer(const struct airlock_snoop* queue, struct question question) {
  return airlock_snoop_invites(queue, question.write, question.address, question.count);
}

/* A queue in any state. */
static void any_queue(struct airlock_snoop* queue, struct airlock_snoop_live live[LIVE_MAX]) {
  const uint8_t shift = nondet_u8();

  ASSUME(shift <= 15);
  queue->descriptors = nondet_u64();
  queue->driver_area = nondet_u64();
  queue->device_area = nondet_u64();
  queue->rules.queue_size = nondet_bool() ? 1u << shift : 0;
  queue->rules.packed = false;
  queue->rules.indirect = nondet_bool();
  queue->live = live;
  queue->capacity = nondet_u32();
  queue->count = nondet_u32();
  queue->chains = nondet_u32();
  ASSUME(queue->capacity <= LIVE_MAX && queue->count <= queue->capacity);
  ASSUME(queue->chains <= queue->count);
  for (uint32_t i = 0; i < LIVE_MAX; i++) {
    live[i].address = nondet_u64();
    live[i].length = nondet_u32();
    live[i].head = nondet_u16();
    live[i].writable = nondet_bool();
    live[i].table = nondet_bool();
  }
}

static bool in_ring(const struct airlock_snoop* queue, struct question q) {
  const uint64_t size = queue->rules.queue_size;

  if (inside(q.address, q.count, queue->device_area, size * 8 + 6)) return true;
  return !q.write && (inside(q.address, q.count, queue->descriptors, size * 16) ||
                      inside(q.address, q.count, queue->driver_area, size * 2 + 6));
}

/* Whether the entry invites, unless it is of the chain of `except`. */
static bool is_in(const struct airlock_snoop_live* live, struct question q, uint32_t except) {
  return live->head != except && live->writable == q.write &&
         inside(q.address, q.count, live->address, live->length);
}

/* What is of no chain: a head has 16 bits. */
#define NO_HEAD 0x10000u

/*
 * proof: snoop_invites --unwind 4
 * twin: snoop_invites BROKEN_DIRECTION: the ring and what is in flight is invited, and nothing else
 * twin: snoop_invites BROKEN_CLOSED_ANSWERS: a closed queue invites nothing
 */
void snoop_invites(void) {
  struct airlock_snoop_live live[LIVE_MAX];
  struct airlock_snoop queue;
  const struct question question = any_question();
  struct question put = question;
  bool invited = false;

  any_queue(&queue, live);
  const uint32_t size = queue.rules.queue_size;
#ifdef BROKEN_DIRECTION
  put.write = false;
#endif
#ifdef BROKEN_CLOSED_ANSWERS
  if (size == 0) queue.rules.queue_size = 1;
#endif
  for (uint32_t i = 0; i < queue.count; i++)
    invited = invited || is_in(&live[i], question, NO_HEAD);
  if (size == 0) {
    PROVE(!answer(&queue, put), "a closed queue invites nothing");
    REACHED("a closed queue");
    return;
  }
  PROVE(answer(&queue, put) == (invited || in_ring(&queue, question)),
        "the ring and what is in flight is invited, and nothing else");
  if (invited) REACHED("a buffer in flight");
  if (!invited && answer(&queue, question)) REACHED("an area of the ring");
}

/* A walk in any state that airlock_chain_begin() and airlock_chain_step() leave. */
static void any_chain(struct airlock_chain* chain, struct airlock_chain_rules rules) {
  chain->rules = rules;
  chain->index = nondet_u16();
  chain->more = true;
  chain->in_table = rules.indirect && nondet_bool();
  chain->table_address = nondet_u64();
  chain->table_entries = nondet_u16();
  chain->ring_count = nondet_u16();
  chain->count = nondet_u16();
  chain->readable_bytes = nondet_u32();
  chain->writable_bytes = nondet_u32();
  chain->writing = nondet_bool();
  ASSUME(rules.queue_size != 0 && chain->count <= rules.queue_size);
  ASSUME((uint64_t)chain->readable_bytes + chain->writable_bytes <= UINT32_MAX);
  ASSUME(chain->ring_count <= rules.queue_size);
}

/*
 * proof: snoop_step --unwind 4
 * twin: snoop_step BROKEN_CHAIN_UNCHECKED: a descriptor invites its bytes in its direction only
 * twin: snoop_step BROKEN_CAPACITY: pointer outside object bounds
 * twin: snoop_step BROKEN_OTHER_DESCRIPTOR: a descriptor invites its bytes in its direction only
 */
void snoop_step(void) {
  struct airlock_snoop_live live[LIVE_MAX];
  struct airlock_snoop queue;
  struct airlock_chain chain;
  const struct airlock_descriptor descriptor = {
      .address = nondet_u64(), .length = nondet_u32(), .flags = nondet_u16(), .next = nondet_u16()};
  const uint32_t head = nondet_u16();
  const struct question question = any_question();
  struct airlock_descriptor read = descriptor;
#ifdef BROKEN_OTHER_DESCRIPTOR
  read.address = nondet_u64();
#endif

  any_queue(&queue, live);
  any_chain(&chain, queue.rules);
#ifdef BROKEN_CAPACITY
  queue.capacity++;
#endif
  const uint32_t count = queue.count;
  const bool table = !chain.in_table && (descriptor.flags & 4) != 0;
  const bool writes = !table && (descriptor.flags & 2) != 0;
  const enum airlock_guard_reason reason = airlock_snoop_step(&queue, &chain, head, &read);

  if (reason != AIRLOCK_GUARD_PASS) {
    PROVE(queue.rules.queue_size == 0 && !chain.more, "what does not pass closes the queue");
    REACHED("a refused descriptor");
    return;
  }
  PROVE_FIRST(queue.count == count + 1 && queue.count <= LIVE_MAX, "one descriptor is one entry");
  PROVE(live[count].head == head, "it is of its chain");
  PROVE(live[count].table == table, "a table is told from a buffer");
  PROVE(!is_in(&live[count], question, NO_HEAD) ||
            (question.write == writes &&
             inside(question.address, question.count, descriptor.address, descriptor.length)),
        "a descriptor invites its bytes in its direction only");
  PROVE(
      descriptor.length != 0 && (uint64_t)descriptor.length - 1 <= UINT64_MAX - descriptor.address,
      "it has a length, and an end");
  if (table) REACHED("a table");
  if (writes) REACHED("a buffer to write");
  if (!chain.more) REACHED("a complete chain");
}

/*
 * proof: snoop_retire --unwind 4
 * twin: snoop_retire BROKEN_OTHER_HEAD: what was used invites nothing, and all else what it did
 */
void snoop_retire(void) {
  struct airlock_snoop_live live[LIVE_MAX];
  struct airlock_snoop queue;
  const uint32_t head = nondet_u32();
  const struct question question = any_question();
  uint32_t retired = head;
  bool before = false;
  bool after = false;
#ifdef BROKEN_OTHER_HEAD
  retired = head ^ 1;
#endif

  any_queue(&queue, live);
  ASSUME(queue.chains != 0);
  for (uint32_t i = 0; i < queue.count; i++)
    before = before || is_in(&live[i], question, head);
  if (airlock_snoop_retire(&queue, retired) != AIRLOCK_GUARD_PASS) {
    PROVE(queue.rules.queue_size == 0, "what is not in flight closes the queue");
    REACHED("an id that is not in flight");
    return;
  }
  for (uint32_t i = 0; i < queue.count; i++)
    after = after || is_in(&live[i], question, NO_HEAD);
  PROVE(before == after, "what was used invites nothing, and all else what it did");
  REACHED("a used chain");
}

/*
 * proof: snoop_open --unwind 4
 * twin: snoop_open BROKEN_HEAD_TWICE: a chain begins once, at a head of its ring
 */
void snoop_open(void) {
  struct airlock_snoop_live live[LIVE_MAX];
  struct airlock_snoop queue;
  struct airlock_chain chain;
  const uint64_t features = nondet_u64();
  const uint32_t head = nondet_u32();

  any_queue(&queue, live);
  const struct airlock_snoop before = queue;
  if (airlock_snoop_begin(&queue, &chain, head) == AIRLOCK_GUARD_PASS) {
    bool once = head < queue.rules.queue_size;

    for (uint32_t i = 0; i < queue.count; i++)
      once = once && live[i].head != head;
    PROVE(once && chain.index == head, "a chain begins once, at a head of its ring");
    REACHED("a chain");
  } else {
    PROVE(queue.rules.queue_size == 0 && !chain.more, "what does not pass closes the queue");
    REACHED("a refused head");
  }

  queue = before;
  queue.rules.queue_size = nondet_u32();
  const uint64_t size = queue.rules.queue_size;
  if (airlock_snoop_open(&queue, features) != AIRLOCK_GUARD_PASS) {
    PROVE(queue.rules.queue_size == 0, "what does not pass closes the queue");
    REACHED("a ring that is not followed");
    return;
  }
  PROVE((features >> 34 & 3) == 0, "packed rings and those in order are not followed");
  PROVE(size >= 1 && size <= 32768 && (size & (size - 1)) == 0, "a ring has a size");
  PROVE(queue.descriptors <= UINT64_MAX - size * 16 &&
            queue.driver_area <= UINT64_MAX - (size * 2 + 6) &&
            queue.device_area <= UINT64_MAX - (size * 8 + 6),
        "its areas have an end");
  PROVE(queue.count == 0 && queue.chains == 0, "nothing is in flight");
  REACHED("a ring");
}
