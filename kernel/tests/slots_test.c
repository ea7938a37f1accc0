// SPDX-License-Identifier: GPL-2.0-only
/*
 * Goal: the slot allocator never hands out a slot twice, never loses one, and believes only handles
 * of live extents of the right kind (HD-10, HD-27). Method: a few scripted cases, each with its
 * rejecting twin, then long random runs against a plain array that says who owns which slot.
 */
#include <linux/bitmap.h>

#include "airlock_slots.h"
#include "expect.h"

#define SLOTS 256
#define UNIT AIRLOCK_AREA_SLOTS_UNIT
#define AREAS 4

static struct airlock_slots make_areas(unsigned long count, unsigned int area_count)
{
	struct airlock_slots slots = { 0 };

	slots.busy = calloc(BITS_TO_LONGS(count), sizeof(long));
	slots.zero = calloc(BITS_TO_LONGS(count), sizeof(long));
	slots.dirty = calloc(BITS_TO_LONGS(count), sizeof(long));
	slots.extents = calloc(count, sizeof(*slots.extents));
	slots.areas = kvcalloc(area_count, sizeof(*slots.areas), GFP_KERNEL);
	slots.memory = malloc(count << AIRLOCK_SLOT_SHIFT);
	EXPECT(slots.memory && slots.busy && slots.zero && slots.dirty);
	EXPECT(slots.extents && slots.areas);
	airlock_slots_divide(&slots, count, area_count);
	return slots;
}

static struct airlock_slots make(void)
{
	return make_areas(SLOTS, 1);
}

static void destroy(struct airlock_slots *slots)
{
	free(slots->memory);
	free(slots->busy);
	free(slots->zero);
	free(slots->dirty);
	free(slots->extents);
	kvfree(slots->areas);
}

static struct airlock_extent_request mapped(u32 slot_count)
{
	return (struct airlock_extent_request){
		.kind = AIRLOCK_EXTENT_MAPPED, .source = 0x1000, .length = slot_count * 2048,
		.slot_count = slot_count, .direction = 1,
	};
}

static long take_in(struct airlock_slots *slots, unsigned int area, u32 slot_count)
{
	struct airlock_extent_request request = mapped(slot_count);

	return airlock_slots_take_lowest(slots, &slots->areas[area], &request);
}

static long take(struct airlock_slots *slots, u32 slot_count)
{
	return take_in(slots, 0, slot_count);
}

static long take_across(struct airlock_slots *slots, u32 slot_count, unsigned long alignment)
{
	struct airlock_extent_request request = mapped(slot_count);

	return airlock_slots_take_across(slots, &request, alignment);
}

static void give(struct airlock_slots *slots, long head)
{
	airlock_slots_drain(slots, head);
	airlock_slots_release(slots, head);
}

static void low_and_high_meet_in_the_middle(void)
{
	struct airlock_slots slots = make();
	struct airlock_extent_request coherent = mapped(3);

	coherent.kind = AIRLOCK_EXTENT_COHERENT;
	EXPECT(take(&slots, 5) == 0);
	EXPECT(take(&slots, 1) == 5);
	EXPECT(airlock_slots_take_highest(&slots, slots.areas, &coherent, 2) == SLOTS - 4);
	EXPECT(airlock_slots_take_highest(&slots, slots.areas, &coherent, 2) == SLOTS - 8);
	EXPECT(slots.areas->used == 12 && slots.areas->used_hiwater == 12);
	EXPECT(take(&slots, SLOTS - 8 - 6) == 6);
	EXPECT(take(&slots, 2) == -1); /* two single slots are left, but no pair */
	EXPECT(take(&slots, 1) == SLOTS - 5);
	EXPECT(airlock_slots_take_highest(&slots, slots.areas, &coherent, 2) == -1);
	destroy(&slots);
}

static void freed_slots_are_taken_again_lowest_first(void)
{
	struct airlock_slots slots = make();
	long first = take(&slots, 4);
	long second = take(&slots, 4);

	EXPECT(take(&slots, 4) == 8);
	give(&slots, second);
	give(&slots, first);
	EXPECT(slots.areas->used == 4 && slots.areas->used_hiwater == 12);
	EXPECT(take(&slots, 8) == 0);
	EXPECT(take(&slots, 0) == -1);
	EXPECT(take(&slots, SLOTS) == -1);
	destroy(&slots);
}

