// SPDX-License-Identifier: GPL-2.0-only
/*
 * Goal: the pool shows a device what was mapped for it and zeros, gives back to the caller what the
 * device wrote and no more, and refuses what it did not hand out. Method: the pool itself over a
 * few pretended pages (shim/linux/kernel.h); each accepted case beside its rejecting twin.
 */
#include "pool_fixture.h"

#define POOL_BYTES (256UL * AIRLOCK_SLOT_SIZE)

static void open_pool(void)
{
	open_pool_for(POOL_BYTES, 1, POOL_BYTES);
}

/* HD-26: the slack of the last slot too. */
static void a_device_sees_what_was_mapped_to_it_and_zeros(void)
{
	dma_addr_t handle;

	open_pool();
	handle = map(100, 5000, DMA_TO_DEVICE); /* over two pages */
	EXPECT(handle != DMA_MAPPING_ERROR);
	EXPECT(all(shown(handle), 5000, 0x5a));
	EXPECT(all(shown(handle) + 5000, 3 * AIRLOCK_SLOT_SIZE - 5000, 0));
	memset(shown(handle), 1, 5000);
	airlock_pool_unmap(&pool, handle, 5000, 0);
	EXPECT(all(source(100), 5000, 0x5a));
	close_pool(0);
}

/* HD-26: a device that turns hostile later finds nothing. */
static void what_was_mapped_is_gone_a_moment_later(void)
{
	const enum dma_data_direction directions[] = { DMA_TO_DEVICE, DMA_FROM_DEVICE,
						       DMA_BIDIRECTIONAL };
	dma_addr_t coherent;
	dma_addr_t handle;
	unsigned int i;

	open_pool();
	EXPECT(!shim_run_delayed_work(&pool.scrub));
	for (i = 0; i < 3; i++) {
		handle = map(0, 5000, directions[i]);
		memset(shown(handle), 7, 3 * AIRLOCK_SLOT_SIZE);
		EXPECT(!shim_run_delayed_work(&pool.scrub));
		airlock_pool_unmap(&pool, handle, 5000, 0);
		EXPECT(all(shown(handle), 3 * AIRLOCK_SLOT_SIZE, 7)); /* at once is dear */
		EXPECT(shim_run_delayed_work(&pool.scrub));
		EXPECT(all(shown(handle), 3 * AIRLOCK_SLOT_SIZE, 0));
	}
	EXPECT(airlock_pool_alloc(&pool, 100, &coherent));
	memset(shown(coherent), 7, PAGE_SIZE);
	airlock_pool_free(&pool, coherent);
	handle = map(0, 512, DMA_TO_DEVICE);
	airlock_pool_unmap(&pool, handle, 512, 0);
	EXPECT(all(shown(handle), AIRLOCK_SLOT_SIZE, 0)); /* at once: it is short */
	EXPECT(shim_run_delayed_work(&pool.scrub));
	EXPECT(all(shown(coherent), PAGE_SIZE, 0));
	EXPECT(all(shown(BUS), PAGE_SIZE, 0xee)); /* nobody's: not ours to touch */
	close_pool(0);
}

/* Nothing stays behind when the pool is told to scrub; its twin is still in use. */
static void a_scrub_spares_what_is_mapped(void)
{
	dma_addr_t kept;
	dma_addr_t handle;

	open_pool();
	kept = map(0, 3000, DMA_TO_DEVICE);
	handle = map(0, 3000, DMA_TO_DEVICE);
	airlock_pool_unmap(&pool, handle, 3000, 0);
	airlock_pool_scrub(&pool);
	EXPECT(!shim_run_delayed_work(&pool.scrub));
	EXPECT(all(shown(handle), 3000, 0) && all(shown(kept), 3000, 0x5a));
	airlock_pool_unmap(&pool, kept, 3000, 0);
	EXPECT(all(shown(kept), 3000, 0x5a));
	airlock_pool_close(&pool);
	EXPECT(!shim_run_delayed_work(&pool.scrub));
	airlock_pool_scrub(&pool);
	EXPECT(all(shown(kept), 3000, 0x5a)); /* a closed pool has no region to write to */
	free(region);
}

/* HD-26: a slot that is used again before it was scrubbed shows nothing of its last owner. */
static void what_is_used_again_at_once_is_clean(void)
{
	dma_addr_t handle;

	open_pool();
	handle = map(0, 4096, DMA_TO_DEVICE);
	airlock_pool_unmap(&pool, handle, 4096, 0);
	EXPECT(map(8192, 3000, DMA_FROM_DEVICE) == handle);
	EXPECT(all(shown(handle), 4096, 0));
	memset(shown(handle), 7, 3000);
	airlock_pool_unmap(&pool, handle, 3000, 0);
	EXPECT(map(0, 16, DMA_TO_DEVICE) == handle);
	EXPECT(all(shown(handle), 16, 0x5a) && all(shown(handle) + 16, 2032, 0));
	airlock_pool_unmap(&pool, handle, 16, 0);
	close_pool(0);
}

