// SPDX-License-Identifier: GPL-2.0-only
/*
 * Goal: an area for each CPU costs nobody a mapping that the pool has room for. Method: scripted
 * cases on a machine of several CPUs, one at a time; each accepted one beside its rejecting twin.
 */
#include "pool_fixture.h"

#define POOL_BYTES (8 * MIB)
#define CPUS 4U
#define AREA_BYTES (POOL_BYTES / CPUS)
#define MOST (POOL_BYTES / 8)
#define LITTLE (64UL << 10)
#define ELSEWHERE (2 * MIB + 5000) /* in memory, away from what fillers write */

static void open_pool(void)
{
	open_pool_for(POOL_BYTES, CPUS, LITTLE);
	EXPECT(pool.slots.area_count == CPUS);
}

static unsigned int area_of(dma_addr_t handle)
{
	return (handle - BUS) / AREA_BYTES;
}

static void unmap(dma_addr_t handle, size_t length)
{
	airlock_pool_unmap(&pool, handle, length, 0);
}

/* Leaves an area of this size without a free slot; the handles that did it. */
static unsigned int fill_area(dma_addr_t handles[], unsigned int cpu)
{
	unsigned int count = 0;

	shim_cpu = cpu;
	while (stats().used < pool.slots.areas[cpu].count * (cpu + 1)) {
		handles[count] = map(0, AIRLOCK_SLOT_SIZE, DMA_TO_DEVICE);
		EXPECT(area_of(handles[count]) == cpu);
		count++;
	}
	return count;
}

static unsigned int areas_of(unsigned long pool_bytes, unsigned int cpus, size_t request_bytes)
{
	unsigned int count;

	open_pool_for(pool_bytes, cpus, request_bytes);
	count = pool.slots.area_count;
	close_pool(0);
	return count;
}

/* A power of two, no more than CPUs; two largest mappings each; and the largest request beside. */
static void the_pool_decides_how_many_areas_there_are(void)
{
	EXPECT(areas_of(8 * MIB, 1, LITTLE) == 1);
	EXPECT(areas_of(8 * MIB, 3, LITTLE) == 2);
	EXPECT(areas_of(8 * MIB, 4, LITTLE) == 4);
	EXPECT(areas_of(8 * MIB, 64, LITTLE) == 4);
	EXPECT(areas_of(64 * MIB, 64, LITTLE) == 8);
	EXPECT(areas_of(8 * MIB, 4, 4 * MIB) == 4);
	EXPECT(areas_of(8 * MIB, 4, 4 * MIB + 1) == 2);
	EXPECT(areas_of(8 * MIB, 4, 7 * MIB) == 1);
	EXPECT(areas_of(2 * MIB, 4, MIB) == 2);
	EXPECT(areas_of(2 * MIB, 4, 2 * MIB) == 1);
	EXPECT(areas_of(MIB, 64, LITTLE) == 1);
}

static void a_cpu_maps_from_its_own_area(void)
{
	dma_addr_t handles[CPUS];
	unsigned int cpu;

	open_pool();
	for (cpu = 0; cpu < CPUS; cpu++) {
		shim_cpu = cpu;
		handles[cpu] = map(0, MOST, DMA_FROM_DEVICE);
		EXPECT(area_of(handles[cpu]) == cpu);
	}
	/* Wherever it ends, the slots go back where they came from. */
	for (cpu = 0; cpu < CPUS; cpu++)
		unmap(handles[cpu], MOST);
	EXPECT(map(0, 1, DMA_TO_DEVICE) == handles[CPUS - 1]);
	unmap(handles[CPUS - 1], 1);
	shim_cpu = CPUS + 1; /* more CPUs than areas */
	handles[0] = map(0, 1, DMA_TO_DEVICE);
	EXPECT(area_of(handles[0]) == 1);
	unmap(handles[0], 1);
	close_pool(0);
}

