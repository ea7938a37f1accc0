/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How much a disk over packed rings may have in flight, so that all of it fits the pool together.
 *
 * Over a split ring a request that finds no room waits. virtqueue_add_packed() has only EIO for
 * it, so over packed rings no mapping may ever find none (REQUIREMENTS DMB-N1, HD-30). That holds
 * by counting pages:
 *
 * - Each extent of such a pool is whole pages at a page's start: a mapping is one page, however
 *   short (airlock_pool_by_pages()), rings and what is reserved are pages anyway, and areas are
 *   whole pages. So a free slot is part of a free page, and only a pool without any free page has
 *   no room for a mapping. airlock_areas_take() finds the page wherever it is, since it looks at
 *   all areas at once before it gives up.
 * - virtio_blk maps no more than a page at once (virtio_max_dma_size()), and so a request of S
 *   segments takes S pages, one for the header, one for the status and one for the indirect table,
 *   whose S + 2 entries fit a page. With tables a request takes one entry of the ring, without them
 *   one for each mapping. virtio_ring looks for a free entry before it maps, and frees one only in
 *   the call that unmaps, so that a ring of N entries never has more than N of them mapped.
 * - What is reserved, the rings and all that they can have mapped together are no more than the
 *   pool's pages.
 *
 * A ring has S + 2 entries or more: where memory for a table is short, virtio_ring takes an entry
 * for each mapping instead, and a request that does not even fit the empty ring would wait for
 * ever.
 *
 * Arithmetic only: the unit test runs this file in user space.
 */
#ifndef AIRLOCK_BOUND_H
#define AIRLOCK_BOUND_H

#include <linux/types.h>

/*
 * The largest number of segments, no more than the device offers, at which a pool of that many
 * pages and queues has rings that are long enough. What is least in use is returned where none is:
 * there the pool is too small. tables: whether INDIRECT_DESC was negotiated.
 */
u32 airlock_bound_segments(u64 pages, u32 queues, u32 offered, bool tables);

/* The most entries that each ring may have; too few below that number of segments and 2. */
u32 airlock_bound_entries(u64 pages, u32 queues, u32 segments, bool tables);

/* Pages of the smallest pool at which airlock_bound_entries() gives enough. */
u64 airlock_bound_pages(u32 queues, u32 segments, bool tables);

#endif
