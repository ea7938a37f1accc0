// SPDX-License-Identifier: GPL-2.0-only
/*
 * Copying, scrubbing and locking around the slot bookkeeping.
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
#include <linux/device.h>
#include <linux/dma-mapping.h>
#include <linux/highmem.h>
#include <linux/memremap.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "airlock_pool.h"
#include "core/range.h"

#define PAGE_SLOTS (PAGE_SIZE >> AIRLOCK_SLOT_SHIFT)

/*
 * A mapping is one contiguous run with interrupts off while it is copied. An eighth of the pool
 * leaves room for others beside it (REQUIREMENTS DMB-N1); 4 MiB bounds the time.
 */
#define MAX_MAPPING_SHARE 8
#define MAX_MAPPING_BYTES ((size_t)SZ_4M)

/* A private copy of what the lock guards. */
struct extent_view {
	u64 source;
	u32 length;
	u32 head;
	u8 direction;
	size_t skip; /* bytes from the extent's start to the handle */
};

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
	unsigned long flags;

	spin_lock_irqsave(&pool->lock, flags);
	pool->refused++;
	spin_unlock_irqrestore(&pool->lock, flags);
	dev_err_ratelimited(pool->dev, "airlock: %s refused: %#llx, %zu bytes\n", what, value,
			    length);
}

/*
 * Turns a handle back into its extent: range, liveness, kind and recorded length, all checked
 * (HD-27). Called with the lock held.
 */
static bool resolve(struct airlock_pool *pool, dma_addr_t handle, size_t length,
		    enum airlock_extent_kind kind, struct extent_view *view)
{
	struct airlock_extent *extent;
	u64 offset;

	if (!airlock_range_inside(handle, length, pool->handle_base, pool->size))
		return false;
	offset = handle - pool->handle_base;
	extent = airlock_slots_find(&pool->slots, offset >> AIRLOCK_SLOT_SHIFT, kind);
	if (!extent)
		return false;
	view->source = extent->source;
	view->length = extent->length;
	view->head = extent->head;
	view->direction = extent->direction;
	view->skip = offset - ((u64)extent->head << AIRLOCK_SLOT_SHIFT);
	return airlock_range_within(view->skip, length, extent->length);
}

/* Takes an extent and makes sure that it holds zeros. Returns its first slot or -1. */
static long take(struct airlock_pool *pool, const struct airlock_extent_request *request)
{
	unsigned long flags;
	bool scrubbed = true;
	long head;

	spin_lock_irqsave(&pool->lock, flags);
	if (request->kind == AIRLOCK_EXTENT_COHERENT)
		head = airlock_slots_take_highest(&pool->slots, request, PAGE_SLOTS);
	else
		head = airlock_slots_take_lowest(&pool->slots, request);
	if (head < 0)
		pool->exhausted++;
	else
		scrubbed = airlock_slots_mark_scrubbed(&pool->slots, head, request->slot_count);
	spin_unlock_irqrestore(&pool->lock, flags);
	if (!scrubbed)
		memset(slot_address(pool, head), 0, request->slot_count * AIRLOCK_SLOT_SIZE);
	return head;
}

/* Ends an extent that is draining: whatever it held is gone before its slots can be taken again. */
static void scrub_and_release(struct airlock_pool *pool, const struct extent_view *view)
{
	u32 slot_count = slots_for(view->length);
	unsigned long flags;

	memset(slot_address(pool, view->head), 0, slot_count * AIRLOCK_SLOT_SIZE);
	spin_lock_irqsave(&pool->lock, flags);
	airlock_slots_release(&pool->slots, view->head, slot_count);
	spin_unlock_irqrestore(&pool->lock, flags);
}

/* Resolves a handle that must be an extent's start, and takes the extent out of service. */
static bool retire(struct airlock_pool *pool, dma_addr_t handle, enum airlock_extent_kind kind,
		   struct extent_view *view)
{
	unsigned long flags;
	bool found;

	if (!pool->base)
		return false;
	spin_lock_irqsave(&pool->lock, flags);
	found = resolve(pool, handle, 1, kind, view) && view->skip == 0;
	if (found)
		airlock_slots_drain(&pool->slots, view->head);
	spin_unlock_irqrestore(&pool->lock, flags);
	return found;
}

dma_addr_t airlock_pool_map(struct airlock_pool *pool, phys_addr_t source, size_t length,
			    enum dma_data_direction direction, unsigned long attrs)
{
	struct airlock_extent_request request = {
		.kind = AIRLOCK_EXTENT_MAPPED,
		.source = source,
		.length = length,
		.slot_count = slots_for(length),
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
	return slot_handle(pool, head);
}

void airlock_pool_unmap(struct airlock_pool *pool, dma_addr_t handle, size_t length,
			unsigned long attrs)
{
	struct extent_view view;

	if (!retire(pool, handle, AIRLOCK_EXTENT_MAPPED, &view)) {
		refuse(pool, "unmapping", handle, length);
		return;
	}
	if (device_writes(view.direction) && !(attrs & DMA_ATTR_SKIP_CPU_SYNC))
		copy(slot_address(pool, view.head), view.source, min_t(size_t, length, view.length),
		     false);
	scrub_and_release(pool, &view);
}

static bool view_of(struct airlock_pool *pool, dma_addr_t handle, size_t length,
		    struct extent_view *view)
{
	unsigned long flags;
	bool found;