/* HD-30: a mapping waits only when no area has room, and no longer than until one has. */
static void a_full_area_is_no_full_pool(void)
{
	static dma_addr_t handles[CPUS][AREA_BYTES / AIRLOCK_SLOT_SIZE];
	unsigned int counts[CPUS];
	unsigned int cpu;

	open_pool();
	for (cpu = 0; cpu < CPUS - 1; cpu++)
		counts[cpu] = fill_area(handles[cpu], cpu);
	shim_cpu = 0;
	handles[CPUS - 1][0] = map(0, AIRLOCK_SLOT_SIZE, DMA_TO_DEVICE);
	EXPECT(area_of(handles[CPUS - 1][0]) == CPUS - 1 && stats().exhausted == 0);
	unmap(handles[CPUS - 1][0], AIRLOCK_SLOT_SIZE);
	counts[CPUS - 1] = fill_area(handles[CPUS - 1], CPUS - 1);
	shim_cpu = 0;
	EXPECT(map(0, 1, DMA_TO_DEVICE) == DMA_MAPPING_ERROR && stats().exhausted == 1);
	EXPECT(map(0, 4096, DMA_TO_DEVICE) == DMA_MAPPING_ERROR && stats().exhausted == 2);
	unmap(handles[2][7], AIRLOCK_SLOT_SIZE);
	EXPECT(map(0, 4096, DMA_TO_DEVICE) == DMA_MAPPING_ERROR);
	EXPECT(map(0, 1, DMA_TO_DEVICE) == handles[2][7]);
	for (cpu = 0; cpu < CPUS; cpu++)
		while (counts[cpu])
			unmap(handles[cpu][--counts[cpu]], AIRLOCK_SLOT_SIZE);
	close_pool(0);
}

/* Fills the pool but for the last slot of area 0 and the slots after it, MOST bytes in all. */
static void leave_room_where_areas_meet(dma_addr_t fillers[4])
{
	dma_addr_t hole;

	shim_cpu = 0;
	fillers[0] = map(0, MOST - PAGE_SIZE, DMA_FROM_DEVICE); /* behind the page never used */
	fillers[1] = map(0, MOST - AIRLOCK_SLOT_SIZE, DMA_FROM_DEVICE);
	shim_cpu = 1;
	hole = map(0, MOST - AIRLOCK_SLOT_SIZE, DMA_FROM_DEVICE);
	fillers[2] = map(0, MOST, DMA_FROM_DEVICE);
	fillers[3] = map(0, AIRLOCK_SLOT_SIZE, DMA_FROM_DEVICE);
	EXPECT(hole == BUS + AREA_BYTES && fillers[3] == hole + AREA_BYTES - AIRLOCK_SLOT_SIZE);
	for (shim_cpu = 2; shim_cpu < CPUS; shim_cpu++) {
		EXPECT(map(0, MOST, DMA_FROM_DEVICE) == BUS + shim_cpu * AREA_BYTES);
		EXPECT(map(0, MOST, DMA_FROM_DEVICE) == BUS + shim_cpu * AREA_BYTES + MOST);
	}
	unmap(hole, MOST);
}

static void give_back_fillers(const dma_addr_t fillers[4])
{
	unsigned int i;

	for (i = 0; i < 4; i++) {
		unmap(fillers[i], MOST);
		unmap(BUS + 2 * AREA_BYTES + i * MOST, MOST);
	}
}

/*
 * HD-26, HD-27, HD-28: data, sub-ranges, slack, refusals and accounting of a mapping in two areas.
 */