static void only_live_extents_of_the_kind_are_found(void)
{
	struct airlock_slots slots = make();
	long head = take(&slots, 3);
	struct airlock_extent *extent = airlock_slots_find(&slots, head + 2, AIRLOCK_EXTENT_MAPPED);

	EXPECT(extent && extent->head == (u32)head && extent->length == 3 * 2048);
	EXPECT(!airlock_slots_find(&slots, head, AIRLOCK_EXTENT_COHERENT));
	EXPECT(!airlock_slots_find(&slots, head + 3, AIRLOCK_EXTENT_MAPPED));
	EXPECT(!airlock_slots_find(&slots, SLOTS, AIRLOCK_EXTENT_MAPPED));
	airlock_slots_drain(&slots, head);
	EXPECT(!airlock_slots_find(&slots, head, AIRLOCK_EXTENT_MAPPED));
	EXPECT(take(&slots, 1) == head + 3); /* draining slots are still taken */
	airlock_slots_release(&slots, head);
	EXPECT(!airlock_slots_find(&slots, head + 1, AIRLOCK_EXTENT_MAPPED));
	destroy(&slots);
}

/* Takes slots for so many bytes, and looks at whether they were known to be zero. */
static long take_knowing(struct airlock_slots *slots, u32 slot_count, u32 length, bool zero)
{
	struct airlock_extent_request request = mapped(slot_count);
	long head;

	request.length = length;
	head = airlock_slots_take_lowest(slots, &slots->areas[0], &request);
	EXPECT(head >= 0 && slots->extents[head].was_zero == zero);
	memset(airlock_slots_memory(slots, head), 7, length);
	return head;
}

static bool leaves_dirt(struct airlock_slots *slots, long head)
{
	airlock_slots_drain(slots, head);
	return airlock_slots_release(slots, head);
}

static bool holds(const struct airlock_slots *slots, long slot, unsigned char value)
{
	const unsigned char *bytes = airlock_slots_memory(slots, slot);

	return *bytes == value && memcmp(bytes, bytes + 1, 511) == 0;
}

/* A slot is zero if its owner was short, or if it was scrubbed since; else it is not known. */
static void what_slots_hold_is_known(void)
{
	struct airlock_slots slots = make();
	const struct airlock_area *area = &slots.areas[0];

	EXPECT(airlock_slots_scrub_next(&slots, area, 0) == -1); /* never used is not dirty */
	EXPECT(take_knowing(&slots, 4, 512, false) == 0);
	EXPECT(airlock_slots_scrub_next(&slots, area, 0) == -1); /* nor is what is in use */
	EXPECT(!leaves_dirt(&slots, 0) && holds(&slots, 0, 0));
	EXPECT(airlock_slots_scrub_next(&slots, area, 0) == -1);
	EXPECT(take_knowing(&slots, 4, 513, true) == 0);
	EXPECT(leaves_dirt(&slots, 0) && holds(&slots, 0, 7));
	EXPECT(airlock_slots_scrub_next(&slots, area, 0) == 0 && holds(&slots, 0, 0));
	EXPECT(take_knowing(&slots, 1, 16, true) == 0);
	EXPECT(take_knowing(&slots, 1, 16, false) == 1); /* two of them are left */
	EXPECT(airlock_slots_scrub_next(&slots, area, 0) == 2);
	EXPECT(airlock_slots_scrub_next(&slots, area, 3) == 3);
	EXPECT(airlock_slots_scrub_next(&slots, area, 0) == -1);
	EXPECT(take_knowing(&slots, 2, 600, true) == 2);
	EXPECT(leaves_dirt(&slots, 2) && !leaves_dirt(&slots, 1));
	EXPECT(take_knowing(&slots, 3, 600, false) == 1); /* one dirty slot is enough */
	destroy(&slots);
}

/* Runs of every length, wherever a word of the bitmaps ends. */
static void runs_may_cross_words(void)
{
	struct airlock_slots slots = make();
	u32 count;

	for (count = 1; count <= 130; count++) {
		long before = take(&slots, 60);
		long head = take_knowing(&slots, count, 16, false);
		long behind = take(&slots, 1);

		EXPECT(before == 0 && head == 60 && behind == 60 + (long)count);
		EXPECT(leaves_dirt(&slots, behind) && !leaves_dirt(&slots, head));
		EXPECT(take_knowing(&slots, count, 600, true) == head);
		EXPECT(leaves_dirt(&slots, head) && leaves_dirt(&slots, before));
		for (head = 0; head <= 60 + (long)count; head++)
			EXPECT(airlock_slots_scrub_next(&slots, &slots.areas[0], 0) == head);
		EXPECT(slots.areas[0].used == 0);
		destroy(&slots);
		slots = make();
	}
	destroy(&slots);
}

