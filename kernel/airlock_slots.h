/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which slots of the pool are taken, and by what: the private truth about every extent. Nothing
 * here is stored in the region, so a device can neither read nor change it (HD-10). No locking and
 * no copying either, only zeroing: airlock_areas.c and airlock_pool.c add them, and the unit test
 * runs this file in user space.
 *
 * The slots are divided into areas, so that each CPU has one to itself. An extent lies in one area
 * or, rarely, across several. What a function reads and changes belongs to the areas that it is
 * called for: who has these to himself needs no others.
 */
#ifndef AIRLOCK_SLOTS_H
#define AIRLOCK_SLOTS_H

#include <linux/cache.h>
#include <linux/mm.h>
#include <linux/spinlock.h>
#include <linux/types.h>

#define AIRLOCK_SLOT_SHIFT 11
#define AIRLOCK_SLOT_SIZE (1UL << AIRLOCK_SLOT_SHIFT)
#define AIRLOCK_PAGE_SLOTS (PAGE_SIZE >> AIRLOCK_SLOT_SHIFT)

/* Bytes. What is no longer is zeroed when it is freed: that costs less than to do it later. */
#define AIRLOCK_SHORT_BYTES 512

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
	u32 filled; /* bytes from the start that come back to the caller; MAPPED only */
	u32 slot_count;
	u32 head; /* index of the extent's first slot */
	u8 kind;
	u8 direction; /* enum dma_data_direction; MAPPED only */
	bool was_zero; /* all of its slots, when it was taken */
};

/* The lines of one CPU: nothing here is written by the others as long as their areas have room. */
struct airlock_area {
	spinlock_t lock; /* guards the area, its counters and its part of the arrays */
	unsigned long first; /* slot; fixed */
	unsigned long count; /* slots; fixed */
	unsigned long lowest_free; /* no slot of the area below this one is free */
	unsigned long too_long; /* no run of that many slots is free: a search would be in vain */
	unsigned long used; /* slots */
	unsigned long used_hiwater;
	unsigned long exhausted; /* mappings refused for want of slots: back-pressure (HD-30) */
	unsigned long refused; /* handles or sources that made no sense (HD-27) */
	bool scrub_due; /* a slot became dirty since the last scrub began */
} ____cacheline_aligned_in_smp;

/* Areas are whole cache lines of the bitmaps, so that no two of them write the same word. */
#define AIRLOCK_AREA_SLOTS_UNIT 512UL

struct airlock_slots {
	void *memory; /* of the slots */
	unsigned long count;
	unsigned long area_slots; /* slots of an area; the last one may have more */
	unsigned int area_count; /* a power of two */
	spinlock_t span_lock; /* held by whoever takes several areas' locks */
	struct airlock_area *areas;
	/* A bit a slot. A slot that is in neither of the last two has not been used yet. */
	unsigned long *busy;
	unsigned long *zero; /* free, and zeroed since its last owner */
	unsigned long *dirty; /* free, and holds what its last owner left */
	struct airlock_extent *extents;
};

/* What a new extent is. Length in bytes. */
struct airlock_extent_request {
	enum airlock_extent_kind kind;
	u64 source;
	u32 length;
	u32 filled;
	u32 slot_count;
	u8 direction;
};

/*
 * Divides count free slots into that many areas, a power of two, each of at least
 * AIRLOCK_AREA_SLOTS_UNIT slots unless there is only one. The arrays and the memory are the
 * caller's.
 */
void airlock_slots_divide(struct airlock_slots *slots, unsigned long count,
			  unsigned int area_count);

/* The area of a slot. */
static inline struct airlock_area *airlock_slots_area(const struct airlock_slots *slots,
						      unsigned long slot)
{
	/* 32 bits, because a division of 64 is several times as slow. */
	u32 index = (u32)slot / (u32)slots->area_slots;

	return &slots->areas[min_t(u32, index, slots->area_count - 1)];
}

/* The memory of a slot. */
static inline void *airlock_slots_memory(const struct airlock_slots *slots, unsigned long slot)
{
	return slots->memory + (slot << AIRLOCK_SLOT_SHIFT);
}

/*
 * Streaming mappings take the lowest slots that fit, so that a lightly loaded area keeps reusing
 * the same, cache-warm slots. Returns the first slot, or -1 if no run is long enough.
 */
long airlock_slots_take_lowest(struct airlock_slots *slots, struct airlock_area *area,
			       const struct airlock_extent_request *request);

/*
 * Coherent memory lives long: it goes to the top, where it does not split the streaming space. The
 * alignment is in slots, a power of two.
 */
long airlock_slots_take_highest(struct airlock_slots *slots, struct airlock_area *area,
				const struct airlock_extent_request *request,
				unsigned long alignment);

/* Looks where areas meet, for a run that no single area has. For the owner of all areas. */
long airlock_slots_take_across(struct airlock_slots *slots,
			       const struct airlock_extent_request *request,
			       unsigned long alignment);

/* The live extent of the kind that a slot belongs to, or NULL. */
struct airlock_extent *airlock_slots_find(struct airlock_slots *slots, unsigned long slot,
					  enum airlock_extent_kind kind);

/* True if the slot is taken by an extent that lies in more areas than the slot's own. */
bool airlock_slots_crosses(const struct airlock_slots *slots, unsigned long slot);

/* Marks the extent at its first slot as draining; it stays taken until released. */
void airlock_slots_drain(struct airlock_slots *slots, unsigned long head);

/*
 * Frees the slots of an extent, the owner of which keeps what is behind its length zero. Returns
 * true if they are dirty now; those of one that is short are zero.
 */
bool airlock_slots_release(struct airlock_slots *slots, unsigned long head);

/* Zeroes the first dirty slot of the area from that one on, and returns it; or -1. */
long airlock_slots_scrub_next(struct airlock_slots *slots, const struct airlock_area *area,
			      unsigned long from);

#endif
