// SPDX-License-Identifier: GPL-2.0-only
/*
 * Copying and scrubbing around the bookkeeping of the slots.
 *
 * What a device may learn: the bytes of TO_DEVICE and BIDIRECTIONAL mappings, and zeros. swiotlb
 * copies the original in for FROM_DEVICE mappings too, so that a device that writes less than was
 * mapped leaves the rest of the caller's buffer as it was. That shows the device old kernel or user
 * memory, the very thing this pool is for (REQUIREMENTS DT-11, HD-26). So a FROM_DEVICE extent
 * starts as zeros instead, and the bytes which the device did not write come back as zeros. Not
 * every driver notices: virtio_net trims a packet to the used length, but virtio_blk ignores that
 * length, and zero is its status for success, so a device that completes a read without writing
 * anything makes it a successful read of zeros. A device owns what a disk holds anyway; a leak of
 * old memory would be worse. BIDIRECTIONAL mappings are copied in, as the API demands.
 *
 * Slots are zeroed when they are freed (the first time, when they are taken), so zeros cost nothing
 * at map time, the slack of the last slot is zero too, and a device that turns hostile later finds
 * no old data. A device may scribble on free slots; it only ever gets its own scribble back.
 *
 * What a device may change: only the caller's bytes of a live FROM_DEVICE or BIDIRECTIONAL extent.
 * Direction and length come from the private record and not from the caller, because a hostile
 * device can make a stock virtio_ring unmap the wrong buffer (HD-7).
 */
#include <linux/compiler.h>
#include <linux/device.h>
#include <linux/dma-mapping.h>
#include <linux/highmem.h>
#include <linux/memremap.h>
#include <linux/mm.h>
#include <linux/string.h>

#include "airlock_pool.h"
#include "airlock_trace.h"
#include "core/range.h"

/*
 * The largest mapping. It bounds a segment and not a request: virtio_blk (6.1, 6.12 and 7.2 alike)
 * asks virtio_max_dma_size(), which asks the DMA operations or, from 6.18 on, the virtio map
 * operations, and makes the smaller of the answer and the device's size_max the queue's
 * max_segment_size. Bytes that are contiguous beyond it become several segments of the same
 * request, up to the device's seg_max, and scattered pages are segments of their own anyway. So a
 * request of 1 MiB passes whole from any pool that is taken for a disk: as one mapping from 8 MiB
 * on, else as several. How large a request may be is for the block layer's max_sectors (1280 KiB,
 * in 7.2 more) and for seg_max; see airlock_blk.c.
 *
 * A mapping is one contiguous run, and callers often have interrupts off while it is copied. An
 * eighth of the pool leaves room for others beside it (REQUIREMENTS DMB-N1); 4 MiB bounds the time.
 * Less than a page is no limit that the block layer takes; by pages, a page is all that is taken.
 */
#define MAX_MAPPING_SHARE 8
#define MAX_MAPPING_BYTES ((size_t)SZ_4M)

static size_t max_mapping_of(size_t pool_bytes)
{
	size_t share = round_down(pool_bytes / MAX_MAPPING_SHARE, PAGE_SIZE);

	return clamp_t(size_t, share, PAGE_SIZE, MAX_MAPPING_BYTES);
}

static u32 slots_for(size_t length)
{
	return DIV_ROUND_UP(length, AIRLOCK_SLOT_SIZE);
}

static void *slot_address(const struct airlock_pool *pool, unsigned long slot)
{
	return pool->base + (slot << AIRLOCK_SLOT_SHIFT);
}

static dma_addr_t slot_handle(const struct airlock_pool *pool, unsigned long slot)
{
	return pool->handle_base + ((dma_addr_t)slot << AIRLOCK_SLOT_SHIFT);
}

static bool device_writes(u8 direction)
{
	return direction == DMA_FROM_DEVICE || direction == DMA_BIDIRECTIONAL;
}

static bool device_reads(u8 direction)
{
	return direction == DMA_TO_DEVICE || direction == DMA_BIDIRECTIONAL;
}

/* The caller's bytes may be any RAM, highmem included, and are contiguous only physically. */
static void copy(void *pool_bytes, u64 source, size_t length, bool into_pool)
{
	while (length) {
		size_t offset = offset_in_page(source);
		size_t part = min_t(size_t, length, PAGE_SIZE - offset);
		void *page = kmap_local_page(pfn_to_page(PHYS_PFN(source)));

		if (into_pool)
			memcpy(pool_bytes, page + offset, part);
		else
			memcpy(page + offset, pool_bytes, part);
		kunmap_local(page);
		pool_bytes += part;
		source += part;
		length -= part;
	}
}

/* Bytes that a peer device decodes cannot be bounced by a CPU copy (REQUIREMENTS DT-12). */
static bool source_is_ram(phys_addr_t source, size_t length)
{
	unsigned long first = PHYS_PFN(source);
	unsigned long last = PHYS_PFN(source + length - 1);

	return pfn_valid(first) && pfn_valid(last) && !is_pci_p2pdma_page(pfn_to_page(first));
}

