/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which slots of the pool are taken, and by what: the private truth about every extent. Nothing
 * here is stored in the region, so a device can neither read nor change it (HD-10). No locking and
 * no copying either: airlock_pool.c adds both, and the unit test runs this file in user space.
 */
#ifndef AIRLOCK_SLOTS_H
#define AIRLOCK_SLOTS_H

#include <linux/types.h>

enum airlock_extent_kind {
	AIRLOCK_EXTENT_NONE = 0, /* free, or the inside of an extent */
	AIRLOCK_EXTENT_RESERVED, /* never handed out */
	AIRLOCK_EXTENT_MAPPED,
	AIRLOCK_EXTENT_COHERENT,
	AIRLOCK_EXTENT_DRAINING, /* no longer valid, not yet scrubbed: not to be handed out */
};

/* One a slot. Only the first slot of an extent holds anything but head. */
struct airlock_extent {
	u64 source; /* physical address of the caller's bytes; MAPPED only */
	u32 length; /* bytes asked for */
	u32 head; /* index of the extent's first slot */
	u8 kind;
	u8 direction; /* enum dma_data_direction; MAPPED only */
};

struct airlock_slots {
	unsigned long count;
	unsigned long lowest_free; /* no slot below is free */
	unsigned long used;
	unsigned long used_hiwater;
	unsigned long *busy;
	unsigned long *scrubbed; /* zeroed at least once since the region was opened */
	struct airlock_extent *extents;
};

/*
 * What a new extent is. Length in bytes, slot_count in slots, alignment in slots, a power of two.
 */
struct airlock_extent_request {
	enum airlock_extent_kind kind;
	u64 source;
	u32 length;
	u32 slot_count;
	u8 direction;
};

/*
 * Streaming mappings take the lowest slots that fit, so that a lightly loaded pool keeps reusing
 * the same, cache-warm slots. Returns the first slot, or -1 if no run is long enough.
 */
long airlock_slots_take_lowest(struct airlock_slots *slots,
			       const struct airlock_extent_request *request);

/* Coherent memory lives long: it goes to the top, where it does not split the streaming space. */
long airlock_slots_take_highest(struct airlock_slots *slots,
				const struct airlock_extent_request *request,
				unsigned long alignment);

/* The live extent of the kind that a slot belongs to, or NULL. */
struct airlock_extent *airlock_slots_find(struct airlock_slots *slots, unsigned long slot,
					  enum airlock_extent_kind kind);

/* Marks the extent at its first slot as draining; it stays taken until released. */
void airlock_slots_drain(struct airlock_slots *slots, unsigned long head);

/* Frees slot_count slots of a draining extent. */
void airlock_slots_release(struct airlock_slots *slots, unsigned long head, u32 slot_count);

/* Marks slots as zeroed. Returns true if all of them had been before. */
bool airlock_slots_mark_scrubbed(struct airlock_slots *slots, unsigned long head, u32 slot_count);

#endif
