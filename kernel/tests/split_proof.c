// SPDX-License-Identifier: GPL-2.0-only
/*
 * For CBMC, called by tools/prove.py: airlock_split_collect() itself, over a shown ring that gives
 * an arbitrary value at every look. HD-1 to HD-4.
 */
#include <linux/kernel.h>
#include <linux/virtio_ring.h>

#include "airlock_split.h"
#include "proof.h"

#define SIZE_MAX_HERE 4

struct ring_memory {
	struct vring_desc desc[SIZE_MAX_HERE];
	struct {
		u16 flags, idx, ring[SIZE_MAX_HERE];
	} avail;
	struct {
		u16 flags, idx;
		struct vring_used_elem ring[SIZE_MAX_HERE];
	} used;
};

static struct ring_memory own;
static struct ring_memory shown;

/* Whatever is read of the device's ring, it may have changed just before. */
#undef READ_ONCE
#define READ_ONCE(value)                                                             \
	({                                                                           \
		if (__CPROVER_same_object(&(value), &shown))                         \
			*(__typeof__(value) *)&(value) = (__typeof__(value))nondet_u32(); \
		(value);                                                             \
	})

/* Speculation is not what is proved here. */
#define AIRLOCK_SHIM_NOSPEC_H
#define array_index_nospec(index, size) (index)

#ifdef BROKEN_ID_UNCHECKED
#define airlock_check_used_id(id, size) AIRLOCK_OK
#endif
#ifdef BROKEN_DUPLICATE
#define airlock_check_used_element(outstanding, length, writable) \
	(airlock_check_used_element)(true, length, writable)
#endif
#ifdef BROKEN_LENGTH_UNCHECKED
#define airlock_check_used_element(outstanding, length, writable) \
	(airlock_check_used_element)(outstanding, length, UINT32_MAX)
#endif
#include "airlock_split.c"

static struct vring vring_over(struct ring_memory *memory, unsigned int size)
{
	return (struct vring){
		.num = size,
		.desc = memory->desc,
		.avail = (struct vring_avail *)&memory->avail,
		.used = (struct vring_used *)&memory->used,
	};
}

static unsigned int count_outstanding(const struct airlock_split *split)
{
	unsigned int count = 0;
	unsigned int i;

	for (i = 0; i < split->own.num; i++)
		count += split->chains[i].outstanding;
	return count;
}

/* What was handed in, against the records as they were. */
static void prove_elements(const struct airlock_split *split,
			   const struct airlock_split_chain *before, u16 first, unsigned int count)
{
	bool seen[SIZE_MAX_HERE] = { false };
	unsigned int i;

	for (i = 0; i < count; i++) {
		const struct vring_used_elem element =
			own.used.ring[(u16)(first + i) & (split->own.num - 1)];

		PROVE_FIRST(element.id < split->own.num, "an id names a record");
		PROVE(before[element.id].outstanding, "a completion is of what is in flight");
		PROVE(!seen[element.id], "each completes once");
		PROVE(element.len <= before[element.id].writable,
		      "no more was written than the device was given");
		seen[element.id] = true;
		if (i == 1)
			REACHED("a batch");
	}
}

/* A disk's status may be anything, and what the pool is told is of what the device may write. */
static u8 any_status(void *context, u64 address)
{
	(void)context;
	(void)address;
	return nondet_u8();
}

static void prove_filled(void *context, u64 address, u32 length)
{
	unsigned int i;
	bool writable = false;

	(void)context;
	for (i = 0; i < SIZE_MAX_HERE; i++)
		writable |= own.desc[i].flags & VRING_DESC_F_WRITE &&
			    own.desc[i].addr == address && own.desc[i].len == length;
	PROVE(writable, "nothing is said to be filled but what the device may write");
	REACHED("a buffer that is filled");
}

/*
 * By induction: one call from any state that publishing, and calls before, may have left.
 *
 * proof: split_collect -I kernel -I kernel/tests/shim --unwind 6
 * twin: split_collect BROKEN_ID_UNCHECKED: an id names a record
 * twin: split_collect BROKEN_DUPLICATE: a completion is of what is in flight
 * twin: split_collect BROKEN_LENGTH_UNCHECKED: no more was written than the device was given
 */
void split_collect(void)
{
	struct airlock_split_chain chains[SIZE_MAX_HERE]; /* any values */
	struct airlock_split_chain before[SIZE_MAX_HERE];
	const unsigned int size = nondet_bool() ? 2 : SIZE_MAX_HERE;
	struct airlock_split split = {
		.own = vring_over(&own, size),
		.shown = vring_over(&shown, size),
		.chains = chains,
		.peek = any_status,
		.filled = prove_filled,
		.weak_barriers = true,
		.published = nondet_u16(),
		.returned = nondet_u16(),
	};
	const u16 first = split.returned;
	enum airlock_verdict verdict;
	unsigned int outstanding;
	unsigned int count;
	unsigned int i;

	for (i = 0; i < SIZE_MAX_HERE; i++) {
		own.desc[i].addr = nondet_u64();
		own.desc[i].len = nondet_u32();
		own.desc[i].flags = nondet_u16() & (VRING_DESC_F_NEXT | VRING_DESC_F_WRITE);
		own.desc[i].next = nondet_u16();
		chains[i].table = NULL;
		chains[i].last = nondet_u64();
		chains[i].writable = nondet_u32();
		chains[i].outstanding = nondet_bool();
		before[i] = chains[i];
	}
	outstanding = count_outstanding(&split);
	split.outstanding = outstanding;
	own.used.idx = first;
	verdict = airlock_split_collect(&split, &count);
	PROVE_FIRST(count <= outstanding, "no more comes back than is in flight");
	PROVE(own.used.idx == (u16)(first + count), "virtio_ring is told of what was checked");
	PROVE(own.used.flags == 0, "virtio_ring is never asked for silence");
	PROVE(split.outstanding == outstanding - count, "what came back is in flight no more");
	PROVE(split.outstanding == count_outstanding(&split), "the records stay sound");
	prove_elements(&split, before, first, count);
	if (verdict != AIRLOCK_OK && count)
		REACHED("a lie after the truth");
	if (verdict == AIRLOCK_OK && count == SIZE_MAX_HERE)
		REACHED("a full ring at once");
}
