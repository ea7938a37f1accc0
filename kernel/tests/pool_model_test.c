// SPDX-License-Identifier: GPL-2.0-only
/*
 * Goal: whatever is mapped, synced, unmapped, allocated, freed or made up, in whatever order and on
 * whichever CPU, the pool does what the simplest thinkable one does (HD-10, HD-26, HD-27, HD-30).
 * Method: dice, and beside the pool a list of what is alive, and a copy of what each side should
 * see.
 */
#include "pool_fixture.h"

#define POOL_BYTES (2 * MIB)
#define SLOTS (POOL_BYTES / AIRLOCK_SLOT_SIZE)
#define LIVE_MAX 40
#define STEPS 3000

struct live {
	dma_addr_t handle;
	phys_addr_t source;
	size_t length; /* 0: none */
	size_t filled; /* bytes from the start that come back */
	enum dma_data_direction direction;
	bool coherent;
};

static struct live lives[LIVE_MAX];
static unsigned char *memory; /* what the callers' memory should hold */
static unsigned char *seen; /* what the device should see */
static unsigned long refused;
static unsigned long crossings;

static unsigned long below(unsigned long limit)
{
	return ((unsigned long)rand() << 16 ^ rand()) % limit;
}

static void scribble(unsigned char *bytes, unsigned char *copy, size_t length)
{
	memset(bytes, rand(), length);
	bytes[below(length)] ^= 1;
	memcpy(copy, bytes, length);
}

static unsigned long first_slot(const struct live *live)
{
	return (live->handle - BUS) / AIRLOCK_SLOT_SIZE;
}

static unsigned long slots_of(const struct live *live)
{
	return DIV_ROUND_UP(live->length, AIRLOCK_SLOT_SIZE);
}

/* Which slots are free, by the list alone. */
static void draw_free(bool free_slots[SLOTS])
{
	unsigned int i;

	memset(free_slots, true, SLOTS);
	memset(free_slots, false, AIRLOCK_PAGE_SLOTS);
	for (i = 0; i < LIVE_MAX; i++)
		if (lives[i].length)
			memset(free_slots + first_slot(&lives[i]), false, slots_of(&lives[i]));
}

/* True if an extent could be anywhere. */
static bool there_is_room(unsigned long slot_count, unsigned long alignment)
{
	bool free_slots[SLOTS];
	unsigned long start;

	draw_free(free_slots);
	for (start = 0; start + slot_count <= SLOTS; start += alignment) {
		unsigned long end = start;

		while (end < start + slot_count && free_slots[end])
			end++;
		if (end == start + slot_count)
			return true;
	}
	return false;
}

/* The new extent overlaps nothing that is alive. */
static void check_new(const struct live *live)
{
	bool free_slots[SLOTS];
	unsigned long i;

	EXPECT((live->handle - BUS) % AIRLOCK_SLOT_SIZE == 0);
	EXPECT(first_slot(live) + slots_of(live) <= SLOTS);
	draw_free(free_slots);
	for (i = 0; i < slots_of(live); i++)
		EXPECT(free_slots[first_slot(live) + i]);
	crossings += airlock_slots_crosses(&pool.slots, first_slot(live));
}

static bool reads(const struct live *live)
{
	return live->direction != DMA_FROM_DEVICE;
}

static bool writes(const struct live *live)
{
	return live->direction != DMA_TO_DEVICE;
}

