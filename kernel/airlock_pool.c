// SPDX-License-Identifier: GPL-2.0-only
/*
 * Copying and scrubbing around the bookkeeping of the slots.
 *
 * What a device may learn: the bytes of TO_DEVICE and BIDIRECTIONAL mappings, and zeros. swiotlb
 * copies the original in for FROM_DEVICE mappings too, so that a device that writes less than was
 * mapped leaves the rest of the caller's buffer as it was. That shows the device old kernel or user
 * memory, the very thing this pool is for (REQUIREMENTS DT-11, HD-26). Here what the device did not
 * write comes back as zeros. Not every driver notices: virtio_net trims a packet to the used
 * length, but virtio_blk ignores that length, so a device that completes a read without writing
 * anything makes it a successful read of zeros. A device owns what a disk holds anyway; a leak of
 * old memory would be worse. BIDIRECTIONAL mappings are copied in, as the API demands.
 *
 * Which bytes those are is known in one of two ways.
 *
 * - The slots start as zeros.
 * - For the data of a disk's request its status tells: all of it was written, or nothing counts
 *   (airlock_split.h). The used length does not tell: disks are known that count only the status,
 *   and others that count what a read that failed did not write. The slots start with what was in
 *   them, which this device has seen or written before and nobody else can. One that claims to have
 *   written what it has not can give the caller nothing else than by writing it.
 *
 * What was left in slots is zeroed a moment after they were freed, so that a device that turns
 * hostile later finds no old data, and a slot that is used again at once costs one pass over its
 * bytes and not two. The slack of a TO_DEVICE mapping's last slot is zeroed when it is taken. A
 * device may scribble on free slots; it only ever gets its own scribble back.
 *
 * What a device may change: only the caller's bytes of a live FROM_DEVICE or BIDIRECTIONAL extent.
 * Direction and length come from the private record and not from the caller, because a hostile
 * device can make a stock virtio_ring unmap the wrong buffer (HD-7).
 */
#include <linux/compiler.h>
#include <linux/device.h>
#include <linux/dma-mapping.h>
#include <linux/highmem.h>
#include <linux/jiffies.h>
#include <linux/limits.h>
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

/* After it was freed. A slot that is in use all the time is scrubbed no more often than that. */
#define SCRUB_DELAY (HZ / 10)

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
	return airlock_slots_memory(&pool->slots, slot);
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

		/* Or the compiler, which knows its bound, copies with a loop of its own. */
		OPTIMIZER_HIDE_VAR(part);
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

/* The same for bytes that the device did not write, or not in good faith. */
static void fill(u64 target, int value, size_t length)
{
	while (length) {
		size_t offset = offset_in_page(target);
		size_t part = min_t(size_t, length, PAGE_SIZE - offset);
		void *page = kmap_local_page(pfn_to_page(PHYS_PFN(target)));

		memset(page + offset, value, part);
		kunmap_local(page);
		target += part;
		length -= part;
	}
}

/* Gives the caller a part of a mapping: what the device wrote, and zeros. */
static void hand_back(const struct airlock_pool *pool, const struct airlock_extent *record,
		      size_t skip, size_t length)
{
	size_t written = record->filled > skip ? min_t(size_t, record->filled - skip, length) : 0;

	copy(slot_address(pool, record->head) + skip, record->source + skip, written, false);
	fill(record->source + skip + written, 0, length - written);
}

