// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the configuration of a disk means for the transport: how much of the pool its largest
 * request takes, and what virtio_blk would use without a check.
 */
#include <linux/kernel.h>
#include <linux/virtio_config.h>
#include <uapi/linux/virtio_blk.h>

#include "airlock.h"

/* The header, the status, and the indirect table with an entry for each of them. */
#define EXTRA_BUFFERS 2
#define TABLE_ENTRY_BYTES 16
/* 64 KiB << 15 still fits 32 bits. */
#define PHYSICAL_BLOCK_EXP_MAX 15

/* Of a request of so many bytes: each buffer of it may waste all but a byte of its last slot. */
static size_t pool_bytes(size_t bytes, size_t segments)
{
	size_t buffers = clamp_t(size_t, segments, 1, bytes >> SECTOR_SHIFT) + EXTRA_BUFFERS;

	return bytes + buffers * AIRLOCK_SLOT_SIZE +
	       round_up(buffers * TABLE_ENTRY_BYTES, AIRLOCK_SLOT_SIZE);
}

/*
 * The driver reads these two on its own, so a device that changes them in between may make requests
 * for which there is never room: they wait, as they do for a device that answers none.
 */
size_t airlock_blk_request_bytes(struct virtio_device *vdev)
{
	u64 bytes = AIRLOCK_BLOCK_REQUEST_MAX;
	u32 segments = 1;
	u32 segment_bytes = 0;

	/* virtio_has_feature() is a BUG() where the driver knows nothing of the feature. */
	if (__virtio_test_bit(vdev, VIRTIO_BLK_F_SEG_MAX))
		virtio_cread(vdev, struct virtio_blk_config, seg_max, &segments);
	if (__virtio_test_bit(vdev, VIRTIO_BLK_F_SIZE_MAX))
		virtio_cread(vdev, struct virtio_blk_config, size_max, &segment_bytes);
	/*
	 * Less than a page is no limit that the block layer takes. Over a packed ring a request
	 * that finds no room fails and does not wait, so that a small region is no good there.
	 */
	if (segment_bytes >= PAGE_SIZE && !virtio_has_feature(vdev, VIRTIO_F_RING_PACKED))
		bytes = min_t(u64, bytes, (u64)max_t(u32, segments, 1) * segment_bytes);
	return pool_bytes(bytes, segments);
}

/* HD-13: virtio_blk shifts by it as it is. */
void airlock_blk_check_config(struct virtio_device *vdev, unsigned int offset, u8 *bytes,
			      unsigned int length)
{
	const unsigned int exponent = offsetof(struct virtio_blk_config, physical_block_exp);
	u8 *value;

	if (offset > exponent || exponent - offset >= length)
		return;
	value = bytes + (exponent - offset);
	if (*value <= PHYSICAL_BLOCK_EXP_MAX)
		return;
	dev_err_ratelimited(&vdev->dev, "airlock: physical_block_exp %u makes no sense: taken as 0\n",
			    *value);
	*value = 0;
}
