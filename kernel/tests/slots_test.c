// SPDX-License-Identifier: GPL-2.0-only
/*
 * Goal: the slot allocator never hands out a slot twice, never loses one, and believes only handles
 * of live extents of the right kind (HD-10, HD-27). Method: a few scripted cases, each with its
 * rejecting twin, then a long random run against a plain array that says who owns which slot.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <linux/bitmap.h>

#include "airlock_slots.h"

#define SLOTS 256

#define EXPECT(condition)                                                                     \
	do {                                                                                  \
		if (!(condition)) {                                                           \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);       \
			exit(1);                                                              \
		}                                                                             \
	} while (0)

static struct airlock_slots make(void)
{
	struct airlock_slots slots = { .count = SLOTS };

	slots.busy = calloc(SLOTS / SHIM_LONG_BITS, sizeof(long));
	slots.scrubbed = calloc(SLOTS / SHIM_LONG_BITS, sizeof(long));
	slots.extents = calloc(SLOTS, sizeof(*slots.extents));
	EXPECT(slots.busy && slots.scrubbed && slots.extents);
	return slots;
}

static void destroy(struct airlock_slots *slots)
{
	free(slots->busy);
	free(slots->scrubbed);
	free(slots->extents);
}

static struct airlock_extent_request mapped(u32 slot_count)
{
	return (struct airlock_extent_request){
		.kind = AIRLOCK_EXTENT_MAPPED, .source = 0x1000, .length = slot_count * 2048,
		.slot_count = slot_count, .direction = 1,
	};
}

static long take(struct airlock_slots *slots, u32 slot_count)
{
	struct airlock_extent_request request = mapped(slot_count);

	return airlock_slots_take_lowest(slots, &request);
}

static void give(struct airlock_slots *slots, long head, u32 slot_count)
{
	airlock_slots_drain(slots, head);
	airlock_slots_release(slots, head, slot_count);
}

static void low_and_high_meet_in_the_middle(void)
{
	struct airlock_slots slots = make();
	struct airlock_extent_request coherent = mapped(3);

	coherent.kind = AIRLOCK_EXTENT_COHERENT;
	EXPECT(take(&slots, 5) == 0);
	EXPECT(take(&slots, 1) == 5);
	EXPECT(airlock_slots_take_highest(&slots, &coherent, 2) == SLOTS - 4);
	EXPECT(airlock_slots_take_highest(&slots, &coherent, 2) == SLOTS - 8);
	EXPECT(slots.used == 12 && slots.used_hiwater == 12);
	EXPECT(take(&slots, SLOTS - 8 - 6) == 6);
	EXPECT(take(&slots, 2) == -1); /* two single slots are left, but no pair */
	EXPECT(take(&slots, 1) == SLOTS - 5);
	EXPECT(airlock_slots_take_highest(&slots, &coherent, 2) == -1);
	destroy(&slots);
}

static void freed_slots_are_taken_again_lowest_first(void)
{
	struct airlock_slots slots = make();
	long first = take(&slots, 4);
	long second = take(&slots, 4);

	EXPECT(take(&slots, 4) == 8);
	give(&slots, second, 4);
	give(&slots, first, 4);
	EXPECT(slots.used == 4 && slots.used_hiwater == 12);
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
	airlock_slots_release(&slots, head, 3);
	EXPECT(!airlock_slots_find(&slots, head + 1, AIRLOCK_EXTENT_MAPPED));
	destroy(&slots);
}

static void scrubbing_is_owed_once(void)
{
	struct airlock_slots slots = make();

	EXPECT(!airlock_slots_mark_scrubbed(&slots, 10, 4));
	EXPECT(airlock_slots_mark_scrubbed(&slots, 10, 4));
	EXPECT(!airlock_slots_mark_scrubbed(&slots, 12, 4));
	EXPECT(airlock_slots_mark_scrubbed(&slots, 10, 6));
	destroy(&slots);
}

/* owner[i] is 0 for a free slot, otherwise 1 + the first slot of the extent that holds it. */
static void random_run_agrees_with_an_array(unsigned int seed)
{
	struct airlock_slots slots = make();
	unsigned int owner[SLOTS] = { 0 };
	u32 length[SLOTS] = { 0 };
	unsigned long used = 0;
	int step;

	srand(seed);
	for (step = 0; step < 20000; step++) {
		u32 pick = rand() % SLOTS;
		u32 i;

		if (owner[pick]) {
			u32 head = owner[pick] - 1;

			EXPECT(airlock_slots_find(&slots, pick, AIRLOCK_EXTENT_MAPPED) ==
			       &slots.extents[head]);
			for (i = 0; i < length[head]; i++)
				owner[head + i] = 0;
			used -= length[head];
			give(&slots, head, length[head]);
		} else {
			struct airlock_extent_request request = mapped(1 + rand() % 16);
			bool high = rand() % 4 == 0;
			long head = high ? airlock_slots_take_highest(&slots, &request, 2) :
					   airlock_slots_take_lowest(&slots, &request);

			if (head < 0)
				continue;
			EXPECT(head + request.slot_count <= SLOTS && (!high || head % 2 == 0));
			for (i = 0; i < request.slot_count; i++) {
				EXPECT(!owner[head + i]);
				owner[head + i] = 1 + head;
			}
			length[head] = request.slot_count;
			used += request.slot_count;
		}
		EXPECT(slots.used == used);
		for (i = 0; i < SLOTS; i++)
			EXPECT(test_bit(i, slots.busy) == !!owner[i]);
		EXPECT(slots.lowest_free <= find_next_zero_bit(slots.busy, SLOTS, 0));
	}
	destroy(&slots);
}

int main(void)
{
	unsigned int seed;

	low_and_high_meet_in_the_middle();
	freed_slots_are_taken_again_lowest_first();
	only_live_extents_of_the_kind_are_found();
	scrubbing_is_owed_once();
	for (seed = 1; seed <= 8; seed++)
		random_run_agrees_with_an_array(seed);
	puts("slots_test: ok");
	return 0;
}