static void refuse(struct airlock_pool *pool, const char *what, u64 value, size_t length)
{
	if (pool->base)
		airlock_areas_note_refused(&pool->slots);
	dev_err_ratelimited(pool->dev, "airlock: %s refused: %#llx, %zu bytes\n", what, value,
			    length);
}

/*
 * Turns a handle back into a copy of its extent's record: range, liveness, kind and recorded
 * length, all checked (HD-27). *skip is where in the extent the handle points, in bytes.
 */
static bool resolve(struct airlock_pool *pool, dma_addr_t handle, size_t length,
		    struct airlock_extent *record, size_t *skip)
{
	u64 offset;

	if (!pool->base || !airlock_range_inside(handle, length, pool->handle_base, pool->size))
		return false;
	offset = handle - pool->handle_base;
	if (!airlock_areas_find(&pool->slots, offset >> AIRLOCK_SLOT_SHIFT, AIRLOCK_EXTENT_MAPPED,
				record))
		return false;
	*skip = offset - ((u64)record->head << AIRLOCK_SLOT_SHIFT);
	return airlock_range_within(*skip, length, record->length);
}

/* The same for a handle that has to be an extent's start; takes the extent out of service. */
static bool retire(struct airlock_pool *pool, dma_addr_t handle, enum airlock_extent_kind kind,
		   struct airlock_extent *record)
{
	u64 offset;

	if (!pool->base || !airlock_range_inside(handle, 1, pool->handle_base, pool->size))
		return false;
	offset = handle - pool->handle_base;
	return airlock_is_aligned(offset, AIRLOCK_SLOT_SIZE) &&
	       airlock_areas_retire(&pool->slots, offset >> AIRLOCK_SLOT_SHIFT, kind, record);
}

/* Takes an extent and makes sure that it holds zeros. Returns its first slot or -1. */
static long take(struct airlock_pool *pool, const struct airlock_extent_request *request)
{
	bool scrubbed;
	long head = airlock_areas_take(&pool->slots, request, &scrubbed);

	if (head < 0) {
		airlock_areas_note_exhausted(&pool->slots);
		trace_airlock_exhausted(pool->dev, DMA_MAPPING_ERROR, request->length,
					request->direction, request->slot_count);
	} else if (!scrubbed) {
		memset(slot_address(pool, head), 0, request->slot_count * AIRLOCK_SLOT_SIZE);
	}
	return head;
}

/* Ends an extent that is draining: whatever it held is gone before its slots can be taken again. */
static void scrub_and_release(struct airlock_pool *pool, const struct airlock_extent *record)
{
	memset(slot_address(pool, record->head), 0, record->slot_count * AIRLOCK_SLOT_SIZE);
	airlock_areas_release(&pool->slots, record->head);
}

dma_addr_t airlock_pool_map(struct airlock_pool *pool, phys_addr_t source, size_t length,
			    enum dma_data_direction direction, unsigned long attrs)
{
	struct airlock_extent_request request = {
		.kind = AIRLOCK_EXTENT_MAPPED,
		.source = source,
		.length = length,
		.slot_count = pool->by_pages ? AIRLOCK_PAGE_SLOTS : slots_for(length),
		.direction = direction,
	};
	long head;

	if (!pool->base)
		return DMA_MAPPING_ERROR;
	if (length == 0 || length > pool->max_mapping || !source_is_ram(source, length)) {
		refuse(pool, "mapping", source, length);
		return DMA_MAPPING_ERROR;
	}
	head = take(pool, &request);
	if (head < 0)
		return DMA_MAPPING_ERROR;
	if (device_reads(direction) && !(attrs & DMA_ATTR_SKIP_CPU_SYNC))
		copy(slot_address(pool, head), source, length, true);
	trace_airlock_map(pool->dev, slot_handle(pool, head), length, direction,
			  request.slot_count);
	return slot_handle(pool, head);
}

void airlock_pool_unmap(struct airlock_pool *pool, dma_addr_t handle, size_t length,
			unsigned long attrs)
{
	struct airlock_extent record;

	if (!retire(pool, handle, AIRLOCK_EXTENT_MAPPED, &record)) {
		refuse(pool, "unmapping", handle, length);
		return;
	}
	trace_airlock_unmap(pool->dev, handle, record.length, record.direction, record.slot_count);
	if (device_writes(record.direction) && READ_ONCE(pool->spoilt))
		memset(slot_address(pool, record.head), 0xff, record.length);
	if (device_writes(record.direction) && !(attrs & DMA_ATTR_SKIP_CPU_SYNC))
		copy(slot_address(pool, record.head), record.source,
		     min_t(size_t, length, record.length), false);
	scrub_and_release(pool, &record);
}