/* What is freed ends the knowledge that a search is in vain. */
static void a_search_in_vain_is_not_made_twice(void)
{
	struct airlock_slots slots = make();
	long first = take(&slots, 4);
	long second = take(&slots, 1);

	EXPECT(take(&slots, SLOTS - 8) == 5);
	give(&slots, second);
	EXPECT(take(&slots, 4) == -1 && slots.areas->too_long == 4);
	EXPECT(take(&slots, 4) == -1 && take(&slots, 3) == SLOTS - 3);
	give(&slots, first);
	EXPECT(take(&slots, 4) == first);
	destroy(&slots);
}

/* The last area has what does not divide evenly. */
static void an_area_keeps_to_itself(void)
{
	struct airlock_slots slots = make_areas(AREAS * UNIT + 100, AREAS);
	const struct airlock_area *last = &slots.areas[AREAS - 1];

	EXPECT(last->count == UNIT + 100 && airlock_slots_area(&slots, AREAS * UNIT + 99) == last);
	EXPECT(airlock_slots_area(&slots, UNIT - 1) == &slots.areas[0]);
	EXPECT(airlock_slots_area(&slots, UNIT) == &slots.areas[1]);
	EXPECT(take_in(&slots, 1, UNIT - 1) == (long)UNIT);
	EXPECT(take_in(&slots, 1, 2) == -1 && take_in(&slots, 1, 1) == 2 * (long)UNIT - 1);
	EXPECT(take_in(&slots, 1, 1) == -1);
	EXPECT(take_in(&slots, AREAS - 1, UNIT + 100) == (AREAS - 1) * (long)UNIT);
	EXPECT(take_in(&slots, AREAS - 1, 1) == -1 && take_in(&slots, 2, 1) == 2 * (long)UNIT);
	EXPECT(slots.areas[0].used == 0 && slots.areas[1].used == UNIT && slots.areas[2].used == 1);
	destroy(&slots);
}

static void a_run_across_areas_is_found_where_they_meet(void)
{
	struct airlock_slots slots = make_areas(AREAS * UNIT, AREAS);
	long low = take_in(&slots, 0, UNIT - 3);
	long middle = take_in(&slots, 1, UNIT);
	struct airlock_extent_request one = mapped(1);
	long last;

	EXPECT(take_in(&slots, 2, UNIT - 4) > 0 && take_in(&slots, 3, 1) == 3 * (long)UNIT);
	EXPECT(take_across(&slots, 5, 1) == -1); /* 3 before area 1, 4 before area 3 */
	give(&slots, middle);
	EXPECT(take_in(&slots, 1, 1) == middle);
	last = airlock_slots_take_highest(&slots, &slots.areas[1], &one, 1);
	EXPECT(last == 2 * (long)UNIT - 1);
	EXPECT(take_across(&slots, 5, 1) == -1); /* what is free inside area 1 is that area's */
	give(&slots, middle);
	give(&slots, last);
	EXPECT(take_across(&slots, UNIT + 4, 1) == -1);
	EXPECT(take_across(&slots, UNIT + 3, 2) == -1); /* it starts at an odd slot */
	EXPECT(take_across(&slots, UNIT + 2, 2) == low + (long)UNIT - 2);
	EXPECT(slots.areas[0].used == UNIT - 1 && slots.areas[1].used == UNIT);
	destroy(&slots);
}

static void an_extent_across_areas_is_in_the_books_of_all(void)
{
	struct airlock_slots slots = make_areas(AREAS * UNIT, AREAS);
	const long head = UNIT - 2;
	unsigned int i;

	EXPECT(take_in(&slots, 0, UNIT - 2) == 0 && take_in(&slots, 3, UNIT) > 0);
	EXPECT(take_across(&slots, 2 + UNIT + 5, 1) == head);
	for (i = 0; i < UNIT + 7; i++)
		EXPECT(airlock_slots_crosses(&slots, head + i) &&
		       airlock_slots_find(&slots, head + i, AIRLOCK_EXTENT_MAPPED) ==
			       &slots.extents[head]);
	EXPECT(!airlock_slots_crosses(&slots, head - 1));
	EXPECT(!airlock_slots_crosses(&slots, head + UNIT + 7));
	EXPECT(slots.areas[0].used == UNIT && slots.areas[1].used == UNIT);
	EXPECT(slots.areas[2].used == 5 && take_in(&slots, 2, 1) == head + (long)UNIT + 7);
	EXPECT(take_in(&slots, 0, 1) == -1 && take_in(&slots, 1, 1) == -1);
	give(&slots, head);
	EXPECT(slots.areas[0].used == UNIT - 2 && slots.areas[1].used == 0);
	EXPECT(slots.areas[2].used == 1 && !airlock_slots_crosses(&slots, head));
	EXPECT(take_in(&slots, 0, 2) == head && take_in(&slots, 1, UNIT) == (long)UNIT);
	EXPECT(take_in(&slots, 2, 5) == 2 * (long)UNIT);
	destroy(&slots);
}

