// SPDX-License-Identifier: GPL-2.0-only
/*
 * Goal: CPUs that map, sync and unmap at the same time, each other's mappings too, never get the
 * same slot, never see each other's bytes, and leave nothing behind (HD-10, HD-26, HD-27). Method:
 * a thread for each pretended CPU, more CPUs than areas, in a pool that is nearly always full,
 * while another one scrubs it; also run under a sanitizer that finds data races.
 */
#include <pthread.h>

#include "pool_fixture.h"

#define THREADS 6U
#define POOL_BYTES (2 * MIB)
#define ROUNDS 3000
#define PER_THREAD 8U
/* Bytes of memory that each mapping has to itself. */
#define PART ((SHIM_PAGES - 1) * PAGE_SIZE / THREADS / (PER_THREAD + 1))

/* A mapping that some thread has; it is given on by way of the table below. */
struct held {
	dma_addr_t handle;
	phys_addr_t source;
	size_t length;
	unsigned char value; /* what the device wrote */
	bool coherent;
};

static struct held all_held[THREADS][PER_THREAD + 1];
static struct held *given_on[THREADS]; /* at first the last one of each thread */

struct random {
	u32 state;
};

static u32 draw(struct random *random, u32 limit)
{
	random->state = random->state * 1664525 + 1013904223;
	return (random->state >> 8) % limit;
}

static void begin(struct held *held, struct random *random)
{
	held->length = draw(random, 3) ? PART - draw(random, PART / 2) :
					 1 + draw(random, 3 * AIRLOCK_SLOT_SIZE);
	held->value = 1 + draw(random, 255);
	held->coherent = draw(random, 16) == 0;
	if (held->coherent) {
		unsigned char *bytes = airlock_pool_alloc(&pool, held->length, &held->handle);

		if (!bytes) {
			held->handle = DMA_MAPPING_ERROR;
			return;
		}
		EXPECT(all(bytes, held->length, 0));
	} else {
		memset(source(held->source), held->value ^ 0xff, held->length);
		held->handle = map(held->source, held->length, DMA_BIDIRECTIONAL);
		if (held->handle == DMA_MAPPING_ERROR)
			return;
		EXPECT(all(shown(held->handle), held->length, held->value ^ 0xff));
		/* Sub-ranges of a mapping, up to its end. */
		memset(shown(held->handle), 0x77, held->length);
		airlock_pool_sync_for_cpu(&pool, held->handle + held->length / 2,
					  held->length - held->length / 2);
		EXPECT(source(held->source)[held->length - 1] == 0x77);
	}
	memset(shown(held->handle), held->value, held->length);
}

/* Perhaps on another CPU than it began: what the device wrote is still there, and comes back. */
static void end(struct held *held)
{
	const dma_addr_t handle = held->handle;

	EXPECT(all(shown(handle), held->length, held->value));
	held->handle = DMA_MAPPING_ERROR;
	if (held->coherent) {
		airlock_pool_free(&pool, handle);
		return;
	}
	airlock_pool_unmap(&pool, handle + 1, 1, 0); /* no handle at all */
	airlock_pool_unmap(&pool, handle, held->length, 0);
	EXPECT(all(source(held->source), held->length, held->value));
}

static void *run(void *argument)
{
	unsigned int self = (struct held(*)[PER_THREAD + 1])argument - all_held;
	struct random random = { self };
	struct held *hand[PER_THREAD];
	unsigned long ended = 0;
	unsigned int i;

	shim_cpu = self;
	for (i = 0; i < PER_THREAD; i++)
		hand[i] = &all_held[self][i];
	for (i = 0; i < ROUNDS; i++) {
		struct held **held = &hand[draw(&random, PER_THREAD)];

		if ((*held)->handle == DMA_MAPPING_ERROR) {
			begin(*held, &random);
		} else if (draw(&random, 2)) {
			struct held **place = &given_on[draw(&random, THREADS)];

			*held = __atomic_exchange_n(place, *held, __ATOMIC_ACQ_REL);
		} else {
			ended += !(*held)->coherent;
			end(*held);
		}
	}
	for (i = 0; i < PER_THREAD; i++) {
		if (hand[i]->handle == DMA_MAPPING_ERROR)
			continue;
		ended += !hand[i]->coherent;
		end(hand[i]);
	}
	return (void *)ended;
}

static void *scrub(void *over)
{
	while (!__atomic_load_n((bool *)over, __ATOMIC_ACQUIRE))
		airlock_pool_scrub(&pool);
	return NULL;
}

