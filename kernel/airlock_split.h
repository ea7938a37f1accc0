/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A split ring in two copies (VIRTIO 1.3, 2.7). The kernel's virtio_ring works on its own one, in
 * memory that no device can see; the device sees the shown one, in the region. Copying between the
 * two is where the device is checked: nothing of what it writes reaches virtio_ring before it was
 * read once and compared with private records, and the descriptor table is never read back at all
 * (HD-6, HD-7).
 *
 * No locking, no allocation and no interrupts here: airlock_shadow.c adds them, and the unit test
 * runs this file in user space. Calls for one ring must not overlap.
 */
#ifndef AIRLOCK_SPLIT_H
#define AIRLOCK_SPLIT_H

#include <linux/types.h>
#include <linux/virtio_ring.h>

#include "core/used.h"

/* What the device was given under one head. */
struct airlock_split_chain {
	const struct vring_desc *table; /* private, behind the indirect descriptor; or NULL */
	u64 last; /* address of the last byte that it may write */
	u32 writable; /* bytes that it may write, indirect ones included */
	bool outstanding;
};

struct airlock_split {
	struct vring own; /* virtio_ring's, private */
	struct vring shown; /* the device's, in the region, of the same size */
	struct airlock_split_chain *chains; /* one a head */
	/*
	 * The indirect table behind a descriptor of the own ring, as virtio_ring filled it and not
	 * as the region holds it (HD-8), or NULL.
	 */
	const struct vring_desc *(*find_table)(void *context, u64 address, u32 bytes);
	/*
	 * Of a disk, whose requests end with a status (VIRTIO 1.3, 5.2.6), both or none: a byte in
	 * the region; and for each buffer that it may write, if that status is success: it did.
	 */
	u8 (*peek)(void *context, u64 address);
	void (*filled)(void *context, u64 address, u32 length);
	void *context;
	bool weak_barriers; /* as virtio_ring means it: the device is software */
	bool event_idx; /* negotiated with the device; virtio_ring's own ring has flags */

	/* Ring indices, modulo 2^16. */
	u16 published; /* available entries that the device has seen */
	u16 returned; /* used entries that virtio_ring has seen */
	u16 outstanding; /* published and not returned */
};

/*
 * Shows the device what virtio_ring has made available since the last time. *notify says whether
 * the device has to be told. Returns false if the own ring makes no sense, which is a bug of this
 * kernel: what was shown by then stays unpublished, and the queue must not be used again.
 */
bool airlock_split_publish(struct airlock_split *split, bool *notify);

/*
 * Hands in to virtio_ring what the device has used since the last time: *count elements, each of
 * them checked (HD-1 to HD-4). Anything but AIRLOCK_OK is the first lie: what came before it was
 * handed in, and the queue must not be used again.
 */
enum airlock_verdict airlock_split_collect(struct airlock_split *split, unsigned int *count);

/*
 * Asks the device for an interrupt once it has used another one. Returns true if it has by now, of
 * which it will then not tell: collect again.
 */
bool airlock_split_rearm(struct airlock_split *split);

#endif
