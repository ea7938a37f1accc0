// SPDX-License-Identifier: GPL-2.0-only
/*
 * Goal: over packed rings no mapping of a disk ever finds the pool full (HD-30). Method: the
 * arithmetic against its own definition, for many pools, with what is one too many as the rejecting
 * twin; then all requests that rings of that size can have, in the worst mixes and from several
 * CPUs at once, in a real pool.
 */
#include <linux/limits.h>
#include <pthread.h>

#include "airlock_bound.h"
#include "pool_fixture.h"

#define THREADS 4U
#define ROUNDS 20000
#define ENTRY_BYTES 16

/* Pages of everything together, counted one by one. */
static u64 pages_of(u32 queues, u32 segments, u32 entries, bool tables)
{
	u64 ring = DIV_ROUND_UP((u64)entries * ENTRY_BYTES, PAGE_SIZE);

	return 1 + queues * (2 + ring + (u64)entries * (tables ? segments + 3 : 1));
}

static void what_is_in_flight_fits(u64 pages, u32 queues, u32 offered, bool tables)
{
	u32 segments = airlock_bound_segments(pages, queues, offered, tables);
	u32 entries = airlock_bound_entries(pages, queues, segments, tables);
	bool enough = entries >= segments + 2;

	EXPECT(segments >= 1 && segments <= max_t(u32, offered, 1) && segments <= 254);
	EXPECT(entries == 0 || pages_of(queues, segments, entries, tables) <= pages);
	/* A page a queue may be lost to rounding, and what the queues cannot share. */
	if (entries)
		EXPECT(pages_of(queues, segments, entries + 1, tables) + 2 * queues > pages);
	if (enough && segments < offered && segments < 254)
		EXPECT(airlock_bound_entries(pages, queues, segments + 1, tables) < segments + 3);
	if (!enough)
		EXPECT(segments <= 8);
	EXPECT(enough == (airlock_bound_pages(queues, segments, tables) <= pages));
}

static void the_arithmetic_holds(void)
{
	static const u32 queues[] = { 1, 2, 3, 8, 64, 1024, 65535 };
	static const u32 offered[] = { 0, 1, 2, 7, 8, 9, 62, 254, 255, 32766, U32_MAX };
	u64 pages;
	size_t i;
	size_t j;

	for (pages = 0; pages < 1UL << 21; pages += 1 + pages / 7)
		for (i = 0; i < sizeof(queues) / sizeof(*queues); i++)
			for (j = 0; j < sizeof(offered) / sizeof(*offered); j++) {
				what_is_in_flight_fits(pages, queues[i], offered[j], true);
				what_is_in_flight_fits(pages, queues[i], offered[j], false);
			}
}

static void the_least_is_taken_and_a_page_less_is_refused(void)
{
	u32 queues;

	for (queues = 1; queues < 40; queues++) {
		u64 pages = airlock_bound_pages(queues, 8, true);

		EXPECT(airlock_bound_entries(pages, queues, 8, true) == 10);
		EXPECT(airlock_bound_entries(pages - 1, queues, 8, true) == 9);
		EXPECT(airlock_bound_segments(pages, queues, 254, true) == 8);
	}
	/* 4 MiB and two queues: what the smallest region of the documents comes to. */
	EXPECT(airlock_bound_segments(1024, 2, 254, true) == 20);
	EXPECT(airlock_bound_entries(1024, 2, 20, true) == 22);
	EXPECT(airlock_bound_entries(0, 1, 8, true) == 0);
	EXPECT(airlock_bound_entries(4, 1, 8, true) == 0);
}

/* Lengths of a request's mappings, in turn: header, table, data of a page or a sector, status. */
static size_t length_of(unsigned long i)
{
	static const size_t lengths[] = { 16, PAGE_SIZE, PAGE_SIZE, 512, 1, 2049, 2048 };

	return lengths[i % (sizeof(lengths) / sizeof(*lengths))];
}

static void fill(dma_addr_t *handles, unsigned long count)
{
	unsigned long i;

	for (i = 0; i < count; i++) {
		shim_cpu = i % shim_cpus;
		handles[i] = map(0, length_of(i), DMA_TO_DEVICE);
	}
}