static void open_told_pool(void)
{
	open_pool();
	airlock_pool_tell_fills(&pool, true);
}

/* HD-26: what is said to be written comes back, and zeros. */
static void what_the_device_filled_comes_back(void)
{
	dma_addr_t handle;

	open_told_pool();
	handle = map(100, 5000, DMA_FROM_DEVICE);
	memset(shown(handle), 7, 3 * AIRLOCK_SLOT_SIZE);
	airlock_pool_filled(&pool, handle, 5000);
	airlock_pool_unmap(&pool, handle, 5000, 0);
	EXPECT(all(source(100), 5000, 7) && all(source(5100), 900, 0x5a));

	handle = map(100, 5000, DMA_FROM_DEVICE);
	memset(shown(handle), 7, 3 * AIRLOCK_SLOT_SIZE);
	airlock_pool_filled(&pool, handle, 1000); /* a part, from its start */
	airlock_pool_sync_for_cpu(&pool, handle + 950, 100);
	EXPECT(all(source(1050), 50, 7) && all(source(1100), 50, 0));
	airlock_pool_filled(&pool, handle + 1000, 500); /* and another */
	airlock_pool_filled(&pool, handle, 10);
	airlock_pool_unmap(&pool, handle, 5000, 0);
	EXPECT(all(source(100), 1500, 7) && all(source(1600), 3500, 0));
	close_pool(0);
}

/* What never came back, or never was shown, was not written: nobody gets what others left there. */
static void what_nobody_filled_comes_back_as_zeros(void)
{
	dma_addr_t handle;

	open_told_pool();
	handle = map(0, 4096, DMA_TO_DEVICE);
	airlock_pool_unmap(&pool, handle, 4096, 0);
	EXPECT(map(8192, 4096, DMA_FROM_DEVICE) == handle);
	EXPECT(all(shown(handle), 4096, 0x5a)); /* no secret: the device was shown it before */
	airlock_pool_unmap(&pool, handle, 4096, 0);
	EXPECT(all(source(8192), 4096, 0));
	close_pool(0);
}

/* A status above all, which devices write that say nothing of it. */
static void what_is_short_comes_back_all_the_same(void)
{
	dma_addr_t handle;

	open_told_pool();
	handle = map(0, 512, DMA_FROM_DEVICE);
	EXPECT(all(shown(handle), 512, 0));
	memset(shown(handle), 7, 512);
	airlock_pool_unmap(&pool, handle, 512, 0);
	EXPECT(all(source(0), 512, 7));
	close_pool(0);
}

/* Of what is no mapping of FROM_DEVICE there are no books. */
static void books_are_kept_of_what_the_device_fills_only(void)
{
	dma_addr_t coherent;
	dma_addr_t handle;

	open_told_pool();
	handle = map(0, 4096, DMA_BIDIRECTIONAL);
	EXPECT(airlock_pool_alloc(&pool, 4096, &coherent));
	airlock_pool_filled(&pool, handle, 10);
	airlock_pool_filled(&pool, handle, 4097);
	airlock_pool_filled(&pool, coherent, 10);
	airlock_pool_filled(&pool, BUS - 1, 4096);
	airlock_pool_filled(&pool, BUS + POOL_BYTES, 1);
	memset(shown(handle), 8, 4096);
	airlock_pool_unmap(&pool, handle, 4096, 0);
	EXPECT(all(source(0), 4096, 8));
	airlock_pool_filled(&pool, handle, 10);
	airlock_pool_free(&pool, coherent);
	close_pool(0);
}

static void a_byte_of_a_mapping_can_be_looked_at(void)
{
	dma_addr_t coherent;
	dma_addr_t handle;

	open_pool();
	handle = map(0, 3, DMA_FROM_DEVICE);
	EXPECT(airlock_pool_alloc(&pool, 4096, &coherent));
	EXPECT(airlock_pool_peek(&pool, handle + 2) == 0);
	shown(handle)[2] = 7;
	EXPECT(airlock_pool_peek(&pool, handle + 2) == 7);
	EXPECT(airlock_pool_peek(&pool, handle + 3) == 0xff);
	EXPECT(airlock_pool_peek(&pool, coherent) == 0xff);
	EXPECT(airlock_pool_peek(&pool, BUS + POOL_BYTES) == 0xff);
	airlock_pool_unmap(&pool, handle, 3, 0);
	EXPECT(airlock_pool_peek(&pool, handle + 2) == 0xff);
	airlock_pool_free(&pool, coherent);
	close_pool(0);
}

