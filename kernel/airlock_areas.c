// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which area a mapping comes from, and who locks what.
 *
 * As with swiotlb, a CPU maps from the area of its own number and takes no lock but that area's, so
 * that two CPUs meet only if one of them has run out of space, or unmaps what the other mapped.
 * Whatever concerns one area is done under its lock. An extent across areas belongs to all locks
 * together: those are taken, under span_lock, only to make such an extent, to look at it and to end
 * it.
 *
 * Areas cost space: behind the last mapping of each there may be room that is too short for the
 * next one. airlock_areas_count() bounds that loss in two ways.
 *
 * - An area is at least two mappings of the largest size long. So the small mappings which other
 *   CPUs have at the start of their areas do not keep a large one out, however long they go on.
 * - What the areas can lose together, and the largest request, fit the pool side by side. An idle
 *   pool is filled from each area's start, so all that it can lose is a rest in each area that is
 *   shorter than one mapping. So a request that is alone in the pool always fits, however it is cut
 *   into mappings: virtio_blk gives a request that found no room back to the block layer, which
 *   tries again after the next completion or after some milliseconds, and one that does not even
 *   fit the idle pool would be tried for ever (HD-30).
 *
 * A pool that is too small for that has one area, which loses nothing.
 */
#include <linux/bitmap.h>
#include <linux/cpumask.h>
#include <linux/dma-direction.h>
#include <linux/kernel.h>
#include <linux/log2.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/smp.h>
#include <linux/string.h>

#include "airlock_areas.h"

/* So many locks at once are held with interrupts off when areas are crossed. */
#define AREA_COUNT_MAX 32U

static struct airlock_area *own_area(struct airlock_slots *slots)
{
	return &slots->areas[raw_smp_processor_id() & (slots->area_count - 1)];
}

/* To sparse, which counts locks, all of them together are one. */
static void lock_all(struct airlock_slots *slots, unsigned long *flags)
	__acquires(&slots->span_lock)
{
	unsigned int i;

	spin_lock_irqsave(&slots->span_lock, *flags);
	for (i = 0; i < slots->area_count; i++) {
		spin_lock_nest_lock(&slots->areas[i].lock, &slots->span_lock);
		__release(&slots->areas[i].lock);
	}
}

static void unlock_all(struct airlock_slots *slots, unsigned long flags)
	__releases(&slots->span_lock)
{
	unsigned int i;

	for (i = 0; i < slots->area_count; i++) {
		__acquire(&slots->areas[i].lock);
		spin_unlock(&slots->areas[i].lock);
	}
	spin_unlock_irqrestore(&slots->span_lock, flags);
}

/*
 * Locks what the extent of a slot belongs to: the area that is returned or, if NULL is, all areas.
 * That it crosses areas is certain only while the lock is held, so whoever has all of them looks
 * the extent up as if for the first time.
 */
static struct airlock_area *lock_extent(struct airlock_slots *slots, unsigned long slot,
					unsigned long *flags)
	__acquires(&slots->span_lock)
{
	struct airlock_area *area = airlock_slots_area(slots, slot);

	spin_lock_irqsave(&area->lock, *flags);
	if (likely(!airlock_slots_crosses(slots, slot)))
		return area;
	spin_unlock_irqrestore(&area->lock, *flags);
	lock_all(slots, flags);
	return NULL;
}

static void unlock_extent(struct airlock_slots *slots, struct airlock_area *area,
			  unsigned long flags)
	__releases(&slots->span_lock)
{
	if (likely(area))
		spin_unlock_irqrestore(&area->lock, flags);
	else
		unlock_all(slots, flags);
}

/* For the owner of the area. */
static long take_owned(struct airlock_slots *slots, struct airlock_area *area,
		       const struct airlock_extent_request *request)
{
	if (request->kind == AIRLOCK_EXTENT_COHERENT)
		return airlock_slots_take_highest(slots, area, request, AIRLOCK_PAGE_SLOTS);
	return airlock_slots_take_lowest(slots, area, request);
}