/* owner[i] is 0 for a free slot, otherwise 1 + the first slot of the extent that holds it. */
struct model {
	unsigned int owner[AREAS * AIRLOCK_AREA_SLOTS_UNIT];
	u32 length[AREAS * AIRLOCK_AREA_SLOTS_UNIT];
};

/* What is known of an area beside the bitmap is true. */
static void check_area(const struct airlock_slots *slots, const struct airlock_area *area,
		       const struct model *model)
{
	unsigned long lowest = area->first + area->count;
	unsigned long longest = 0;
	unsigned long used = 0;
	unsigned long run = 0;
	unsigned long i;

	for (i = area->first; i < area->first + area->count; i++) {
		EXPECT(test_bit(i, slots->busy) == !!model->owner[i]);
		run = model->owner[i] ? 0 : run + 1;
		used += !!model->owner[i];
		if (run > longest)
			longest = run;
		if (run && i < lowest)
			lowest = i;
	}
	EXPECT(area->used == used && area->lowest_free <= lowest && area->too_long > longest);
}

/* Any of the three ways of taking, in turn. The alignment is 2 where there is one. */
static long take_somehow(struct airlock_slots *slots, const struct airlock_extent_request *request)
{
	struct airlock_area *area = &slots->areas[rand() % slots->area_count];
	int way = rand() % 8;
	long head;

	if (way == 0 && slots->area_count > 1)
		return airlock_slots_take_across(slots, request, 1);
	if (way > 2)
		return airlock_slots_take_lowest(slots, area, request);
	head = airlock_slots_take_highest(slots, area, request, 2);
	EXPECT(head < 0 || head % 2 == 0);
	return head;
}

static void random_run_agrees_with_an_array(unsigned int seed, unsigned long count,
					    unsigned int area_count)
{
	struct airlock_slots slots = make_areas(count, area_count);
	struct model model = { 0 };
	unsigned int area;
	int step;

	srand(seed);
	for (step = 0; step < 5000; step++) {
		u32 pick = rand() % count;
		u32 i;

		if (model.owner[pick]) {
			u32 head = model.owner[pick] - 1;

			EXPECT(airlock_slots_find(&slots, pick, AIRLOCK_EXTENT_MAPPED) ==
			       &slots.extents[head]);
			for (i = 0; i < model.length[head]; i++)
				model.owner[head + i] = 0;
			give(&slots, head);
		} else {
			struct airlock_extent_request request = mapped(1 + rand() % (count / 16));
			long head = take_somehow(&slots, &request);

			if (head < 0)
				continue;
			EXPECT((unsigned long)head + request.slot_count <= count);
			for (i = 0; i < request.slot_count; i++) {
				EXPECT(!model.owner[head + i]);
				model.owner[head + i] = 1 + head;
			}
			model.length[head] = request.slot_count;
		}
		for (area = 0; area < area_count; area++)
			check_area(&slots, &slots.areas[area], &model);
	}
	destroy(&slots);
}

int main(void)
{
	unsigned int seed;

	low_and_high_meet_in_the_middle();
	freed_slots_are_taken_again_lowest_first();
	only_live_extents_of_the_kind_are_found();
	what_slots_hold_is_known();
	runs_may_cross_words();
	a_search_in_vain_is_not_made_twice();
	an_area_keeps_to_itself();
	a_run_across_areas_is_found_where_they_meet();
	an_extent_across_areas_is_in_the_books_of_all();
	for (seed = 1; seed <= 8; seed++) {
		random_run_agrees_with_an_array(seed, SLOTS, 1);
		random_run_agrees_with_an_array(seed, AREAS * UNIT, AREAS);
	}
	puts("slots_test: ok");
	return 0;
}