/* HD-26: unlike swiotlb, no copy of what the caller's buffer held before. */
static void a_device_sees_nothing_of_what_it_is_to_fill(void)
{
	dma_addr_t handle;

	open_pool();
	handle = map(0, 3000, DMA_FROM_DEVICE);
	EXPECT(all(shown(handle), 2 * AIRLOCK_SLOT_SIZE, 0));
	memset(shown(handle), 7, 2 * AIRLOCK_SLOT_SIZE);
	airlock_pool_unmap(&pool, handle, 3000, 0);
	EXPECT(all(source(0), 3000, 7));
	EXPECT(all(source(3000), 1000, 0x5a));

	handle = map(8192, 3000, DMA_BIDIRECTIONAL); /* its twin, which the API copies in */
	EXPECT(all(shown(handle), 3000, 0x5a));
	airlock_pool_unmap(&pool, handle, 3000, 0);
	close_pool(0);
}

/* HD-10: the record says how long a mapping is; the caller may have been misled. */
static void no_more_comes_back_than_was_mapped(void)
{
	dma_addr_t handle;

	open_pool();
	handle = map(0, 100, DMA_FROM_DEVICE);
	memset(shown(handle), 7, AIRLOCK_SLOT_SIZE);
	airlock_pool_unmap(&pool, handle, 4096, 0);
	EXPECT(all(source(0), 100, 7));
	EXPECT(all(source(100), PAGE_SIZE - 100, 0x5a));
	close_pool(0);
}

/* DMA_ATTR_SKIP_CPU_SYNC: the caller syncs for himself. Its twin, the default, copies. */
static void copies_are_left_out_on_request(void)
{
	const unsigned long skip = DMA_ATTR_SKIP_CPU_SYNC;
	dma_addr_t handle;

	open_pool();
	handle = airlock_pool_map(&pool, 0, 3000, DMA_BIDIRECTIONAL, skip);
	EXPECT(all(shown(handle), 2 * AIRLOCK_SLOT_SIZE, 0));
	airlock_pool_sync_for_device(&pool, handle, 1000);
	EXPECT(all(shown(handle), 1000, 0x5a) && all(shown(handle) + 1000, 2000, 0));
	memset(shown(handle), 7, 3000);
	airlock_pool_unmap(&pool, handle, 3000, skip);
	EXPECT(all(source(0), 3000, 0x5a));
	EXPECT(shim_run_delayed_work(&pool.scrub)); /* HD-26 all the same */
	EXPECT(all(shown(handle), 2 * AIRLOCK_SLOT_SIZE, 0));

	handle = map(0, 3000, DMA_BIDIRECTIONAL);
	EXPECT(all(shown(handle), 3000, 0x5a));
	memset(shown(handle), 7, 3000);
	airlock_pool_unmap(&pool, handle, 3000, 0);
	EXPECT(all(source(0), 3000, 7));
	close_pool(0);
}

static bool traced(const char *name, dma_addr_t handle, size_t size, int direction, u32 slots)
{
	const struct shim_event *event = &shim_last_event;

	return event->name && !strcmp(event->name, name) && event->handle == handle &&
	       event->size == size && event->direction == direction && event->slots == slots;
}

/* What was refused leaves no event; sizes at the end are those of the record, not the caller's. */
static void what_happens_is_traced(void)
{
	dma_addr_t coherent;
	dma_addr_t handle;

	open_pool();
	handle = map(0, 5000, DMA_FROM_DEVICE);
	EXPECT(traced("airlock_map", handle, 5000, DMA_FROM_DEVICE, 3));
	airlock_pool_sync_for_cpu(&pool, handle + 100, 2049);
	EXPECT(traced("airlock_sync_for_cpu", handle + 100, 2049, DMA_FROM_DEVICE, 2));
	airlock_pool_sync_for_device(&pool, handle, 1);
	EXPECT(traced("airlock_sync_for_device", handle, 1, DMA_FROM_DEVICE, 1));
	airlock_pool_unmap(&pool, handle + AIRLOCK_SLOT_SIZE, 5000, 0);
	EXPECT(traced("airlock_sync_for_device", handle, 1, DMA_FROM_DEVICE, 1));
	airlock_pool_unmap(&pool, handle, 1, 0);
	EXPECT(traced("airlock_unmap", handle, 5000, DMA_FROM_DEVICE, 3));
	EXPECT(airlock_pool_alloc(&pool, 100, &coherent));
	EXPECT(traced("airlock_alloc", coherent, PAGE_SIZE, DMA_BIDIRECTIONAL, 2));
	airlock_pool_free(&pool, coherent);
	EXPECT(traced("airlock_free", coherent, PAGE_SIZE, DMA_BIDIRECTIONAL, 2));
	EXPECT(!airlock_pool_alloc(&pool, POOL_BYTES, &coherent));
	EXPECT(traced("airlock_exhausted", DMA_MAPPING_ERROR, POOL_BYTES, DMA_BIDIRECTIONAL, 256));
	close_pool(1);
}

