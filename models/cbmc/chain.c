/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The device's walk along a chain, core/chain.h, with memory that says something else at every
 * look: each descriptor is an arbitrary value. The loop is that of ring/chain_walk.h,
 * ChainWalk::walk(), said again in C. Here: which descriptors are read, how often, and that what
 * the window is asked about is what is used. window.c proves that the window's yes means memory of
 * the region.
 */
#include "core/descriptor.h"
#include "proof.h"

/* Twins that take one check out of the header: what it calls by name says yes to everything. */
#ifdef BROKEN_NEXT_UNCHECKED
#define airlock_check_index(index, entries) ((void)(entries), AIRLOCK_OK)
#endif
#ifdef BROKEN_SUM_UNCHECKED
#undef UINT32_MAX
#define UINT32_MAX 0x1ffffffffu
#endif
#include "core/chain.h"

#define BUFFERS_MAX 8u

/* A walk, and what the harness knows of it. */
struct walk {
  struct airlock_chain chain;
  uint32_t head;
  uint32_t count;              /* buffers */
  uint32_t readable;           /* of those, readable ones */
  uint32_t spans[BUFFERS_MAX]; /* Chain::spans_: their lengths */
  uint64_t table_bytes;        /* of the indirect table, as the window checked it */
};

/* Anything, as read from the ring or the table at this moment. */
static struct airlock_descriptor read_descriptor(const struct walk* walk) {
  const struct airlock_chain* chain = &walk->chain;
  const struct airlock_descriptor descriptor = {
      .address = nondet_u64(), .length = nondet_u32(), .flags = nondet_u16(), .next = nondet_u16()};
  const uint64_t entries =
      chain->in_table ? walk->table_bytes / AIRLOCK_DESC_BYTES : chain->rules.queue_size;

  PROVE(chain->index < entries, "the descriptor lies in its table");
  return descriptor;
}

/* ChainWalk::open_table(). The window's answer may be yes or no: window.c proves what yes means. */
static bool open_table(struct walk* walk, const struct airlock_descriptor* descriptor) {
  walk->table_bytes = (uint64_t)walk->chain.table_entries * AIRLOCK_DESC_BYTES;
#ifdef BROKEN_TABLE_ONE_ENTRY
  walk->table_bytes = AIRLOCK_DESC_BYTES;
#endif
  PROVE(walk->chain.table_address == descriptor->address, "the table is the one that was named");
  PROVE(walk->table_bytes <= descriptor->length, "no more of the table than was named");
  REACHED("an indirect table");
  return nondet_bool();
}

/* ChainWalk::take(), behind the step. */
static bool take_buffer(struct walk* walk, const struct airlock_descriptor* checked) {
#ifdef BROKEN_SECOND_FETCH
  const struct airlock_descriptor again = read_descriptor(walk);
  const struct airlock_descriptor* const used = &again;
#else
  const struct airlock_descriptor* const used = checked;
#endif

  PROVE(used->address == checked->address && used->length == checked->length,
        "what is used is what was checked");
  PROVE(walk->count < walk->chain.rules.queue_size, "no more buffers than the queue has slots");
  walk->spans[walk->count] = used->length;
  PROVE(walk->readable == walk->count || walk->chain.writing, "readable buffers come first");
  walk->count++;
  if (!walk->chain.writing) walk->readable = walk->count;
  return nondet_bool();
}

/* ChainWalk::walk(), after the check of the head in SplitDeviceQueue::next_head(). */
static bool take_chain(struct walk* walk) {
  struct airlock_chain* const chain = &walk->chain;

#ifndef BROKEN_HEAD_UNCHECKED
  if (walk->head >= chain->rules.queue_size) return false;
#endif
  airlock_chain_begin(chain, chain->rules, walk->head);
  while (chain->more) {
    const bool was_in_table = chain->in_table;
    struct airlock_descriptor descriptor;
#ifdef BROKEN_PACKED_NO_WRAP
    if (!chain->in_table) chain->index = walk->head + chain->ring_count;
#endif
#ifdef BROKEN_COUNT_UNBOUNDED
    chain->count = 0;
#endif
    descriptor = read_descriptor(walk);
    if (airlock_chain_step(chain, &descriptor) != AIRLOCK_OK) {
      REACHED("a refused descriptor");
      return false;
    }
    PROVE_FIRST((uint64_t)chain->readable_bytes + chain->writable_bytes <= UINT32_MAX,
                "all bytes fit 32 bits");
    if (chain->in_table && !was_in_table) {
      if (!open_table(walk, &descriptor)) return false;
    } else {
      if (!take_buffer(walk, &descriptor)) return false;
    }
  }
  return true;
}

/* What is proved of every chain that was taken whole. */
static void check_complete(const struct walk* walk) {
  const struct airlock_chain* const chain = &walk->chain;

  PROVE(walk->count == chain->count, "as many spans as buffers");
  PROVE(chain->count >= 1 && chain->count <= chain->rules.queue_size, "1 to queue_size buffers");
  PROVE(chain->ring_count >= 1 && chain->ring_count <= chain->rules.queue_size,
        "1 to queue_size slots of the ring");
  if (chain->rules.packed && !chain->in_table) {
    uint32_t last = walk->head + chain->ring_count - 1;
    if (last >= chain->rules.queue_size) last -= chain->rules.queue_size;
    PROVE(chain->index == last, "a packed chain stands in one piece of the ring");
  }
  REACHED("a complete chain");
}

static void walk(struct airlock_chain_rules rules) {
  struct walk walk = {.chain = {.rules = rules}, .head = nondet_u16()};

  if (take_chain(&walk)) check_complete(&walk);
}

