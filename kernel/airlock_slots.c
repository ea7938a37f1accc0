// SPDX-License-Identifier: GPL-2.0-only
/*
 * Slot bookkeeping: three bitmaps and one private record a slot. See airlock_slots.h for why it is
 * apart.
 *
 * A search starts at an area's lowest free slot and passes 64 taken ones a step; a search that is
 * known to be in vain is not made at all, which is what counts when a pool is exhausted and every
 * CPU tries again and again.
 */
#include <linux/bitmap.h>
#include <linux/bitops.h>
#include <linux/kernel.h>
#include <linux/limits.h>
#include <linux/string.h>

#include "airlock_slots.h"

/*
 * Most extents are a few slots, and calls are what most of the time goes into. So what lies in one
 * word is done here. No count is zero.
 */
static bool in_one_word(unsigned long first, unsigned long count)
{
	return first % BITS_PER_LONG + count <= BITS_PER_LONG;
}

static unsigned long mask_of(unsigned long first, unsigned long count)
{
	return (~0UL >> (BITS_PER_LONG - count)) << first % BITS_PER_LONG;
}

static void set_bits(unsigned long *map, unsigned long first, unsigned long count)
{
	if (likely(in_one_word(first, count)))
		map[BIT_WORD(first)] |= mask_of(first, count);
	else
		bitmap_set(map, first, count);
}

static void clear_bits(unsigned long *map, unsigned long first, unsigned long count)
{
	if (likely(in_one_word(first, count)))
		map[BIT_WORD(first)] &= ~mask_of(first, count);
	else
		bitmap_clear(map, first, count);
}

static bool all_set(const unsigned long *map, unsigned long first, unsigned long count)
{
	if (likely(in_one_word(first, count)))
		return !(~map[BIT_WORD(first)] & mask_of(first, count));
	return find_next_zero_bit(map, first + count, first) >= first + count;
}

/* The first run of count zero bits from first on and below end, or something from end on. */
static unsigned long find_run(unsigned long *map, unsigned long first, unsigned long end,
			      unsigned long count)
{
	if (count <= 2) {
		unsigned long word = ~map[BIT_WORD(first)] & (~0UL << first % BITS_PER_LONG);

		if (count == 2)
			word &= word >> 1;
		if (word) {
			unsigned long found = round_down(first, BITS_PER_LONG) + __ffs(word);

			return found + count <= end ? found : end;
		}
	}
	return bitmap_find_next_zero_area(map, end, first, count, 0);
}

void airlock_slots_divide(struct airlock_slots *slots, unsigned long count, unsigned int area_count)
{
	unsigned int i;

	slots->count = count;
	slots->area_count = area_count;
	slots->area_slots = count;
	if (area_count > 1)
		slots->area_slots = round_down(count / area_count, AIRLOCK_AREA_SLOTS_UNIT);
	spin_lock_init(&slots->span_lock);
	for (i = 0; i < area_count; i++) {
		struct airlock_area *area = &slots->areas[i];

		spin_lock_init(&area->lock);
		area->first = i * slots->area_slots;
		area->count = slots->area_slots;
		area->lowest_free = area->first;
		area->too_long = ULONG_MAX;
	}
	slots->areas[area_count - 1].count = count - slots->areas[area_count - 1].first;
}

static unsigned long end_of(const struct airlock_area *area)
{
	return area->first + area->count;
}

/* Enters a change of count slots from head on in the books of every area that they lie in. */
static void account(struct airlock_slots *slots, unsigned long head, unsigned long count,
		    bool taken)
{
	while (count) {
		struct airlock_area *area = airlock_slots_area(slots, head);
		unsigned long part = min_t(unsigned long, count, end_of(area) - head);

		if (taken) {
			area->used += part;
			if (area->used > area->used_hiwater)
				area->used_hiwater = area->used;
			if (head == area->lowest_free)
				area->lowest_free = head + part;
		} else {
			area->used -= part;
			if (head < area->lowest_free)
				area->lowest_free = head;
			area->too_long = ULONG_MAX;
		}
		head += part;
		count -= part;
	}
}

