// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory, locking and interrupts around the two rings of a split virtqueue.
 *
 * The private ring never asks for silence: its used flags stay 0, so virtio_ring calls notify for
 * everything that it makes available, and there the new entries are published. That is also why
 * virtio_ring is not told of EVENT_IDX (airlock_features.c): with it, it would stay silent unless
 * the private ring held an event index that is kept right against every race between its readers
 * and the publishing; without it there is nothing to keep right.
 *
 * One spinlock a queue orders publishing and collecting. It is taken inside of drivers' locks, when
 * they notify, and around the pool's; never while a driver is called.
 */
#include <linux/io.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/virtio_ring.h>

#include "airlock.h"
#include "airlock_shadow.h"
#include "airlock_split.h"

#define RING_ALIGN SMP_CACHE_BYTES

struct airlock_shadow {
	struct virtio_device *vdev;
	struct airlock_pool *pool;
	struct virtqueue *vq;
	dma_addr_t handle; /* of the ring in the region */
	spinlock_t lock; /* guards everything below */
	bool stopped; /* broken, or before a reset */
	struct airlock_split split;
};

/* virtio_ring builds tables in lowmem, and leaves them alone until they come back. */
static const struct vring_desc *find_table(void *context, u64 address, u32 bytes)
{
	phys_addr_t source;

	return airlock_pool_source(context, address, bytes, &source) ? phys_to_virt(source) : NULL;
}

static u8 peek(void *context, u64 address)
{
	return airlock_pool_peek(context, address);
}

static void filled(void *context, u64 address, u32 length)
{
	airlock_pool_filled(context, address, length);
}

struct airlock_shadow *airlock_shadow_create(struct airlock_device *adev, u16 size)
{
	const size_t bytes = PAGE_ALIGN(vring_size(size, RING_ALIGN));
	struct airlock_pool *pool = &adev->pool;
	struct airlock_shadow *shadow = kzalloc(sizeof(*shadow), GFP_KERNEL);
	struct airlock_split *split;
	void *shown;
	void *own;

	if (!shadow)
		return NULL;
	split = &shadow->split;
	own = kvzalloc(bytes, GFP_KERNEL);
	split->chains = kvcalloc(size, sizeof(*split->chains), GFP_KERNEL);
	shown = airlock_pool_alloc(pool, bytes, &shadow->handle);
	if (!own || !split->chains || !shown) {
		if (shown)
			airlock_pool_free(pool, shadow->handle);
		kvfree(split->chains);
		kvfree(own);
		kfree(shadow);
		return NULL;
	}
	vring_init(&split->own, size, own, RING_ALIGN);
	vring_init(&split->shown, size, shown, RING_ALIGN);
	split->find_table = find_table;
	if (pool->fills_told) {
		split->peek = peek;
		split->filled = filled;
	}
	split->context = pool;
	split->weak_barriers = !virtio_has_feature(&adev->vdev, VIRTIO_F_ORDER_PLATFORM);
	split->event_idx = adev->event_idx;
	shadow->vdev = &adev->vdev;
	shadow->pool = pool;
	spin_lock_init(&shadow->lock);
	return shadow;
}

struct virtqueue *airlock_shadow_new_vq(struct airlock_shadow *shadow, u16 index,
					const struct virtqueue_info *info,
					bool (*notify)(struct virtqueue *vq))
{
	const struct vring *own = &shadow->split.own;

	shadow->vq = vring_new_virtqueue(index, own->num, RING_ALIGN, shadow->vdev, true,
					 info->ctx, own->desc, notify, info->callback, info->name);
	return shadow->vq;
}

void airlock_shadow_handles(const struct airlock_shadow *shadow,
			    struct airlock_shadow_handles *handles)
{
	const struct vring *shown = &shadow->split.shown;

	handles->desc = shadow->handle;
	handles->avail = shadow->handle + ((void *)shown->avail - (void *)shown->desc);
	handles->used = shadow->handle + ((void *)shown->used - (void *)shown->desc);
}