static uint32_t any_power_of_two(void) {
  const uint32_t size = nondet_u32();

  ASSUME(size == 2 || size == 4 || size == 8);
  return size;
}

/* A packed ring's size need not be a power of two. VIRTIO 1.3, 2.8.10.1 */
static uint32_t any_size(void) {
  const uint32_t size = nondet_u32();

  ASSUME(size >= 1 && size <= BUFFERS_MAX);
  return size;
}

/*
 * proof: split_chain --unwind 10
 * twin: split_chain BROKEN_COUNT_UNBOUNDED: unwinding assertion
 * twin: split_chain BROKEN_NEXT_UNCHECKED: the descriptor lies in its table
 * twin: split_chain BROKEN_HEAD_UNCHECKED: the descriptor lies in its table
 * twin: split_chain BROKEN_SUM_UNCHECKED: arithmetic overflow
 * twin: split_chain BROKEN_SECOND_FETCH: what is used is what was checked
 */
void split_chain(void) {
  walk((struct airlock_chain_rules){
      .queue_size = any_power_of_two(), .packed = false, .indirect = false});
}

/*
 * proof: split_chain_indirect --unwind 11
 * twin: split_chain_indirect BROKEN_TABLE_ONE_ENTRY: the descriptor lies in its table
 * twin: split_chain_indirect BROKEN_NEXT_UNCHECKED: the descriptor lies in its table
 */
void split_chain_indirect(void) {
  walk((struct airlock_chain_rules){
      .queue_size = any_power_of_two(), .packed = false, .indirect = true});
}

/*
 * proof: packed_chain --unwind 10
 * twin: packed_chain BROKEN_PACKED_NO_WRAP: the descriptor lies in its table
 * twin: packed_chain BROKEN_COUNT_UNBOUNDED: unwinding assertion
 */
void packed_chain(void) {
  walk((struct airlock_chain_rules){.queue_size = any_size(), .packed = true, .indirect = false});
}

/*
 * proof: packed_chain_indirect --unwind 11
 * twin: packed_chain_indirect BROKEN_TABLE_ONE_ENTRY: the descriptor lies in its table
 */
void packed_chain_indirect(void) {
  walk((struct airlock_chain_rules){.queue_size = any_size(), .packed = true, .indirect = true});
}

/* What holds of a walk between any two steps. */
static bool sound(const struct airlock_chain* chain) {
  const uint32_t size = chain->rules.queue_size;
  const uint64_t bytes = (uint64_t)chain->readable_bytes + chain->writable_bytes;

  if (size < 1 || size > 32768) return false;
  if (chain->count > size || bytes > UINT32_MAX) return false;
  if (!chain->writing && chain->writable_bytes != 0) return false;
  if (!chain->in_table) {
    return chain->ring_count == chain->count && (!chain->more || chain->index < size);
  }
  return chain->rules.indirect && chain->table_entries >= 1 && chain->table_entries <= size &&
         chain->ring_count >= 1 && chain->ring_count <= size &&
         chain->ring_count <= chain->count + 1 &&
         (!chain->more || chain->index < chain->table_entries);
}

/* Grows with every step that is taken, and has an end: so a walk ends. */
static uint32_t progress(const struct airlock_chain* chain) {
  return 2 * chain->count + (chain->in_table ? 1 : 0);
}

/*
 * By induction, for every queue size that there is, 1 to 32768, both formats, with and without
 * indirect tables: the beginning is sound, a step from any sound state leads to a sound state and
 * further on. No walk is unrolled, so no size is left out.
 *
 * proof: chain_step_of_any_size
 * twin: chain_step_of_any_size BROKEN_NEXT_UNCHECKED: a step leaves the walk sound
 * twin: chain_step_of_any_size BROKEN_SUM_UNCHECKED: the sum of bytes is right
 * twin: chain_step_of_any_size BROKEN_TABLE_IN_TABLE: every step is progress
 */
void chain_step_of_any_size(void) {
  struct airlock_chain chain;
  struct airlock_chain begun;
  struct airlock_descriptor descriptor = {
      .address = nondet_u64(), .length = nondet_u32(), .flags = nondet_u16(), .next = nondet_u16()};
  const uint32_t head = nondet_u16();
  /* chain is any value: it was not initialised */
  ASSUME(sound(&chain) && chain.more);

  ASSUME(head < chain.rules.queue_size);
  airlock_chain_begin(&begun, chain.rules, head);
  PROVE(sound(&begun) && begun.more && begun.count == 0, "the beginning is sound");

  const uint32_t before = progress(&chain);
  const uint64_t bytes = (uint64_t)chain.readable_bytes + chain.writable_bytes;
  const bool writing = chain.writing;
  const bool was_in_table = chain.in_table;
#ifdef BROKEN_TABLE_IN_TABLE
  chain.in_table = false;
#endif
  if (airlock_chain_step(&chain, &descriptor) != AIRLOCK_OK) {
    REACHED("a refused descriptor");
    return;
  }
  PROVE(sound(&chain), "a step leaves the walk sound");
  PROVE(progress(&chain) > before, "every step is progress");
  PROVE(progress(&chain) <= 2 * chain.rules.queue_size + 1, "there is an end to it");
  PROVE(!writing || chain.writing, "readable buffers come first");
  if (was_in_table || !chain.in_table) {
    PROVE((uint64_t)chain.readable_bytes + chain.writable_bytes == bytes + descriptor.length,
          "the sum of bytes is right");
  }
  if (chain.more) REACHED("a step in the middle");
  if (!chain.more) REACHED("a last step");
  if (chain.in_table) REACHED("a step with an indirect table");
}
