// SPDX-License-Identifier: GPL-2.0-only
/* Pages, requests and rings: see airlock_bound.h. */
#include <linux/kernel.h>
#include <linux/limits.h>
#include <linux/math64.h>
#include <linux/mm.h>

#include "airlock_bound.h"

/* An entry of a packed ring, and of an indirect table. */
#define ENTRY_BYTES 16
/* A request's header and status. */
#define EXTRA_BUFFERS 2
/* Never handed out by the pool. */
#define RESERVED_PAGES 1
/* Of each queue: both event structures, and the end of the ring's last page. */
#define QUEUE_PAGES 3
/* Requests of less than 32 KiB (of 4 KiB pages) are too slow to be of use to anybody. */
#define SEGMENTS_LEAST 8U
#define SEGMENTS_MOST ((u32)(PAGE_SIZE / ENTRY_BYTES) - EXTRA_BUFFERS)

/* In the ring and behind it. */
static u64 entry_bytes(u32 segments, bool tables)
{
	u64 pages = tables ? (u64)segments + EXTRA_BUFFERS + 1 : 1;

	return pages * PAGE_SIZE + ENTRY_BYTES;
}

u32 airlock_bound_entries(u64 pages, u32 queues, u32 segments, bool tables)
{
	u64 share = pages <= RESERVED_PAGES ? 0 : div64_u64(pages - RESERVED_PAGES, queues);

	if (share <= QUEUE_PAGES)
		return 0;
	return min_t(u64, div64_u64((share - QUEUE_PAGES) * PAGE_SIZE,
				    entry_bytes(segments, tables)), U32_MAX);
}

u32 airlock_bound_segments(u64 pages, u32 queues, u32 offered, bool tables)
{
	u32 segments = clamp_t(u32, offered, 1, SEGMENTS_MOST);
	u32 least = min_t(u32, segments, SEGMENTS_LEAST);

	while (segments > least &&
	       airlock_bound_entries(pages, queues, segments, tables) < segments + EXTRA_BUFFERS)
		segments--;
	return segments;
}

u64 airlock_bound_pages(u32 queues, u32 segments, bool tables)
{
	u64 bytes = ((u64)segments + EXTRA_BUFFERS) * entry_bytes(segments, tables);

	u64 share = QUEUE_PAGES + div64_u64(bytes + PAGE_SIZE - 1, PAGE_SIZE);

	return RESERVED_PAGES + queues * share;
}
