// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the configuration of a disk means for the transport: how much of the pool its requests
 * take, and what virtio_blk would use without a check.
 */
#include <linux/kernel.h>
#include <linux/virtio_config.h>
#include <uapi/linux/virtio_blk.h>
#include <uapi/linux/virtio_ring.h>

#include "airlock.h"
#include "core/range.h"

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
 * Of a disk over split rings. The driver reads these two on its own, so a device that changes them
 * in between may make requests for which there is never room: they wait, as they do for a device
 * that answers none.
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
	/* Less than a page is no limit that the block layer takes. */
	if (segment_bytes >= PAGE_SIZE)
		bytes = min_t(u64, bytes, (u64)max_t(u32, segments, 1) * segment_bytes);
	return pool_bytes(bytes, segments);
}

bool airlock_blk_is_bounded(const struct virtio_device *vdev)
{
	return vdev->id.device == VIRTIO_ID_BLOCK && __virtio_test_bit(vdev, VIRTIO_F_RING_PACKED);
}

static bool has_tables(const struct virtio_device *vdev)
{
	return __virtio_test_bit(vdev, VIRTIO_RING_F_INDIRECT_DESC);
}

/* The most queues that virtio_blk asks for, polled ones included. */
static u32 queues_most(struct virtio_device *vdev)
{
	u16 queues = 1;

	if (__virtio_test_bit(vdev, VIRTIO_BLK_F_MQ))
		virtio_cread(vdev, struct virtio_blk_config, num_queues, &queues);
	return clamp_t(u32, queues, 1, nr_cpu_ids);
}

/* The segments of a request, as the driver was told or will be: once told, it stays so. */
static u32 segments_told(struct virtio_device *vdev)
{
	u32 segments = 1;

	if (__virtio_test_bit(vdev, VIRTIO_BLK_F_SEG_MAX))
		virtio_cread(vdev, struct virtio_blk_config, seg_max, &segments);
	return max_t(u32, segments, 1);
}

u64 airlock_blk_bounded_bytes(struct virtio_device *vdev, unsigned int vq_count)
{
	return airlock_bound_pages(vq_count, segments_told(vdev), has_tables(vdev)) * PAGE_SIZE;
}

u32 airlock_blk_bounded_entries(struct virtio_device *vdev, unsigned int vq_count)
{
	u64 pages = to_airlock(vdev)->pool.size / PAGE_SIZE;
	u32 segments = segments_told(vdev);
	u32 entries = airlock_bound_entries(pages, vq_count, segments, has_tables(vdev));

	dev_info(&vdev->dev, "airlock: packed rings: up to %u entries each, requests of up to %lu KiB\n",
		 entries, segments * (PAGE_SIZE / SZ_1K));
	return entries;
}

/*
 * virtio_blk asks for it before it makes queues, or afterwards (7.2), and each time the answer
 * has to be the same. HD-12: what a device offers later makes no difference.
 */
static void bound_segments(struct virtio_device *vdev, u8 *bytes)
{
	struct airlock_device *adev = to_airlock(vdev);
	__le32 segments;

	if (!adev->seg_max) {
		memcpy(&segments, bytes, sizeof(segments));
		adev->seg_max = airlock_bound_segments(airlock_region_bytes(adev) / PAGE_SIZE,
						       queues_most(vdev), le32_to_cpu(segments),
						       has_tables(vdev));
	}
	segments = cpu_to_le32(adev->seg_max);
	memcpy(bytes, &segments, sizeof(segments));
}

/* HD-13: virtio_blk shifts by it as it is. */
static void check_exponent(struct virtio_device *vdev, u8 *value)
{
	if (*value <= PHYSICAL_BLOCK_EXP_MAX)
		return;
	dev_err_ratelimited(&vdev->dev, "airlock: physical_block_exp %u makes no sense: taken as 0\n",
			    *value);
	*value = 0;
}

void airlock_blk_check_config(struct virtio_device *vdev, unsigned int offset, u8 *bytes,
			      unsigned int length)
{
	const unsigned int exponent = offsetof(struct virtio_blk_config, physical_block_exp);
	const unsigned int seg_max = offsetof(struct virtio_blk_config, seg_max);

	if (airlock_range_inside(exponent, 1, offset, length))
		check_exponent(vdev, bytes + (exponent - offset));
	if (airlock_blk_is_bounded(vdev) &&
	    airlock_range_inside(seg_max, sizeof(__le32), offset, length))
		bound_segments(vdev, bytes + (seg_max - offset));
}