static void a_mapping_may_cross_areas(void)
{
	const size_t length = MOST - 100;
	const size_t in_first = AIRLOCK_SLOT_SIZE;
	dma_addr_t fillers[4];
	dma_addr_t handle;

	open_pool();
	leave_room_where_areas_meet(fillers);
	handle = map(ELSEWHERE, length, DMA_BIDIRECTIONAL);
	EXPECT(handle == BUS + AREA_BYTES - in_first && area_of(handle + length) == 1);
	EXPECT(map(ELSEWHERE, 1, DMA_TO_DEVICE) == DMA_MAPPING_ERROR);
	EXPECT(pool.slots.areas[0].used == pool.slots.areas[0].count);
	EXPECT(pool.slots.areas[1].used == pool.slots.areas[1].count);
	EXPECT(all(shown(handle), length, 0x5a) && all(shown(handle) + length, 100, 0));

	memset(shown(handle), 7, length);
	airlock_pool_sync_for_cpu(&pool, handle + in_first + 300, 1000);
	EXPECT(all(source(ELSEWHERE), in_first + 300, 0x5a));
	EXPECT(all(source(ELSEWHERE + in_first + 300), 1000, 7));
	EXPECT(all(source(ELSEWHERE + in_first + 1300), length - in_first - 1300, 0x5a));
	airlock_pool_sync_for_device(&pool, handle + in_first - 1, 2);
	EXPECT(shown(handle)[in_first - 1] == 0x5a && shown(handle)[in_first] == 0x5a);
	EXPECT(shown(handle)[in_first + 1] == 7);

	unmap(handle + in_first, 1); /* inside */
	airlock_pool_sync_for_cpu(&pool, handle + in_first, length - in_first + 1);
	airlock_pool_free(&pool, handle);
	EXPECT(stats().refused == 3);
	unmap(handle, length);
	EXPECT(all(source(ELSEWHERE), in_first - 1, 7));
	EXPECT(all(source(ELSEWHERE + in_first + 1), length - in_first - 1, 7));
	EXPECT(shim_run_delayed_work(&pool.scrub));
	EXPECT(all(shown(handle), MOST, 0));
	unmap(handle, length); /* twice */
	give_back_fillers(fillers);
	EXPECT(stats().used == AIRLOCK_PAGE_SLOTS);
	close_pool(4);
}

/* Rings longer than an area, which lie across several; and none that the pool has no run for. */
static void coherent_memory_takes_what_it_needs(void)
{
	const size_t long_ring = 2 * AREA_BYTES + PAGE_SIZE;
	dma_addr_t handle;
	dma_addr_t small;
	void *ring;

	open_pool();
	EXPECT(airlock_pool_alloc(&pool, 100, &small));
	EXPECT(small == BUS + POOL_BYTES - PAGE_SIZE);
	ring = airlock_pool_alloc(&pool, long_ring, &handle);
	EXPECT(ring == shown(handle) && (handle - BUS) % PAGE_SIZE == 0);
	EXPECT(all(ring, long_ring, 0));
	EXPECT(!airlock_pool_alloc(&pool, long_ring, &small));
	EXPECT(!airlock_pool_alloc(&pool, POOL_BYTES, &small));
	EXPECT(!airlock_pool_alloc(&pool, POOL_BYTES + 1, &small));
	airlock_pool_free(&pool, handle);
	airlock_pool_free(&pool, BUS + POOL_BYTES - PAGE_SIZE);
	EXPECT(stats().used == AIRLOCK_PAGE_SLOTS);
	close_pool(0);
}

/* Slots of the next mapping of a request: any; nearly the most; over half of it; few or many. */
static unsigned long draw_slots(unsigned long most, int flavour)
{
	unsigned long dice = rand();

	if (flavour == 0)
		return 1 + dice % most;
	if (flavour == 1)
		return most - dice % 3;
	if (flavour == 2)
		return 1 + most / 2 + dice % 2;
	return rand() % 2 ? 1 + dice % 3 : most - dice % (most / 2);
}

/* Mappings that make up slot_count slots, one after the other. False if one found no room. */
static bool map_request(unsigned long slot_count, int flavour)
{
	static dma_addr_t handles[16 * MIB / AIRLOCK_SLOT_SIZE];
	unsigned long most = airlock_pool_max_mapping(&pool) >> AIRLOCK_SLOT_SHIFT;
	unsigned int count = 0;

	shim_cpu = rand();
	while (slot_count) {
		unsigned long slots = min_t(unsigned long, draw_slots(most, flavour), slot_count);

		if (flavour == 3 && rand() % 8 == 0)
			shim_cpu = rand();
		handles[count] = map(0, slots << AIRLOCK_SLOT_SHIFT, DMA_FROM_DEVICE);
		if (handles[count] == DMA_MAPPING_ERROR)
			break;
		count++;
		slot_count -= slots;
	}
	while (count)
		unmap(handles[--count], 1);
	return slot_count == 0;
}

