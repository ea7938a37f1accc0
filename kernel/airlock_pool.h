/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The driver's allocator over a bounce region, with the meaning of the DMA API: map, sync, unmap,
 * coherent memory. Every byte that a device sees through it was put there on purpose, and is gone
 * a moment after the mapping is.
 *
 * A handle is what the device calls an address: a bus address inside the region, or an offset in
 * it. All functions may be called in any context, interrupts included, and lock for themselves.
 */
#ifndef AIRLOCK_POOL_H
#define AIRLOCK_POOL_H

#include <linux/dma-direction.h>
#include <linux/types.h>
#include <linux/workqueue.h>

#include "airlock_areas.h"

struct airlock_pool {
	void *base; /* the region as this kernel sees it; NULL while closed */
	dma_addr_t handle_base; /* the region's first byte as the device sees it */
	size_t size; /* bytes, whole pages */
	size_t max_mapping; /* bytes */
	bool by_pages; /* each mapping takes a page */
	bool fills_told; /* by airlock_pool_filled() */
	struct device *dev;
	bool spoilt; /* what the device was to fill comes back as ones */
	struct airlock_slots slots; /* with all locks and counters; airlock_areas.h */
	struct delayed_work scrub; /* of the dirty slots; queued while there are any */
};

/* Makes a closed pool, whose every mapping fails. dev is for messages and trace events. */
void airlock_pool_init(struct airlock_pool *pool, struct device *dev);

/*
 * The region must stay mapped until airlock_pool_close(). request_bytes is what has to fit beside
 * each other while nothing else is mapped: all coherent memory and the largest request, whatever
 * the lengths of its mappings. It decides how many CPUs get an area of their own. Errors: -ENOMEM.
 */
int airlock_pool_open(struct airlock_pool *pool, void *base, dma_addr_t handle_base, size_t size,
		      size_t request_bytes);

/*
 * From now on a mapping is a page at most and takes one, however short it is: so the free space is
 * pages, and never in pieces that are too short (airlock_bound.h). Or it is as long as it needs to
 * be, which is how a pool is opened. Nothing may be mapped.
 */
void airlock_pool_by_pages(struct airlock_pool *pool, bool by_pages);

/*
 * Whether the pool is told by airlock_pool_filled() of each buffer that the device has written, as
 * it is by the split rings of a disk. Then what is long need not be zeroed first. Not told is how a
 * pool is opened. Nothing may be mapped.
 */
void airlock_pool_tell_fills(struct airlock_pool *pool, bool told);

/* Scrubs what is dirty, now. May sleep. Harmless on a closed pool. */
void airlock_pool_scrub(struct airlock_pool *pool);

/*
 * Complains about extents that are still taken, and leaves what is dirty as it is. The pool must be
 * idle. May sleep. Harmless on a closed one.
 */
void airlock_pool_close(struct airlock_pool *pool);

/* Returns a handle or DMA_MAPPING_ERROR. */
dma_addr_t airlock_pool_map(struct airlock_pool *pool, phys_addr_t source, size_t length,
			    enum dma_data_direction direction, unsigned long attrs);
void airlock_pool_unmap(struct airlock_pool *pool, dma_addr_t handle, size_t length,
			unsigned long attrs);
void airlock_pool_sync_for_cpu(struct airlock_pool *pool, dma_addr_t handle, size_t length);
void airlock_pool_sync_for_device(struct airlock_pool *pool, dma_addr_t handle, size_t length);

/*
 * For the owner of a mapping's handle, while he has it: the device has written that buffer, or says
 * so. Of what is no mapping of FROM_DEVICE no books are kept.
 */
void airlock_pool_filled(struct airlock_pool *pool, dma_addr_t handle, size_t length);

/*
 * For a device that stopped: whatever it was to fill comes back as ones, because zero is success to
 * more than one driver (HD-23). Once it was reset, what it fills is what comes back again.
 */
void airlock_pool_spoil(struct airlock_pool *pool);
void airlock_pool_unspoil(struct airlock_pool *pool);

/* Zeroed, page aligned. Returns NULL if the pool is closed or has no run of that length. */
void *airlock_pool_alloc(struct airlock_pool *pool, size_t length, dma_addr_t *handle);
void airlock_pool_free(struct airlock_pool *pool, dma_addr_t handle);

/*
 * For the owner too: where its bytes came from, his own memory, which no device can change.
 * Returns false if the handle and length are not those of, or inside of, a mapping.
 */
bool airlock_pool_source(struct airlock_pool *pool, dma_addr_t handle, size_t length,
			 phys_addr_t *source);

/*
 * For the owner too: a byte of his mapping as the device left it, read once; all ones if it is not
 * inside of one.
 */
u8 airlock_pool_peek(struct airlock_pool *pool, dma_addr_t handle);

/* Bytes; the largest single mapping that airlock_pool_map() takes. */
size_t airlock_pool_max_mapping(const struct airlock_pool *pool);

#endif