static unsigned long missing(const dma_addr_t *handles, unsigned long count)
{
	unsigned long none = 0;

	while (count--)
		none += handles[count] == DMA_MAPPING_ERROR;
	return none;
}

/* The rings of a disk, and then as many mappings as they can have. */
static unsigned long open_disk(size_t bytes, u32 queues, dma_addr_t *rings)
{
	u32 segments = airlock_bound_segments(bytes / PAGE_SIZE, queues, 254, true);
	u32 entries = airlock_bound_entries(bytes / PAGE_SIZE, queues, segments, true);
	u32 i;

	open_pool_for(bytes, THREADS, PAGE_SIZE);
	airlock_pool_by_pages(&pool, true);
	EXPECT(airlock_pool_max_mapping(&pool) == PAGE_SIZE);
	for (i = 0; i < queues; i++) {
		EXPECT(airlock_pool_alloc(&pool, entries * ENTRY_BYTES, &rings[3 * i]));
		EXPECT(airlock_pool_alloc(&pool, 4, &rings[3 * i + 1]));
		EXPECT(airlock_pool_alloc(&pool, 4, &rings[3 * i + 2]));
	}
	return (unsigned long)queues * entries * (segments + 3);
}

static void a_pool_holds_all_that_its_rings_can_have(size_t bytes, u32 queues)
{
	dma_addr_t *rings = calloc(3 * queues, sizeof(*rings));
	unsigned long count = open_disk(bytes, queues, rings);
	dma_addr_t *handles = calloc(count, sizeof(*handles));
	unsigned long i;
	unsigned int step;

	EXPECT(rings && handles && pool.slots.area_count > 1);
	fill(handles, count);
	/* Others in their places, in whatever order. */
	for (step = 2; step < 7; step++) {
		for (i = step % 2; i < count; i += step)
			airlock_pool_unmap(&pool, handles[i], length_of(i), 0);
		for (i = step % 2; i < count; i += step) {
			shim_cpu = (i / step) % shim_cpus;
			handles[i] = map(0, length_of(i), DMA_FROM_DEVICE);
		}
		EXPECT(missing(handles, count) == 0);
	}
	EXPECT(stats().exhausted == 0);
	for (i = 0; i < count; i++)
		airlock_pool_unmap(&pool, handles[i], length_of(i), 0);
	for (i = 0; i < 3 * queues; i++)
		airlock_pool_free(&pool, rings[i]);
	EXPECT(stats().used == AIRLOCK_PAGE_SLOTS);
	free(handles);
	free(rings);
	close_pool(0);
}

/* The twin: short mappings that leave gaps, and what no gap has room for. */
static void without_whole_pages_half_a_pool_may_be_of_no_use(bool by_pages)
{
	const unsigned long count = 1500;
	dma_addr_t *handles = calloc(count, sizeof(*handles));
	dma_addr_t page;
	unsigned long i;

	open_pool_for(4 * MIB, 1, PAGE_SIZE);
	airlock_pool_by_pages(&pool, by_pages);
	for (i = 0; i < count; i++)
		handles[i] = map(0, 512, DMA_TO_DEVICE);
	EXPECT(missing(handles, count) == (by_pages ? count - 1023 : 0));
	for (i = 0; i < count; i += 2)
		if (handles[i] != DMA_MAPPING_ERROR)
			airlock_pool_unmap(&pool, handles[i], 512, 0);
	for (i = 0; map(0, PAGE_SIZE, DMA_TO_DEVICE) != DMA_MAPPING_ERROR; i++)
		continue;
	/* All that is free by pages; without, none of the 750 gaps of a slot. */
	EXPECT(i == (by_pages ? 512 : (2048 - 2 - count) / 2));
	EXPECT(map(0, PAGE_SIZE + 1, DMA_TO_DEVICE) == DMA_MAPPING_ERROR);
	page = map(0, 1, DMA_TO_DEVICE);
	EXPECT((page == DMA_MAPPING_ERROR) == by_pages);
	free(handles);
	shim_cpus = 1;
	airlock_pool_close(&pool);
	free(region);
}

/*
 * A CPU looks for the last page from area to area. Before it comes to the one that has it, another
 * CPU takes that page and gives back one of an area that was looked at: it is found all the same.
 */
