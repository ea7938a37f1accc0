/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The shadow of a split virtqueue: virtio_ring gets a ring in private memory, the device one in the
 * region, and airlock_split.c copies between the two and checks what the device writes.
 *
 * The device is always asked for interrupts, whatever virtio_ring writes to its own ring, because
 * the interrupt does the copying: a driver that polls with callbacks off sees what was copied. With
 * EVENT_IDX, which is between this and the device, it is asked for the next one once its driver has
 * dealt with the last: what a busy CPU has not come to yet brings no more of them.
 */
#ifndef AIRLOCK_SHADOW_H
#define AIRLOCK_SHADOW_H

#include <linux/irqreturn.h>
#include <linux/types.h>

#include "airlock_pool.h"

struct airlock_device;
struct airlock_shadow;
struct virtio_device;
struct virtqueue;
struct virtqueue_info;

/* What the device is told: handles of the ring's three parts in the region. */
struct airlock_shadow_handles {
	dma_addr_t desc;
	dma_addr_t avail;
	dma_addr_t used;
};

/* Size in entries, a power of two. May sleep. Returns NULL without memory, or without region. */
struct airlock_shadow *airlock_shadow_create(struct airlock_device *adev, u16 size);

/* The queue over the shadow's private ring, or NULL. At most one; it must go before the shadow. */
struct virtqueue *airlock_shadow_new_vq(struct airlock_shadow *shadow, u16 index,
					const struct virtqueue_info *info,
					bool (*notify)(struct virtqueue *vq));

void airlock_shadow_handles(const struct airlock_shadow *shadow,
			    struct airlock_shadow_handles *handles);

/*
 * Shows the device what the queue has made available; *notify says whether to tell it. Returns
 * false if the queue is broken or stopped. Any context.
 */
bool airlock_shadow_publish(struct airlock_shadow *shadow, bool *notify);

/* The queue's interrupt. A device that lies breaks the queue (HD-1 to HD-4), here and for good. */
irqreturn_t airlock_shadow_interrupt(struct airlock_shadow *shadow, int irq);

/* For a reset: when this returns, neither ring is looked at again. Any context. */
void airlock_shadow_stop(struct airlock_shadow *shadow);

/* The queue is gone, and no interrupt of it can come. NULL is harmless. */
void airlock_shadow_destroy(struct airlock_shadow *shadow);

#endif