/*
 * DMB-N1, HD-30: a request that is alone in the pool fits however it is cut, so who tries again
 * when others have completed gets on. The rings are there already.
 */
static void the_largest_request_always_fits_an_idle_pool(void)
{
	static const struct {
		size_t pool_bytes;
		size_t request_bytes;
	} shapes[] = {
		{ MIB, MIB },
		{ 2 * MIB, 1900UL << 10 },
		{ 4 * MIB, 1900UL << 10 },
		{ 8 * MIB, 1900UL << 10 },
		{ 8 * MIB, 4700UL << 10 },
		{ 8 * MIB, 8 * MIB },
		{ 16 * MIB, 4700UL << 10 },
	};
	const size_t ring = 9 * PAGE_SIZE;
	unsigned int i;
	int run;

	srand(1);
	for (i = 0; i < sizeof(shapes) / sizeof(*shapes); i++) {
		size_t payload = shapes[i].request_bytes - PAGE_SIZE - ring;
		dma_addr_t coherent;

		open_pool_for(shapes[i].pool_bytes, 16, shapes[i].request_bytes);
		EXPECT(airlock_pool_alloc(&pool, ring, &coherent));
		for (run = 0; run < 40; run++)
			EXPECT(map_request(payload >> AIRLOCK_SLOT_SHIFT, run % 4));
		EXPECT(stats().exhausted == 0);
		airlock_pool_free(&pool, coherent);
		close_pool(0);
	}
}

/* Its twin: more than was asked for may not fit, because areas do cost some space. */
static void what_areas_cost_is_why_there_are_fewer(void)
{
	const size_t length = 700UL << 10; /* two in an area, eleven in an undivided pool */
	unsigned int cpus;

	for (cpus = 1; cpus <= CPUS; cpus += CPUS - 1) {
		dma_addr_t handles[11];
		unsigned int count = 0;

		open_pool_for(POOL_BYTES, cpus, LITTLE);
		while (count < 11) {
			handles[count] = map(0, length, DMA_FROM_DEVICE);
			if (handles[count] == DMA_MAPPING_ERROR)
				break;
			count++;
		}
		EXPECT(count == (cpus == 1 ? 11 : 2 * CPUS));
		while (count)
			unmap(handles[--count], length);
		close_pool(0);
	}
	EXPECT(areas_of(POOL_BYTES, CPUS, 10 * length) == 1);
}

/* DT-10: the peak that is shown is never less than the true one, and starts anew from what is. */
static void the_areas_add_up(void)
{
	dma_addr_t handles[2];
	unsigned int cpu;

	open_pool();
	for (cpu = 0; cpu < 2; cpu++) {
		shim_cpu = cpu;
		handles[cpu] = map(0, MOST, DMA_TO_DEVICE);
		unmap(handles[cpu], MOST);
		handles[cpu] = map(0, 1, DMA_TO_DEVICE);
	}
	EXPECT(stats().used == AIRLOCK_PAGE_SLOTS + 2);
	EXPECT(stats().used_hiwater >= AIRLOCK_PAGE_SLOTS + MOST / AIRLOCK_SLOT_SIZE + 1);
	airlock_areas_restart_hiwater(&pool.slots);
	EXPECT(stats().used_hiwater == stats().used);
	unmap(handles[0], 1);
	EXPECT(stats().used_hiwater == stats().used + 1);
	unmap(handles[1], 1);
	close_pool(0);
}

int main(void)
{
	the_pool_decides_how_many_areas_there_are();
	a_cpu_maps_from_its_own_area();
	a_full_area_is_no_full_pool();
	a_mapping_may_cross_areas();
	coherent_memory_takes_what_it_needs();
	the_largest_request_always_fits_an_idle_pool();
	what_areas_cost_is_why_there_are_fewer();
	the_areas_add_up();
	puts("pool_areas_test: ok");
	return 0;
}
