// SPDX-License-Identifier: GPL-2.0-only
/*
 * Ends what a device that stopped has in flight (HD-23). Breaking the queues is enough for the
 * drivers that look at that: their waits end, and what they add later is refused. virtio_blk does
 * not, it waits for each of its requests, in its removal and before system sleep too. So each of
 * them is taken back from its queue and completed here. The status byte comes out of the pool as
 * ones like everything that the device was to fill, see airlock_pool_spoil(), and that is an error.
 */
#include <linux/blk-mq.h>
#include <linux/blkdev.h>
#include <linux/device.h>
#include <uapi/linux/virtio_ids.h>

#include "airlock.h"

static int find_disk(struct device *child, void *found)
{
	if (!child->class || strcmp(child->class->name, "block"))
		return 0;
	*(struct device **)found = get_device(child);
	return 1;
}

/* The driver's cookie for a buffer is the private part of the request that it belongs to. */
static void end_disk_requests(struct virtio_device *vdev)
{
	struct device *disk = NULL;
	struct request_queue *queue;
	struct virtqueue *vq;
	void *cookie;

	device_for_each_child(&vdev->dev, &disk, find_disk);
	if (!disk)
		return;
	queue = dev_to_disk(disk)->queue;
	/* From here on nothing is added: nobody is inside the driver, and nobody enters it. */
	blk_mq_quiesce_queue(queue);
	virtio_device_for_each_vq(vdev, vq) while ((cookie = virtqueue_detach_unused_buf(vq)))
		blk_mq_complete_request(blk_mq_rq_from_pdu(cookie));
	/* A queue that was full waits for a completion to go on. */
	blk_mq_start_stopped_hw_queues(queue, true);
	blk_mq_unquiesce_queue(queue);
	put_device(disk);
}

/*
 * May be called again and again, with vqs_lock held, so that no queue comes or goes. It takes no
 * lock that a driver may hold while it waits for its requests.
 */
void airlock_inflight_end(struct airlock_device *adev)
{
	struct virtio_device *vdev = &adev->vdev;

	if (!adev->vq_count)
		return;
	/* No callback looks into a broken queue, and none that looked before is left after this. */
	virtio_break_device(vdev);
	airlock_stop_vqs(adev);
	airlock_pool_spoil(&adev->pool);
	if (vdev->id.device == VIRTIO_ID_BLOCK)
		end_disk_requests(vdev);
}