static dma_addr_t in_first_area;

static void move_the_last_page(spinlock_t *lock)
{
	if (lock != &pool.slots.areas[THREADS - 1].lock)
		return;
	shim_before_lock = NULL;
	shim_cpu = THREADS - 1;
	EXPECT(map(0, 1, DMA_TO_DEVICE) != DMA_MAPPING_ERROR);
	airlock_pool_unmap(&pool, in_first_area, 1, 0);
	shim_cpu = 0;
}

static void the_last_page_is_found_wherever_it_goes(void)
{
	const unsigned long count = 1024 - 1;
	dma_addr_t *handles = calloc(count, sizeof(*handles));
	unsigned long i;

	open_pool_for(4 * MIB, THREADS, PAGE_SIZE);
	airlock_pool_by_pages(&pool, true);
	for (i = 0; i < count; i++)
		handles[i] = map(0, 1, DMA_TO_DEVICE);
	EXPECT(missing(handles, count) == 0);
	in_first_area = handles[0];
	airlock_pool_unmap(&pool, handles[count - 1], 1, 0);
	shim_before_lock = move_the_last_page;
	EXPECT(map(0, 1, DMA_TO_DEVICE) == in_first_area);
	EXPECT(!shim_before_lock && stats().exhausted == 0);
	EXPECT(map(0, 1, DMA_TO_DEVICE) == DMA_MAPPING_ERROR && stats().exhausted == 1);
	free(handles);
	airlock_pool_close(&pool);
	free(region);
}

/* Has at most `quota` mappings; all threads' together are the whole pool. */
static unsigned long quota;

static void *map_up_to_quota(void *argument)
{
	dma_addr_t *handles = calloc(quota, sizeof(*handles));
	u32 state = (uintptr_t)argument;
	unsigned long held = 0;
	unsigned int i;

	shim_cpu = (uintptr_t)argument;
	EXPECT(handles);
	for (i = 0; i < ROUNDS; i++) {
		state = state * 1664525 + 1013904223;
		if (held < quota && (held == 0 || (state >> 16) % 8)) {
			handles[held] = map(0, length_of(i), DMA_TO_DEVICE);
			EXPECT(handles[held] != DMA_MAPPING_ERROR);
			held++;
		} else {
			unsigned long pick = (state >> 8) % held;

			airlock_pool_unmap(&pool, handles[pick], 1, 0);
			handles[pick] = handles[--held];
		}
	}
	while (held)
		airlock_pool_unmap(&pool, handles[--held], 1, 0);
	free(handles);
	return NULL;
}

/* The last free page is found, in whatever area it is while others come and go. */
static void what_fits_is_found_while_others_come_and_go(void)
{
	pthread_t threads[THREADS];
	unsigned int i;

	open_pool_for(4 * MIB, THREADS, PAGE_SIZE);
	airlock_pool_by_pages(&pool, true);
	EXPECT(pool.slots.area_count == THREADS);
	quota = (1024 - 1) / THREADS;
	for (i = 0; i < (1024 - 1) % THREADS; i++)
		EXPECT(map(0, 1, DMA_TO_DEVICE) != DMA_MAPPING_ERROR);
	for (i = 0; i < THREADS; i++)
		EXPECT(pthread_create(&threads[i], NULL, map_up_to_quota,
				      (void *)(uintptr_t)i) == 0);
	for (i = 0; i < THREADS; i++)
		EXPECT(pthread_join(threads[i], NULL) == 0);
	EXPECT(stats().exhausted == 0);
	airlock_pool_close(&pool);
	free(region);
}

int main(void)
{
	the_arithmetic_holds();
	the_least_is_taken_and_a_page_less_is_refused();
	a_pool_holds_all_that_its_rings_can_have(4 * MIB, 1);
	a_pool_holds_all_that_its_rings_can_have(4 * MIB, 2);
	a_pool_holds_all_that_its_rings_can_have(64 * MIB, 3);
	without_whole_pages_half_a_pool_may_be_of_no_use(false);
	without_whole_pages_half_a_pool_may_be_of_no_use(true);
	the_last_page_is_found_wherever_it_goes();
	what_fits_is_found_while_others_come_and_go();
	puts("bound_test: ok");
	return 0;
}