static long take_in(struct airlock_slots *slots, struct airlock_area *area,
		    const struct airlock_extent_request *request)
{
	unsigned long flags;
	long head;

	spin_lock_irqsave(&area->lock, flags);
	head = take_owned(slots, area, request);
	spin_unlock_irqrestore(&area->lock, flags);
	return head;
}

/*
 * With all locks: what is free at one time is found, also if another CPU has freed it in an area
 * that was looked at before, and taken what was free in one that was looked at after it. A single
 * slot lies in one area.
 */
static long take_anywhere(struct airlock_slots *slots,
			  const struct airlock_extent_request *request)
{
	bool coherent = request->kind == AIRLOCK_EXTENT_COHERENT;
	unsigned int mask = slots->area_count - 1;
	unsigned long flags;
	unsigned int i;
	long head = -1;

	lock_all(slots, &flags);
	for (i = 0; i <= mask && head < 0; i++)
		head = take_owned(slots, &slots->areas[coherent ? mask - i : i], request);
	if (head < 0 && request->slot_count > 1)
		head = airlock_slots_take_across(slots, request,
						 coherent ? AIRLOCK_PAGE_SLOTS : 1);
	unlock_all(slots, flags);
	return head;
}

long airlock_areas_take(struct airlock_slots *slots, const struct airlock_extent_request *request)
{
	unsigned int mask = slots->area_count - 1;
	bool coherent = request->kind == AIRLOCK_EXTENT_COHERENT;
	unsigned int own = coherent ? mask : own_area(slots) - slots->areas;
	unsigned int i;

	for (i = 0; i <= mask; i++) {
		unsigned int index = (coherent ? own - i : own + i) & mask;
		long head = take_in(slots, &slots->areas[index], request);

		if (head >= 0)
			return head;
	}
	return mask ? take_anywhere(slots, request) : -1;
}

bool airlock_areas_find(struct airlock_slots *slots, unsigned long slot,
			enum airlock_extent_kind kind, struct airlock_extent *record)
{
	const struct airlock_extent *extent;
	struct airlock_area *area;
	unsigned long flags;

	area = lock_extent(slots, slot, &flags);
	extent = airlock_slots_find(slots, slot, kind);
	if (extent)
		*record = *extent;
	unlock_extent(slots, area, flags);
	return extent;
}

/*
 * Of an extent across areas the first one's flag speaks: a scrub goes through all areas in order,
 * and whatever is dirty when it begins the first one is dirty when it comes to the others.
 */
static enum airlock_end release_owned(struct airlock_slots *slots, unsigned long head)
{
	struct airlock_area *area = airlock_slots_area(slots, head);

	if (!airlock_slots_release(slots, head) || area->scrub_due)
		return AIRLOCK_END_FREE;
	area->scrub_due = true;
	return AIRLOCK_END_SCRUB_DUE;
}

enum airlock_end airlock_areas_retire(struct airlock_slots *slots, unsigned long slot,
				      enum airlock_extent_kind kind,
				      struct airlock_extent *record)
{
	enum airlock_end end = AIRLOCK_END_REFUSED;
	const struct airlock_extent *extent;
	struct airlock_area *area;
	unsigned long flags;

	area = lock_extent(slots, slot, &flags);
	extent = airlock_slots_find(slots, slot, kind);
	if (extent && extent->head == slot) {
		*record = *extent;
		if (record->direction == DMA_TO_DEVICE) {
			end = release_owned(slots, slot);
		} else {
			end = AIRLOCK_END_DRAINING;
			airlock_slots_drain(slots, slot);
		}
	}
	unlock_extent(slots, area, flags);
	return end;
}

enum airlock_end airlock_areas_release(struct airlock_slots *slots, unsigned long head)
{
	enum airlock_end end;
	struct airlock_area *area;
	unsigned long flags;

	area = lock_extent(slots, head, &flags);
	end = release_owned(slots, head);
	unlock_extent(slots, area, flags);
	return end;
}

static long scrub_next(struct airlock_slots *slots, struct airlock_area *area, unsigned long from)
{
	unsigned long flags;
	long slot;

	spin_lock_irqsave(&area->lock, flags);
	slot = airlock_slots_scrub_next(slots, area, from);
	spin_unlock_irqrestore(&area->lock, flags);
	return slot;
}