/* So many bytes of the pool are somebody else's. Returns how often it was exhausted. */
static unsigned long cpus_do_not_get_into_each_others_way(size_t others)
{
	pthread_t threads[THREADS];
	pthread_t scrubber;
	bool over = false;
	unsigned long ended = 0;
	unsigned long exhausted;
	dma_addr_t handle;
	unsigned int i;
	unsigned int j;

	open_pool_for(POOL_BYTES, THREADS, PAGE_SIZE);
	EXPECT(pool.slots.area_count == 2);
	EXPECT(!others || airlock_pool_alloc(&pool, others, &handle));
	for (i = 0; i < THREADS; i++) {
		for (j = 0; j <= PER_THREAD; j++)
			all_held[i][j] = (struct held){
				.handle = DMA_MAPPING_ERROR,
				.source = (i * (PER_THREAD + 1) + j) * PART,
			};
		given_on[i] = &all_held[i][PER_THREAD];
	}
	EXPECT(pthread_create(&scrubber, NULL, scrub, &over) == 0);
	for (i = 0; i < THREADS; i++)
		EXPECT(pthread_create(&threads[i], NULL, run, all_held[i]) == 0);
	for (i = 0; i < THREADS; i++) {
		void *count;

		EXPECT(pthread_join(threads[i], &count) == 0);
		ended += (unsigned long)count;
	}
	for (i = 0; i < THREADS; i++)
		if (given_on[i]->handle != DMA_MAPPING_ERROR) {
			ended += !given_on[i]->coherent;
			end(given_on[i]);
		}
	if (others)
		airlock_pool_free(&pool, handle);
	__atomic_store_n(&over, true, __ATOMIC_RELEASE);
	EXPECT(pthread_join(scrubber, NULL) == 0);
	airlock_pool_scrub(&pool);
	EXPECT(all(region + PAGE_SIZE, POOL_BYTES - PAGE_SIZE, 0) || !others);
	exhausted = stats().exhausted;
	EXPECT(stats().used == AIRLOCK_PAGE_SLOTS);
	close_pool(ended);
	return exhausted;
}

/* On even CPUs: small mappings. On odd ones, whose areas stay free: rings longer than an area. */
static void *map_or_allocate(void *argument)
{
	const size_t ring = 5 * MIB / 4;
	unsigned int self = (uintptr_t)argument;
	unsigned long made = 0;
	dma_addr_t handle;
	unsigned int i;

	shim_cpu = self;
	for (i = 0; i < ROUNDS; i++) {
		size_t length = 1 + i % (3 * AIRLOCK_SLOT_SIZE);

		if (self % 2 == 0) {
			handle = map(self * PART, length, DMA_TO_DEVICE);
			EXPECT(handle != DMA_MAPPING_ERROR);
			airlock_pool_sync_for_device(&pool, handle, length);
			airlock_pool_unmap(&pool, handle, length, 0);
			made++;
		} else if (i % 32 == 0 && airlock_pool_alloc(&pool, ring, &handle)) {
			/* Neither is a handle; both lie in an area that the ring reaches. */
			airlock_pool_free(&pool, handle + ring - PAGE_SIZE);
			airlock_pool_sync_for_cpu(&pool, handle + ring - 1, 1);
			airlock_pool_free(&pool, handle);
			made++;
		}
	}
	return (void *)made;
}

static void extents_across_areas_are_everybodys(void)
{
	pthread_t threads[4];
	unsigned long made[4];
	unsigned int i;

	open_pool_for(4 * MIB, 4, PAGE_SIZE);
	EXPECT(pool.slots.area_count == 4);
	for (i = 0; i < 4; i++)
		EXPECT(pthread_create(&threads[i], NULL, map_or_allocate,
				      (void *)(uintptr_t)i) == 0);
	for (i = 0; i < 4; i++) {
		void *count;

		EXPECT(pthread_join(threads[i], &count) == 0);
		made[i] = (unsigned long)count;
	}
	EXPECT(made[1] + made[3] > 0);
	EXPECT(stats().used == AIRLOCK_PAGE_SLOTS);
	close_pool(2 * (made[1] + made[3]));
}

int main(void)
{
	cpus_do_not_get_into_each_others_way(0);
	/* So little is left that one thread after the other would exhaust it too. */
	EXPECT(cpus_do_not_get_into_each_others_way(7 * MIB / 4) > 0);
	extents_across_areas_are_everybodys();
	puts("pool_threads_test: ok");
	return 0;
}