static void make_mapping(struct live *slot)
{
	struct live live = { .direction = rand() % 3 };
	size_t offset;

	live.length = 1 + below(rand() % 2 ? 3 * AIRLOCK_SLOT_SIZE : POOL_BYTES / 8);
	/* Callers' buffers do not overlap: a part of memory for each. */
	live.source = (slot - lives) * (SHIM_PAGES - 1) * PAGE_SIZE / LIVE_MAX;
	offset = (SHIM_PAGES - 1) * PAGE_SIZE / LIVE_MAX - 1;
	live.length = min_t(size_t, live.length, offset);
	live.source += below(offset - live.length + 1);
	scribble(source(live.source), memory + live.source, live.length);
	live.filled = live.length;
	if (pool.fills_told && live.length > 512 && !reads(&live))
		live.filled = 0;
	live.handle = map(live.source, live.length, live.direction);
	if (live.handle == DMA_MAPPING_ERROR) {
		EXPECT(!there_is_room(slots_of(&live), 1));
		return;
	}
	check_new(&live);
	if (live.filled)
		memset(seen + (live.handle - BUS), 0, slots_of(&live) * AIRLOCK_SLOT_SIZE);
	if (reads(&live))
		memcpy(seen + (live.handle - BUS), memory + live.source, live.length);
	*slot = live;
}

static void make_coherent(struct live *slot)
{
	struct live live = { .coherent = true };

	live.length = PAGE_ALIGN(1 + below(rand() % 2 ? 4 * PAGE_SIZE : POOL_BYTES / 2));
	if (!airlock_pool_alloc(&pool, live.length, &live.handle)) {
		EXPECT(!there_is_room(slots_of(&live), AIRLOCK_PAGE_SLOTS));
		return;
	}
	check_new(&live);
	EXPECT((live.handle - BUS) % PAGE_SIZE == 0);
	memset(seen + (live.handle - BUS), 0, live.length);
	*slot = live;
}

/* What the caller gets of a part of a mapping. */
static void come_back(const struct live *live, size_t skip, size_t length)
{
	size_t i;

	for (i = skip; i < skip + length; i++)
		memory[live->source + i] =
			i < live->filled ? seen[live->handle - BUS + i] : 0;
}

static void end(struct live *live)
{
	if (live->coherent) {
		airlock_pool_free(&pool, live->handle);
	} else {
		bool skip = rand() % 4 == 0;

		airlock_pool_unmap(&pool, live->handle, live->length,
				   skip ? DMA_ATTR_SKIP_CPU_SYNC : 0);
		if (writes(live) && !skip)
			come_back(live, 0, live->length);
	}
	if (live->length <= 512)
		memset(seen + (live->handle - BUS), 0, live->length);
	live->length = 0;
}

/* A moment passes: whatever is free is zero, unless nothing became dirty. */
static void scrub(void)
{
	bool free_slots[SLOTS];
	unsigned long i;

	if (!shim_run_delayed_work(&pool.scrub))
		return;
	draw_free(free_slots);
	for (i = 0; i < SLOTS; i++)
		if (free_slots[i])
			memset(seen + i * AIRLOCK_SLOT_SIZE, 0, AIRLOCK_SLOT_SIZE);
}

/* The device says that it wrote a mapping, or a part of one. */
static void say_filled(struct live *live)
{
	size_t skip = rand() % 2 ? 0 : below(live->length);
	size_t length = rand() % 2 ? live->length - skip : 1 + below(live->length - skip);

	airlock_pool_filled(&pool, live->handle + skip, length);
	if (!live->coherent)
		live->filled = max_t(size_t, live->filled, skip + length);
}

/* The device writes where it may, the caller in its buffer; then a part is synced, or too much. */
static void use(const struct live *live)
{
	size_t skip = below(live->length);
	size_t length = 1 + below(live->length - skip);
	dma_addr_t handle = live->handle + skip;
	unsigned char *shadow = seen + (handle - BUS);
	bool to_cpu = rand() % 2;

	scribble(shown(handle), shadow, length);
	if (live->coherent)
		return;
	scribble(source(live->source + skip), memory + live->source + skip, length);
	if (rand() % 4 == 0) {
		length = live->length - skip + 1 + below(POOL_BYTES);
		refused++;
	} else if (to_cpu && writes(live)) {
		come_back(live, skip, length);
	} else if (!to_cpu && reads(live)) {
		memcpy(shadow, memory + live->source + skip, length);
	}
	if (to_cpu)
		airlock_pool_sync_for_cpu(&pool, handle, length);
	else
		airlock_pool_sync_for_device(&pool, handle, length);
}