/* Bytes that a peer device decodes cannot be bounced by a CPU copy (REQUIREMENTS DT-12). */
static bool source_is_ram(phys_addr_t source, size_t length)
{
	unsigned long first = PHYS_PFN(source);
	unsigned long last = PHYS_PFN(source + length - 1);

	return pfn_valid(first) && (first == last || pfn_valid(last)) &&
	       !is_pci_p2pdma_page(pfn_to_page(first));
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

static void scrub_if_due(struct airlock_pool *pool, enum airlock_end end)
{
	if (end == AIRLOCK_END_SCRUB_DUE)
		schedule_delayed_work(&pool->scrub, SCRUB_DELAY);
}

/* The same for a handle that has to be an extent's start; see airlock_areas_retire(). */
static enum airlock_end retire(struct airlock_pool *pool, dma_addr_t handle,
			       enum airlock_extent_kind kind, struct airlock_extent *record)
{
	enum airlock_end end;
	u64 offset;

	if (!pool->base || !airlock_range_inside(handle, 1, pool->handle_base, pool->size))
		return AIRLOCK_END_REFUSED;
	offset = handle - pool->handle_base;
	if (!airlock_is_aligned(offset, AIRLOCK_SLOT_SIZE))
		return AIRLOCK_END_REFUSED;
	end = airlock_areas_retire(&pool->slots, offset >> AIRLOCK_SLOT_SHIFT, kind, record);
	scrub_if_due(pool, end);
	return end;
}

/* Returns the extent's first slot or -1. */
static long take(struct airlock_pool *pool, const struct airlock_extent_request *request)
{
	long head = airlock_areas_take(&pool->slots, request);

	if (head < 0) {
		airlock_areas_note_exhausted(&pool->slots);
		trace_airlock_exhausted(pool->dev, DMA_MAPPING_ERROR, request->length,
					request->direction, request->slot_count);
	}
	return head;
}

/* How much of a new mapping comes back although nobody may ever say that the device wrote it. */
static u32 filled_at_first(const struct airlock_pool *pool, size_t length, u8 direction)
{
	bool told = pool->fills_told && direction == DMA_FROM_DEVICE;

	return told && length > AIRLOCK_SHORT_BYTES ? 0 : length;
}

static void scrub_work(struct work_struct *work)
{
	struct airlock_pool *pool =
		container_of(to_delayed_work(work), struct airlock_pool, scrub);

	airlock_areas_scrub(&pool->slots);
}

void airlock_pool_scrub(struct airlock_pool *pool)
{
	if (!pool->base)
		return;
	cancel_delayed_work_sync(&pool->scrub);
	airlock_areas_scrub(&pool->slots);
}

dma_addr_t airlock_pool_map(struct airlock_pool *pool, phys_addr_t source, size_t length,
			    enum dma_data_direction direction, unsigned long attrs)
{
	struct airlock_extent_request request = {
		.kind = AIRLOCK_EXTENT_MAPPED,
		.source = source,
		.length = length,
		.filled = filled_at_first(pool, length, direction),
		.slot_count = pool->by_pages ? AIRLOCK_PAGE_SLOTS : slots_for(length),
		.direction = direction,
	};
	bool copied_in = device_reads(direction) && !(attrs & DMA_ATTR_SKIP_CPU_SYNC);
	size_t kept = copied_in ? length : 0;
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
	if (request.filled && !pool->slots.extents[head].was_zero)
		memset(slot_address(pool, head) + kept, 0,
		       request.slot_count * AIRLOCK_SLOT_SIZE - kept);
	if (copied_in)
		copy(slot_address(pool, head), source, length, true);
	trace_airlock_map(pool->dev, slot_handle(pool, head), length, direction,
			  request.slot_count);
	return slot_handle(pool, head);
}

void airlock_pool_unmap(struct airlock_pool *pool, dma_addr_t handle, size_t length,
			unsigned long attrs)
{
	struct airlock_extent record;
	enum airlock_end end = retire(pool, handle, AIRLOCK_EXTENT_MAPPED, &record);

	if (end == AIRLOCK_END_REFUSED) {
		refuse(pool, "unmapping", handle, length);
		return;
	}
	trace_airlock_unmap(pool->dev, handle, record.length, record.direction, record.slot_count);
	if (end != AIRLOCK_END_DRAINING)
		return;
	length = min_t(size_t, length, record.length);
	if (!(attrs & DMA_ATTR_SKIP_CPU_SYNC)) {
		if (READ_ONCE(pool->spoilt))
			fill(record.source, 0xff, length);
		else
			hand_back(pool, &record, 0, length);
	}
	scrub_if_due(pool, airlock_areas_release(&pool->slots, record.head));
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
		hand_back(pool, &record, skip, length);
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

/*
 * The record of the mapping that a buffer lies in, or NULL. No lock: it is its owner's until he
 * ends it, and only he comes here.
 */
static struct airlock_extent *own_mapping(struct airlock_pool *pool, dma_addr_t handle,
					  size_t length, size_t *skip)
{
	struct airlock_extent *extent;
	u64 offset = handle - pool->handle_base;

	if (!pool->base || !airlock_range_inside(handle, length, pool->handle_base, pool->size))
		return NULL;
	extent = &pool->slots.extents[offset >> AIRLOCK_SLOT_SHIFT];
	extent = &pool->slots.extents[extent->head];
	*skip = offset - ((u64)extent->head << AIRLOCK_SLOT_SHIFT);
	return extent->kind == AIRLOCK_EXTENT_MAPPED &&
			       airlock_range_within(*skip, length, extent->length) ?
		       extent :
		       NULL;
}

void airlock_pool_filled(struct airlock_pool *pool, dma_addr_t handle, size_t length)
{
	size_t skip;
	struct airlock_extent *extent = own_mapping(pool, handle, length, &skip);

	if (extent && extent->direction == DMA_FROM_DEVICE)
		extent->filled = max_t(size_t, extent->filled, skip + length);
}

u8 airlock_pool_peek(struct airlock_pool *pool, dma_addr_t handle)
{
	size_t skip;
	const struct airlock_extent *extent = own_mapping(pool, handle, 1, &skip);

	return extent ? READ_ONCE(*((u8 *)slot_address(pool, extent->head) + skip)) : U8_MAX;
}

bool airlock_pool_source(struct airlock_pool *pool, dma_addr_t handle, size_t length,
			 phys_addr_t *source)
{
	size_t skip;
	const struct airlock_extent *extent = own_mapping(pool, handle, length, &skip);

	if (!extent)
		return false;
	*source = extent->source + skip;
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

	if (retire(pool, handle, AIRLOCK_EXTENT_COHERENT, &record) == AIRLOCK_END_REFUSED) {
		refuse(pool, "free", handle, 0);
		return;
	}
	trace_airlock_free(pool->dev, handle, record.length, record.direction, record.slot_count);
	scrub_if_due(pool, airlock_areas_release(&pool->slots, record.head));
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
	INIT_DELAYED_WORK(&pool->scrub, scrub_work);
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

	err = airlock_areas_open(&pool->slots, base, slot_count,
				 airlock_areas_count(slot_count, slots_for(max_mapping),
						     slots_for(request_bytes)));
	if (err)
		return err;
	airlock_slots_take_lowest(&pool->slots, &pool->slots.areas[0], &reserved);
	pool->handle_base = handle_base;
	pool->size = size;
	airlock_pool_by_pages(pool, false);
	airlock_pool_tell_fills(pool, false);
	pool->base = base;
	return 0;
}

void airlock_pool_by_pages(struct airlock_pool *pool, bool by_pages)
{
	pool->by_pages = by_pages;
	pool->max_mapping = by_pages ? PAGE_SIZE : max_mapping_of(pool->size);
}

void airlock_pool_tell_fills(struct airlock_pool *pool, bool told)
{
	pool->fills_told = told;
}

void airlock_pool_close(struct airlock_pool *pool)
{
	struct airlock_areas_stats stats;

	if (!pool->base)
		return;
	cancel_delayed_work_sync(&pool->scrub);
	airlock_areas_stats(&pool->slots, &stats);
	if (stats.used > AIRLOCK_PAGE_SLOTS)
		dev_warn(pool->dev, "airlock: %lu slots still in use when the pool closes\n",
			 stats.used - AIRLOCK_PAGE_SLOTS);
	pool->base = NULL;
	airlock_areas_close(&pool->slots);
}