void airlock_areas_scrub(struct airlock_slots *slots)
{
	unsigned long flags;
	unsigned int i;

	for (i = 0; i < slots->area_count; i++) {
		struct airlock_area *area = &slots->areas[i];
		unsigned long from = area->first;
		long slot;

		/* First of all: what becomes dirty from here on may be missed, and is due again. */
		spin_lock_irqsave(&area->lock, flags);
		area->scrub_due = false;
		spin_unlock_irqrestore(&area->lock, flags);
		while ((slot = scrub_next(slots, area, from)) >= 0) {
			from = slot + 1;
			cond_resched();
		}
	}
}

void airlock_areas_note_exhausted(struct airlock_slots *slots)
{
	struct airlock_area *area = own_area(slots);
	unsigned long flags;

	spin_lock_irqsave(&area->lock, flags);
	area->exhausted++;
	spin_unlock_irqrestore(&area->lock, flags);
}

void airlock_areas_note_refused(struct airlock_slots *slots)
{
	struct airlock_area *area = own_area(slots);
	unsigned long flags;

	spin_lock_irqsave(&area->lock, flags);
	area->refused++;
	spin_unlock_irqrestore(&area->lock, flags);
}

void airlock_areas_stats(struct airlock_slots *slots, struct airlock_areas_stats *stats)
{
	unsigned long flags;
	unsigned int i;

	memset(stats, 0, sizeof(*stats));
	for (i = 0; i < slots->area_count; i++) {
		struct airlock_area *area = &slots->areas[i];

		spin_lock_irqsave(&area->lock, flags);
		stats->used += area->used;
		stats->used_hiwater += area->used_hiwater;
		stats->exhausted += area->exhausted;
		stats->refused += area->refused;
		spin_unlock_irqrestore(&area->lock, flags);
	}
}

void airlock_areas_restart_hiwater(struct airlock_slots *slots)
{
	unsigned long flags;
	unsigned int i;

	for (i = 0; i < slots->area_count; i++) {
		struct airlock_area *area = &slots->areas[i];

		spin_lock_irqsave(&area->lock, flags);
		area->used_hiwater = area->used;
		spin_unlock_irqrestore(&area->lock, flags);
	}
}

unsigned int airlock_areas_count(unsigned long slot_count, unsigned long mapping_max,
				 unsigned long request_slots)
{
	unsigned long least = max_t(unsigned long, 2 * mapping_max, AIRLOCK_AREA_SLOTS_UNIT);
	unsigned int count = min_t(unsigned int, rounddown_pow_of_two(num_possible_cpus()),
				   AREA_COUNT_MAX);

	while (count > 1 && (round_down(slot_count / count, AIRLOCK_AREA_SLOTS_UNIT) < least ||
			     count * mapping_max + request_slots > slot_count))
		count /= 2;
	return count;
}

int airlock_areas_open(struct airlock_slots *slots, void *memory, unsigned long slot_count,
		       unsigned int area_count)
{
	slots->memory = memory;
	slots->busy = kvcalloc(BITS_TO_LONGS(slot_count), sizeof(long), GFP_KERNEL);
	slots->zero = kvcalloc(BITS_TO_LONGS(slot_count), sizeof(long), GFP_KERNEL);
	slots->dirty = kvcalloc(BITS_TO_LONGS(slot_count), sizeof(long), GFP_KERNEL);
	slots->extents = kvcalloc(slot_count, sizeof(*slots->extents), GFP_KERNEL);
	slots->areas = kvcalloc(area_count, sizeof(*slots->areas), GFP_KERNEL);
	if (!slots->busy || !slots->zero || !slots->dirty || !slots->extents || !slots->areas) {
		airlock_areas_close(slots);
		return -ENOMEM;
	}
	airlock_slots_divide(slots, slot_count, area_count);
	return 0;
}

void airlock_areas_close(struct airlock_slots *slots)
{
	kvfree(slots->busy);
	kvfree(slots->zero);
	kvfree(slots->dirty);
	kvfree(slots->extents);
	kvfree(slots->areas);
	memset(slots, 0, sizeof(*slots));
}