/* HD-23: to a driver that is an error. Its twin: what a device that works filled. */
static void what_a_stopped_device_was_to_fill_comes_back_as_ones(void)
{
	dma_addr_t handle;

	open_pool();
	airlock_pool_spoil(&pool);
	handle = map(0, 100, DMA_FROM_DEVICE);
	memset(shown(handle), 0, 100);
	airlock_pool_unmap(&pool, handle, 100, 0);
	EXPECT(all(source(0), 100, 0xff));
	EXPECT(all(source(100), PAGE_SIZE - 100, 0x5a));
	handle = map(PAGE_SIZE, 100, DMA_TO_DEVICE);
	airlock_pool_unmap(&pool, handle, 100, 0);
	EXPECT(all(source(PAGE_SIZE), 100, 0x5a));

	airlock_pool_unspoil(&pool);
	handle = map(0, 100, DMA_FROM_DEVICE);
	memset(shown(handle), 7, 100);
	airlock_pool_unmap(&pool, handle, 100, 0);
	EXPECT(all(source(0), 100, 7));
	close_pool(0);
}

static void syncs_stay_inside_their_mapping(void)
{
	dma_addr_t handle;

	open_pool();
	handle = map(0, 2048, DMA_FROM_DEVICE);
	memset(shown(handle), 7, 2048);
	airlock_pool_sync_for_cpu(&pool, handle + 16, 2032);
	EXPECT(all(source(0), 16, 0x5a) && all(source(16), 2032, 7));
	airlock_pool_sync_for_cpu(&pool, handle + 16, 2033);
	airlock_pool_sync_for_device(&pool, handle + 4096, 1);
	EXPECT(all(source(2048), 2048, 0x5a));
	airlock_pool_unmap(&pool, handle, 2048, 0);
	close_pool(2);
}

/* HD-8, HD-27: what was mapped can be read again where no device can change it. */
static void the_source_of_a_mapping_is_found_again(void)
{
	phys_addr_t found = 1;
	dma_addr_t coherent;
	dma_addr_t handle;

	open_pool();
	handle = map(100, 5000, DMA_TO_DEVICE);
	EXPECT(airlock_pool_source(&pool, handle, 5000, &found) && found == 100);
	EXPECT(airlock_pool_source(&pool, handle + 4096, 904, &found) && found == 100 + 4096);
	found = 1;
	EXPECT(!airlock_pool_source(&pool, handle, 5001, &found));
	EXPECT(!airlock_pool_source(&pool, handle + 4096, 905, &found));
	EXPECT(!airlock_pool_source(&pool, BUS - 16, 16, &found));
	EXPECT(airlock_pool_alloc(&pool, 4096, &coherent) != NULL);
	EXPECT(!airlock_pool_source(&pool, coherent, 16, &found));
	airlock_pool_free(&pool, coherent);
	airlock_pool_unmap(&pool, handle, 5000, 0);
	EXPECT(!airlock_pool_source(&pool, handle, 16, &found));
	EXPECT(found == 1);
	close_pool(0);
	EXPECT(!airlock_pool_source(&pool, handle, 16, &found));
}

/* HD-27: range, liveness, kind, and the start of the extent. */
static void handles_that_are_none_are_refused(void)
{
	dma_addr_t coherent;
	dma_addr_t handle;

	open_pool();
	handle = map(0, 4096, DMA_TO_DEVICE);
	EXPECT(airlock_pool_alloc(&pool, 4096, &coherent) != NULL);
	EXPECT(all(shown(coherent), 4096, 0));
	airlock_pool_unmap(&pool, handle + 2048, 2048, 0); /* inside */
	airlock_pool_unmap(&pool, coherent, 4096, 0);
	airlock_pool_free(&pool, handle);
	airlock_pool_unmap(&pool, BUS - 1, 1, 0);
	airlock_pool_unmap(&pool, BUS + POOL_BYTES, 1, 0);
	airlock_pool_unmap(&pool, BUS, 1, 0); /* never handed out: DMB-DR3 */
	EXPECT(stats().refused == 6);
	airlock_pool_unmap(&pool, handle, 4096, 0);
	EXPECT(stats().refused == 6);
	airlock_pool_unmap(&pool, handle, 4096, 0); /* twice */
	airlock_pool_free(&pool, coherent);
	close_pool(7);
}