/* Once a queue: it is broken, and until a reset nobody looks at its rings again (HD-23). */
static void break_queue(struct airlock_shadow *shadow, const char *why)
{
	__virtqueue_break(shadow->vq);
	dev_err_ratelimited(&shadow->vdev->dev, "airlock: queue %u (%s) is broken: %s\n",
			    shadow->vq->index, shadow->vq->name, why);
	airlock_watch_now(to_airlock(shadow->vdev));
}

static const char *lie(enum airlock_verdict verdict)
{
	switch (verdict) {
	case AIRLOCK_BAD_INDEX:
		return "the device used an id beyond the queue (HD-1)";
	case AIRLOCK_NOT_OUTSTANDING:
		return "the device used an id that is not in flight (HD-2)";
	case AIRLOCK_BAD_LENGTH:
		return "the device claims to have written more than it may (HD-3)";
	case AIRLOCK_BAD_INDEX_JUMP:
		return "the device's used index jumped (HD-4)";
	default:
		return "the device lies";
	}
}

bool airlock_shadow_publish(struct airlock_shadow *shadow, bool *notify)
{
	bool published = false;
	bool sane = true;
	unsigned long flags;

	*notify = false;
	spin_lock_irqsave(&shadow->lock, flags);
	if (!shadow->stopped) {
		sane = airlock_split_publish(&shadow->split, notify);
		shadow->stopped = !sane;
		published = sane;
	}
	spin_unlock_irqrestore(&shadow->lock, flags);
	if (!sane)
		break_queue(shadow, "the kernel's own ring makes no sense");
	return published;
}

/* Returns how many buffers came back, and breaks the queue at the first lie. */
static unsigned int collect(struct airlock_shadow *shadow, int irq)
{
	enum airlock_verdict verdict = AIRLOCK_OK;
	unsigned int count = 0;
	unsigned long flags;

	spin_lock_irqsave(&shadow->lock, flags);
	if (!shadow->stopped) {
		verdict = airlock_split_collect(&shadow->split, &count);
		shadow->stopped = verdict != AIRLOCK_OK;
	}
	spin_unlock_irqrestore(&shadow->lock, flags);
	/* What came before a lie was true: whoever waits for it need not wait in vain. */
	if (count)
		vring_interrupt(irq, shadow->vq);
	if (verdict != AIRLOCK_OK)
		break_queue(shadow, lie(verdict));
	return count;
}

/* Asks for the next interrupt. Returns true if it has been earned meanwhile. */
static bool rearm(struct airlock_shadow *shadow)
{
	unsigned long flags;
	bool more;

	spin_lock_irqsave(&shadow->lock, flags);
	more = !shadow->stopped && airlock_split_rearm(&shadow->split);
	spin_unlock_irqrestore(&shadow->lock, flags);
	return more;
}

/*
 * Round after round, as long as each has something, as the stock drivers' callbacks do. A device
 * that only pretends to have used more gets no second one.
 */
irqreturn_t airlock_shadow_interrupt(struct airlock_shadow *shadow, int irq)
{
	irqreturn_t result = collect(shadow, irq) ? IRQ_HANDLED : IRQ_NONE;

	while (rearm(shadow) && collect(shadow, irq))
		result = IRQ_HANDLED;
	return result;
}

void airlock_shadow_stop(struct airlock_shadow *shadow)
{
	unsigned long flags;

	spin_lock_irqsave(&shadow->lock, flags);
	shadow->stopped = true;
	spin_unlock_irqrestore(&shadow->lock, flags);
}

void airlock_shadow_destroy(struct airlock_shadow *shadow)
{
	if (!shadow)
		return;
	airlock_pool_free(shadow->pool, shadow->handle);
	kvfree(shadow->split.chains);
	kvfree(shadow->split.own.desc);
	kfree(shadow);
}
