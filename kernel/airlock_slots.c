// SPDX-License-Identifier: GPL-2.0-only
/*
 * Slot bookkeeping: two bitmaps and one private record a slot. See airlock_slots.h for why it is
 * apart. Bitmap searches are linear; with 2 KiB slots a 64 MiB pool is 512 words long, which is
 * small beside the copy that every mapping makes anyway.
 */
#include <linux/bitmap.h>

#include "airlock_slots.h"

static void occupy(struct airlock_slots *slots, unsigned long head,
		   const struct airlock_extent_request *request)
{
	struct airlock_extent *first = &slots->extents[head];
	u32 i;

	bitmap_set(slots->busy, head, request->slot_count);
	for (i = 1; i < request->slot_count; i++) {
		slots->extents[head + i].head = head;
		slots->extents[head + i].kind = AIRLOCK_EXTENT_NONE;
	}
	first->source = request->source;
	first->length = request->length;
	first->head = head;
	first->kind = request->kind;
	first->direction = request->direction;
	slots->used += request->slot_count;
	if (slots->used > slots->used_hiwater)
		slots->used_hiwater = slots->used;
	if (head == slots->lowest_free)
		slots->lowest_free = head + request->slot_count;
}

long airlock_slots_take_lowest(struct airlock_slots *slots,
			       const struct airlock_extent_request *request)
{
	unsigned long head;

	if (request->slot_count == 0 || request->slot_count > slots->count - slots->used)
		return -1;
	head = bitmap_find_next_zero_area(slots->busy, slots->count, slots->lowest_free,
					  request->slot_count, 0);
	if (head >= slots->count)
		return -1;
	occupy(slots, head, request);
	return head;
}

long airlock_slots_take_highest(struct airlock_slots *slots,
				const struct airlock_extent_request *request,
				unsigned long alignment)
{
	unsigned long head;

	if (request->slot_count == 0 || request->slot_count > slots->count - slots->used)
		return -1;
	head = (slots->count - request->slot_count) & ~(alignment - 1);
	for (;;) {
		unsigned long end = head + request->slot_count;

		if (find_next_bit(slots->busy, end, head) >= end) {
			occupy(slots, head, request);
			return head;
		}
		if (head < alignment)
			return -1;
		head -= alignment;
	}
}

struct airlock_extent *airlock_slots_find(struct airlock_slots *slots, unsigned long slot,
					  enum airlock_extent_kind kind)
{
	struct airlock_extent *first;

	if (slot >= slots->count || !test_bit(slot, slots->busy))
		return NULL;
	first = &slots->extents[slots->extents[slot].head];
	return first->kind == kind ? first : NULL;
}

void airlock_slots_drain(struct airlock_slots *slots, unsigned long head)
{
	slots->extents[head].kind = AIRLOCK_EXTENT_DRAINING;
	slots->extents[head].source = 0;
}

void airlock_slots_release(struct airlock_slots *slots, unsigned long head, u32 slot_count)
{
	slots->extents[head].kind = AIRLOCK_EXTENT_NONE;
	bitmap_clear(slots->busy, head, slot_count);
	slots->used -= slot_count;
	if (head < slots->lowest_free)
		slots->lowest_free = head;
}

bool airlock_slots_mark_scrubbed(struct airlock_slots *slots, unsigned long head, u32 slot_count)
{
	unsigned long end = head + slot_count;

	if (find_next_zero_bit(slots->scrubbed, end, head) >= end)
		return true;
	bitmap_set(slots->scrubbed, head, slot_count);
	return false;
}