/* DT-12: a CPU copy does not reach what a peer device decodes, nor what is no memory at all. */
static void only_ram_is_bounced(void)
{
	const phys_addr_t peer = (SHIM_PAGES - 1) * PAGE_SIZE;
	dma_addr_t handle;

	open_pool();
	EXPECT(map(peer, 512, DMA_TO_DEVICE) == DMA_MAPPING_ERROR);
	EXPECT(map(peer, 512, DMA_FROM_DEVICE) == DMA_MAPPING_ERROR);
	EXPECT(map(SHIM_PAGES * PAGE_SIZE, 512, DMA_TO_DEVICE) == DMA_MAPPING_ERROR);
	EXPECT(map(peer + 4000, 512, DMA_TO_DEVICE) == DMA_MAPPING_ERROR);
	handle = map(peer - 512, 512, DMA_TO_DEVICE);
	EXPECT(handle != DMA_MAPPING_ERROR);
	airlock_pool_unmap(&pool, handle, 512, 0);
	close_pool(4);
}

/* HD-30, DMB-DR4, DMB-N1: larger than an eighth is refused for good, a full pool only for now. */
static void too_large_is_final_and_full_is_not(void)
{
	const size_t most = POOL_BYTES / 8;
	dma_addr_t handles[7]; /* an eighth is less by the page that is never handed out */
	unsigned int i;

	open_pool();
	EXPECT(airlock_pool_max_mapping(&pool) == most);
	EXPECT(map(0, most + 1, DMA_FROM_DEVICE) == DMA_MAPPING_ERROR);
	EXPECT(map(0, 0, DMA_FROM_DEVICE) == DMA_MAPPING_ERROR);
	for (i = 0; i < 7; i++) {
		handles[i] = map(0, most, DMA_FROM_DEVICE);
		EXPECT(handles[i] != DMA_MAPPING_ERROR);
	}
	EXPECT(map(0, most, DMA_FROM_DEVICE) == DMA_MAPPING_ERROR);
	EXPECT(stats().exhausted == 1);
	airlock_pool_unmap(&pool, handles[3], most, 0);
	EXPECT(map(0, most, DMA_FROM_DEVICE) == handles[3]);
	for (i = 0; i < 7; i++)
		airlock_pool_unmap(&pool, handles[i], most, 0);
	close_pool(2);
}

/* A closed pool maps nothing, and a second region starts from nothing. */
static void a_closed_pool_maps_nothing(void)
{
	dma_addr_t handle;

	open_pool();
	close_pool(0);
	EXPECT(map(0, 512, DMA_TO_DEVICE) == DMA_MAPPING_ERROR);
	EXPECT(airlock_pool_alloc(&pool, 4096, &handle) == NULL);
	EXPECT(airlock_pool_max_mapping(&pool) == PAGE_SIZE);
	airlock_pool_unmap(&pool, BUS + PAGE_SIZE, 512, 0);
	airlock_pool_sync_for_cpu(&pool, BUS + PAGE_SIZE, 512);
	airlock_pool_free(&pool, BUS + PAGE_SIZE);
	EXPECT(device.complaints == 3);
}

int main(void)
{
	a_device_sees_what_was_mapped_to_it_and_zeros();
	what_was_mapped_is_gone_a_moment_later();
	a_scrub_spares_what_is_mapped();
	what_is_used_again_at_once_is_clean();
	what_the_device_filled_comes_back();
	what_nobody_filled_comes_back_as_zeros();
	what_is_short_comes_back_all_the_same();
	a_byte_of_a_mapping_can_be_looked_at();
	books_are_kept_of_what_the_device_fills_only();
	a_device_sees_nothing_of_what_it_is_to_fill();
	no_more_comes_back_than_was_mapped();
	copies_are_left_out_on_request();
	what_happens_is_traced();
	what_a_stopped_device_was_to_fill_comes_back_as_ones();
	syncs_stay_inside_their_mapping();
	the_source_of_a_mapping_is_found_again();
	handles_that_are_none_are_refused();
	only_ram_is_bounced();
	too_large_is_final_and_full_is_not();
	a_closed_pool_maps_nothing();
	puts("pool_test: ok");
	return 0;
}