	if (!pool->base)
		return false;
	spin_lock_irqsave(&pool->lock, flags);
	found = resolve(pool, handle, length, AIRLOCK_EXTENT_MAPPED, view);
	spin_unlock_irqrestore(&pool->lock, flags);
	return found;
}

void airlock_pool_sync_for_cpu(struct airlock_pool *pool, dma_addr_t handle, size_t length)
{
	struct extent_view view;

	if (!view_of(pool, handle, length, &view))
		refuse(pool, "sync for CPU", handle, length);
	else if (device_writes(view.direction))
		copy(slot_address(pool, view.head) + view.skip, view.source + view.skip, length,
		     false);
}

void airlock_pool_sync_for_device(struct airlock_pool *pool, dma_addr_t handle, size_t length)
{
	struct extent_view view;

	if (!view_of(pool, handle, length, &view))
		refuse(pool, "sync for device", handle, length);
	else if (device_reads(view.direction))
		copy(slot_address(pool, view.head) + view.skip, view.source + view.skip, length,
		     true);
}

bool airlock_pool_source(struct airlock_pool *pool, dma_addr_t handle, size_t length,
			 phys_addr_t *source)
{
	struct extent_view view;

	if (!view_of(pool, handle, length, &view))
		return false;
	*source = view.source + view.skip;
	return true;
}

void *airlock_pool_alloc(struct airlock_pool *pool, size_t length, dma_addr_t *handle)
{
	size_t bytes = PAGE_ALIGN(length);
	struct airlock_extent_request request = {
		.kind = AIRLOCK_EXTENT_COHERENT,
		.length = bytes,
		.slot_count = slots_for(bytes),
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
	return slot_address(pool, head);
}

void airlock_pool_free(struct airlock_pool *pool, dma_addr_t handle)
{
	struct extent_view view;

	if (!retire(pool, handle, AIRLOCK_EXTENT_COHERENT, &view)) {
		refuse(pool, "free", handle, 0);
		return;
	}
	scrub_and_release(pool, &view);
}

size_t airlock_pool_max_mapping(const struct airlock_pool *pool)
{
	return pool->base ? pool->max_mapping : AIRLOCK_SLOT_SIZE;
}

static void free_bookkeeping(struct airlock_pool *pool)
{
	kvfree(pool->slots.busy);
	kvfree(pool->slots.scrubbed);
	kvfree(pool->slots.extents);
	memset(&pool->slots, 0, sizeof(pool->slots));
}

void airlock_pool_init(struct airlock_pool *pool, struct device *dev)
{
	memset(pool, 0, sizeof(*pool));
	spin_lock_init(&pool->lock);
	pool->dev = dev;
}

int airlock_pool_open(struct airlock_pool *pool, void *base, dma_addr_t handle_base, size_t size)
{
	/* Devices take ring address 0 for "not programmed", so the first page is never used. */
	struct airlock_extent_request reserved = {
		.kind = AIRLOCK_EXTENT_RESERVED,
		.length = PAGE_SIZE,
		.slot_count = PAGE_SLOTS,
	};
	struct airlock_slots *slots = &pool->slots;

	slots->count = size >> AIRLOCK_SLOT_SHIFT;
	slots->busy = kvcalloc(BITS_TO_LONGS(slots->count), sizeof(long), GFP_KERNEL);
	slots->scrubbed = kvcalloc(BITS_TO_LONGS(slots->count), sizeof(long), GFP_KERNEL);
	slots->extents = kvcalloc(slots->count, sizeof(*slots->extents), GFP_KERNEL);
	if (!slots->busy || !slots->scrubbed || !slots->extents) {
		free_bookkeeping(pool);
		return -ENOMEM;
	}
	pool->handle_base = handle_base;
	pool->size = size;
	pool->max_mapping = min_t(size_t, round_down(size / MAX_MAPPING_SHARE, PAGE_SIZE),
				  MAX_MAPPING_BYTES);
	pool->exhausted = 0;
	pool->refused = 0;
	airlock_slots_take_lowest(slots, &reserved);
	pool->base = base;
	return 0;
}

void airlock_pool_close(struct airlock_pool *pool)
{
	if (!pool->base)
		return;
	if (pool->slots.used > PAGE_SLOTS)
		dev_warn(pool->dev, "airlock: %lu slots still in use when the pool closes\n",
			 pool->slots.used - PAGE_SLOTS);
	pool->base = NULL;
	free_bookkeeping(pool);
}