static void occupy(struct airlock_slots *slots, unsigned long head,
		   const struct airlock_extent_request *request)
{
	struct airlock_extent *first = &slots->extents[head];
	u32 i;

	set_bits(slots->busy, head, request->slot_count);
	first->was_zero = all_set(slots->zero, head, request->slot_count);
	clear_bits(slots->zero, head, request->slot_count);
	clear_bits(slots->dirty, head, request->slot_count);
	for (i = 1; i < request->slot_count; i++) {
		slots->extents[head + i].head = head;
		slots->extents[head + i].kind = AIRLOCK_EXTENT_NONE;
	}
	first->source = request->source;
	first->length = request->length;
	first->filled = request->filled;
	first->slot_count = request->slot_count;
	first->head = head;
	first->kind = request->kind;
	first->direction = request->direction;
	account(slots, head, request->slot_count, true);
}

static bool in_vain(const struct airlock_area *area, const struct airlock_extent_request *request)
{
	return request->slot_count == 0 || request->slot_count > area->count - area->used ||
	       request->slot_count >= area->too_long;
}

long airlock_slots_take_lowest(struct airlock_slots *slots, struct airlock_area *area,
			       const struct airlock_extent_request *request)
{
	unsigned long end = end_of(area);
	unsigned long head;

	if (in_vain(area, request))
		return -1;
	head = find_run(slots->busy, area->lowest_free, end, request->slot_count);
	if (head >= end) {
		area->too_long = request->slot_count;
		return -1;
	}
	occupy(slots, head, request);
	return head;
}

long airlock_slots_take_highest(struct airlock_slots *slots, struct airlock_area *area,
				const struct airlock_extent_request *request,
				unsigned long alignment)
{
	unsigned long busy = end_of(area);

	if (in_vain(area, request))
		return -1;
	/* Below the lowest busy slot that was in the way there may be room for the whole of it. */
	while (busy >= area->first + request->slot_count) {
		unsigned long head = round_down(busy - request->slot_count, alignment);
		unsigned long end = head + request->slot_count;

		if (head < area->first)
			break;
		busy = find_next_bit(slots->busy, end, head);
		if (busy >= end) {
			occupy(slots, head, request);
			return head;
		}
	}
	return -1;
}

long airlock_slots_take_across(struct airlock_slots *slots,
			       const struct airlock_extent_request *request,
			       unsigned long alignment)
{
	unsigned long start = 0; /* of the free run that ends where the area begins */
	unsigned int i;

	for (i = 0; i < slots->area_count; i++) {
		const struct airlock_area *area = &slots->areas[i];
		unsigned long head = round_up(start, alignment);
		unsigned long end = head + request->slot_count;
		unsigned long last;

		if (end > slots->count)
			break;
		if (find_next_bit(slots->busy, end, max_t(unsigned long, head, area->first)) >=
		    end) {
			occupy(slots, head, request);
			return head;
		}
		last = find_last_bit(slots->busy + BIT_WORD(area->first), area->count);
		if (last < area->count)
			start = area->first + last + 1;
	}
	return -1;
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

bool airlock_slots_crosses(const struct airlock_slots *slots, unsigned long slot)
{
	const struct airlock_area *area = airlock_slots_area(slots, slot);
	unsigned long head = slots->extents[slot].head;

	if (!test_bit(slot, slots->busy))
		return false;
	/* A record outside the area is somebody else's to read, and says enough by being there. */
	return head < area->first || head + slots->extents[head].slot_count > end_of(area);
}

void airlock_slots_drain(struct airlock_slots *slots, unsigned long head)
{
	slots->extents[head].kind = AIRLOCK_EXTENT_DRAINING;
	slots->extents[head].source = 0;
}

bool airlock_slots_release(struct airlock_slots *slots, unsigned long head)
{
	struct airlock_extent *extent = &slots->extents[head];
	bool dirty = extent->length > AIRLOCK_SHORT_BYTES;

	if (!dirty)
		memset(airlock_slots_memory(slots, head), 0, extent->length);
	extent->kind = AIRLOCK_EXTENT_NONE;
	clear_bits(slots->busy, head, extent->slot_count);
	set_bits(dirty ? slots->dirty : slots->zero, head, extent->slot_count);
	account(slots, head, extent->slot_count, false);
	return dirty;
}

long airlock_slots_scrub_next(struct airlock_slots *slots, const struct airlock_area *area,
			      unsigned long from)
{
	unsigned long slot = find_next_bit(slots->dirty, end_of(area), from);

	if (slot >= end_of(area))
		return -1;
	memset(airlock_slots_memory(slots, slot), 0, AIRLOCK_SLOT_SIZE);
	clear_bits(slots->dirty, slot, 1);
	set_bits(slots->zero, slot, 1);
	return slot;
}