void airlock_pool_sync_for_cpu(struct airlock_pool *pool, dma_addr_t handle, size_t length)
{
	struct airlock_extent record;
	size_t skip;

	if (!resolve(pool, handle, length, &record, &skip)) {
		refuse(pool, "sync for CPU", handle, length);
		return;
	}
	trace_airlock_sync_for_cpu(pool->dev, handle, length, record.direction, slots_for(length));
	if (device_writes(record.direction))
		copy(slot_address(pool, record.head) + skip, record.source + skip, length, false);
}

void airlock_pool_sync_for_device(struct airlock_pool *pool, dma_addr_t handle, size_t length)
{
	struct airlock_extent record;
	size_t skip;

	if (!resolve(pool, handle, length, &record, &skip)) {
		refuse(pool, "sync for device", handle, length);
		return;
	}
	trace_airlock_sync_for_device(pool->dev, handle, length, record.direction,
				      slots_for(length));
	if (device_reads(record.direction))
		copy(slot_address(pool, record.head) + skip, record.source + skip, length, true);
}

bool airlock_pool_source(struct airlock_pool *pool, dma_addr_t handle, size_t length,
			 phys_addr_t *source)
{
	struct airlock_extent record;
	size_t skip;

	if (!resolve(pool, handle, length, &record, &skip))
		return false;
	*source = record.source + skip;
	return true;
}

void *airlock_pool_alloc(struct airlock_pool *pool, size_t length, dma_addr_t *handle)
{
	size_t bytes = PAGE_ALIGN(length);
	struct airlock_extent_request request = {
		.kind = AIRLOCK_EXTENT_COHERENT,
		.length = bytes,
		.slot_count = slots_for(bytes),
		.direction = DMA_BIDIRECTIONAL,
	};
	long head;

	if (!pool->base || length == 0 || bytes < length || bytes > pool->size)
		return NULL;
	head = take(pool, &request);
	if (head < 0)
		return NULL;
	/* Unlike a mapping, this is read back as trusted zeros before the device owns it. */
	memset(slot_address(pool, head), 0, bytes);
	*handle = slot_handle(pool, head);
	trace_airlock_alloc(pool->dev, *handle, bytes, DMA_BIDIRECTIONAL, request.slot_count);
	return slot_address(pool, head);
}

void airlock_pool_free(struct airlock_pool *pool, dma_addr_t handle)
{
	struct airlock_extent record;

	if (!retire(pool, handle, AIRLOCK_EXTENT_COHERENT, &record)) {
		refuse(pool, "free", handle, 0);
		return;
	}
	trace_airlock_free(pool->dev, handle, record.length, record.direction, record.slot_count);
	scrub_and_release(pool, &record);
}

void airlock_pool_spoil(struct airlock_pool *pool)
{
	WRITE_ONCE(pool->spoilt, true);
}

void airlock_pool_unspoil(struct airlock_pool *pool)
{
	WRITE_ONCE(pool->spoilt, false);
}

size_t airlock_pool_max_mapping(const struct airlock_pool *pool)
{
	return pool->base ? pool->max_mapping : PAGE_SIZE;
}

void airlock_pool_init(struct airlock_pool *pool, struct device *dev)
{
	memset(pool, 0, sizeof(*pool));
	pool->dev = dev;
}

int airlock_pool_open(struct airlock_pool *pool, void *base, dma_addr_t handle_base, size_t size,
		      size_t request_bytes)
{
	/* Devices take ring address 0 for "not programmed", so the first page is never used. */
	const struct airlock_extent_request reserved = {
		.kind = AIRLOCK_EXTENT_RESERVED,
		.length = PAGE_SIZE,
		.slot_count = AIRLOCK_PAGE_SLOTS,
	};
	size_t max_mapping = max_mapping_of(size);
	unsigned long slot_count = size >> AIRLOCK_SLOT_SHIFT;
	int err;

	err = airlock_areas_open(&pool->slots, slot_count,
				 airlock_areas_count(slot_count, slots_for(max_mapping),
						     slots_for(request_bytes)));
	if (err)
		return err;
	airlock_slots_take_lowest(&pool->slots, &pool->slots.areas[0], &reserved);
	pool->handle_base = handle_base;
	pool->size = size;
	airlock_pool_by_pages(pool, false);
	pool->base = base;
	return 0;
}

void airlock_pool_by_pages(struct airlock_pool *pool, bool by_pages)
{
	pool->by_pages = by_pages;
	pool->max_mapping = by_pages ? PAGE_SIZE : max_mapping_of(pool->size);
}

void airlock_pool_close(struct airlock_pool *pool)
{
	struct airlock_areas_stats stats;

	if (!pool->base)
		return;
	airlock_areas_stats(&pool->slots, &stats);
	if (stats.used > AIRLOCK_PAGE_SLOTS)
		dev_warn(pool->dev, "airlock: %lu slots still in use when the pool closes\n",
			 stats.used - AIRLOCK_PAGE_SLOTS);
	pool->base = NULL;
	airlock_areas_close(&pool->slots);
}
