// SPDX-License-Identifier: GPL-2.0-only
/*
 * Goal: one queue of a disk is reset, and resized, and goes on. Method: a driver that reads a
 * sector before and after, and leaves a request in the ring that the device was not told of: it
 * comes back once, from the device or from the reset. The kernel log says what happened;
 * tests/vm_ring_test.py reads that. No stock driver of a disk resets a queue.
 */
#include <linux/completion.h>
#include <linux/jiffies.h>
#include <linux/module.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>
#include <linux/virtio.h>
#include <linux/virtio_config.h>
#include <uapi/linux/virtio_blk.h>
#include <uapi/linux/virtio_ids.h>

#define DEADLINE_MS 10000
#define SECTOR_BYTES 512

struct disk {
	struct virtqueue *vq;
	struct completion done;
	struct virtio_blk_outhdr header;
	u8 data[SECTOR_BYTES];
	u8 status;
};

static unsigned int recycled;

static void recycle(struct virtqueue *vq, void *token)
{
	recycled++;
}

static int resize(struct virtqueue *vq, u32 size)
{
#ifdef HAVE_RECYCLE_DONE
	return virtqueue_resize(vq, size, recycle, NULL);
#else
	return virtqueue_resize(vq, size, recycle);
#endif
}

/* Older kernels have no function for it, but resizing there and back is as good. */
static int reset(struct virtqueue *vq)
{
#ifdef HAVE_VIRTQUEUE_RESET
	return virtqueue_reset(vq, recycle, NULL);
#else
	u32 size = virtqueue_get_vring_size(vq);
	int err = resize(vq, size / 2);

	return err ? err : resize(vq, size);
#endif
}

static void used(struct virtqueue *vq)
{
	struct disk *disk = vq->vdev->priv;
	unsigned int length;

	while (virtqueue_get_buf(vq, &length))
		complete(&disk->done);
}

static int add_read(struct disk *disk)
{
	struct scatterlist header, data, status;
	struct scatterlist *list[] = { &header, &data, &status };

	disk->header.type = cpu_to_virtio32(disk->vq->vdev, VIRTIO_BLK_T_IN);
	disk->header.sector = 0;
	disk->status = 0xff;
	sg_init_one(&header, &disk->header, sizeof(disk->header));
	sg_init_one(&data, disk->data, sizeof(disk->data));
	sg_init_one(&status, &disk->status, sizeof(disk->status));
	return virtqueue_add_sgs(disk->vq, list, 1, 2, disk, GFP_KERNEL);
}

/* Returns the first byte of the disk, or an error. */
static int read_byte(struct disk *disk)
{
	int err = add_read(disk);

	if (err)
		return err;
	virtqueue_kick(disk->vq);
	if (!wait_for_completion_timeout(&disk->done, msecs_to_jiffies(DEADLINE_MS)))
		return -ETIMEDOUT;
	return disk->status == VIRTIO_BLK_S_OK ? disk->data[0] : -EIO;
}

static void try_resets(struct disk *disk)
{
	u32 size = virtqueue_get_vring_size(disk->vq);
	int before = read_byte(disk);
	int added = add_read(disk);
	int was_reset = reset(disk->vq);
	int returned = recycled + try_wait_for_completion(&disk->done);
	int between = read_byte(disk);
	int resized = resize(disk->vq, size / 2);
	int after = read_byte(disk);

	dev_info(&disk->vq->vdev->dev,
		 "queue_reset: read %d, added %d, reset %d, returned %d, read %d, resized %d to %u, read %d\n",
		 before, added, was_reset, returned, between, resized,
		 virtqueue_get_vring_size(disk->vq), after);
}

static int probe(struct virtio_device *vdev)
{
	struct disk *disk = kzalloc(sizeof(*disk), GFP_KERNEL);

	if (!disk)
		return -ENOMEM;
	vdev->priv = disk;
	init_completion(&disk->done);
	disk->vq = virtio_find_single_vq(vdev, used, "requests");
	if (IS_ERR(disk->vq)) {
		int err = PTR_ERR(disk->vq);

		kfree(disk);
		return err;
	}
	virtio_device_ready(vdev);
	recycled = 0;
	try_resets(disk);
	return 0;
}

static void remove(struct virtio_device *vdev)
{
	struct disk *disk = vdev->priv;

	virtio_reset_device(vdev);
	while (virtqueue_detach_unused_buf(disk->vq))
		;
	vdev->config->del_vqs(vdev);
	kfree(disk);
}

static const struct virtio_device_id ids[] = {
	{ VIRTIO_ID_BLOCK, VIRTIO_DEV_ANY_ID },
	{}
};

static struct virtio_driver queue_reset_driver = {
	.driver.name = KBUILD_MODNAME,
	.id_table = ids,
	.probe = probe,
	.remove = remove,
};

module_virtio_driver(queue_reset_driver);

MODULE_DESCRIPTION("Resets a queue, for a test");
MODULE_LICENSE("GPL");