/* HD-27: a handle that is nobody's, of the other kind, inside an extent, or outside the region. */
static void make_up(void)
{
	const struct live *live = &lives[rand() % LIVE_MAX];
	dma_addr_t handle = BUS + below(POOL_BYTES);
	bool free_slots[SLOTS];

	draw_free(free_slots);
	if (live->length && rand() % 2) {
		handle = live->handle;
		if (live->coherent)
			airlock_pool_unmap(&pool, handle, 1, 0);
		else
			airlock_pool_free(&pool, handle);
	} else if (live->length && live->length > 1 && rand() % 2) {
		size_t inside = 1 + below(live->length - 1);

		if (inside > AIRLOCK_SLOT_SIZE && rand() % 2)
			inside = round_down(inside, AIRLOCK_SLOT_SIZE);
		airlock_pool_unmap(&pool, live->handle + inside, 1, 0);
	} else if (free_slots[(handle - BUS) / AIRLOCK_SLOT_SIZE]) {
		airlock_pool_unmap(&pool, handle, 1, 0);
	} else {
		airlock_pool_unmap(&pool, handle + POOL_BYTES, 1, 0);
	}
	refused++;
}

static void check_everything(void)
{
	unsigned long used = AIRLOCK_PAGE_SLOTS;
	unsigned int i;

	for (i = 0; i < LIVE_MAX; i++)
		used += lives[i].length ? slots_of(&lives[i]) : 0;
	EXPECT(stats().used == used && stats().used_hiwater >= used);
	EXPECT(stats().refused == refused);
	EXPECT(!memcmp(memory, shim_memory, SHIM_PAGES * PAGE_SIZE));
	EXPECT(!memcmp(seen, region, POOL_BYTES));
}

static void random_run_agrees_with_a_list(unsigned int seed, unsigned int cpus)
{
	unsigned int i;
	int step;

	srand(seed);
	open_pool_for(POOL_BYTES, cpus, PAGE_SIZE);
	memset(region, 0, POOL_BYTES); /* so that what nobody has used yet is zero in both */
	memcpy(memory, shim_memory, SHIM_PAGES * PAGE_SIZE);
	memset(seen, 0, POOL_BYTES);
	airlock_pool_tell_fills(&pool, seed % 2);
	refused = 0;
	for (step = 0; step < STEPS; step++) {
		struct live *live = &lives[rand() % LIVE_MAX];

		if (rand() % 256 == 0)
			shim_cpu = rand() % cpus;
		if (rand() % 32 == 0)
			scrub();
		if (rand() % 16 == 0)
			make_up();
		else if (live->length && rand() % 4 == 0)
			say_filled(live);
		else if (live->length && rand() % 2)
			use(live);
		else if (live->length)
			end(live);
		else if (rand() % 6 == 0)
			make_coherent(live);
		else
			make_mapping(live);
		if (step % 64 == 0)
			check_everything();
	}
	for (i = 0; i < LIVE_MAX; i++)
		if (lives[i].length)
			end(&lives[i]);
	check_everything();
	EXPECT(stats().used == AIRLOCK_PAGE_SLOTS && stats().exhausted > 0);
	close_pool(refused);
}

int main(void)
{
	unsigned int seed;

	memory = malloc(SHIM_PAGES * PAGE_SIZE);
	seen = malloc(POOL_BYTES);
	EXPECT(memory && seen);
	for (seed = 1; seed <= 12; seed++)
		random_run_agrees_with_a_list(seed, seed % 3 ? 2 : 1);
	EXPECT(crossings > 0);
	free(memory);
	free(seen);
	puts("pool_model_test: ok");
	return 0;
}
