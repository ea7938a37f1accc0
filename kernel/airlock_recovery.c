// SPDX-License-Identifier: GPL-2.0-only
/*
 * A device that stops (DEVICE_NEEDS_RESET, VIRTIO 1.3, 2.1.1), whose ring makes no sense any more
 * (the kernel breaks that queue), or that is gone (all its registers read as ones) completes
 * nothing, and the stock drivers have no time limit: without help
 * whoever waits for a request waits for ever, and so does the removal of the driver. So:
 *
 * 1. What is in flight ends with an error, once (HD-23). Whether the device carried it out is
 *    unknown; only the layers above know what may be repeated. A request is never completed as a
 *    success here, and never issued again.
 * 2. A device that stopped is reset and set up again, by the same freeze and restore of its driver
 *    that system sleep uses. Requests issued from then on work. To a file system this is a disk
 *    that lost some writes and said so.
 * 3. Where that cannot be done, or has been done too often, everything issued later fails as well.
 *
 * A device tells that it stopped with a configuration interrupt. One that is gone tells nothing,
 * so the status is also read every few seconds.
 */
#include <linux/sched/mm.h>
#include <linux/workqueue.h>

#include "airlock.h"

#define WATCH_INTERVAL (5 * HZ)
/* A device that stops again and again is not worth the errors that each stop makes. */
#define RESTARTS_MAX 5
#define RESTARTS_WINDOW (60 * HZ)

/* What a register of eight bits reads as when nobody answers. */
#define STATUS_GONE 0xff

/* For disks: what has to happen before memory can be written back must not wait for memory. */
static struct workqueue_struct *watch_queue;

enum airlock_health {
	AIRLOCK_WORKS,
	AIRLOCK_STOPPED,
	AIRLOCK_GONE,
};

/* With vqs_lock held. A queue breaks when the device writes something impossible into it. */
static bool any_queue_broken(struct airlock_device *adev)
{
	/* Some kernels' macro takes no expression. */
	struct virtio_device *vdev = &adev->vdev;
	struct virtqueue *vq;

	if (adev->vq_count)
		virtio_device_for_each_vq(vdev, vq) if (virtqueue_is_broken(vq)) return true;
	return false;
}

/* With vqs_lock held. Without DRIVER_OK queues are broken for good reasons: a reset is near. */
static enum airlock_health health(struct airlock_device *adev)
{
	u8 status = vp_modern_get_status(&adev->mdev);

	if (status == STATUS_GONE)
		return AIRLOCK_GONE;
	if (status & VIRTIO_CONFIG_S_NEEDS_RESET ||
	    (status & VIRTIO_CONFIG_S_DRIVER_OK && any_queue_broken(adev)))
		return AIRLOCK_STOPPED;
	return AIRLOCK_WORKS;
}

/*
 * Ends what is in flight unless the device works. Again at each call: a driver may have had one
 * foot in its queue the last time.
 */
static enum airlock_health settle(struct airlock_device *adev)
{
	enum airlock_health found;

	mutex_lock(&adev->vqs_lock);
	found = health(adev);
	if (found != AIRLOCK_WORKS) {
		if (!adev->pool.spoilt)
			pci_err(adev->pdev, "airlock: the device %s: requests in flight fail\n",
				found == AIRLOCK_GONE ? "is gone" : "stopped");
		/* To the core it then reads as one that has been reset, see get_status(). */
		if (found == AIRLOCK_GONE)
			adev->dead = true;
		airlock_inflight_end(adev);
	}
	mutex_unlock(&adev->vqs_lock);
	return found;
}

#ifdef CONFIG_PM_SLEEP
/*
 * Stock drivers take for granted that this works. One that is left without queues keeps what is
 * asked of it waiting, and when it is removed virtio_blk (6.1, 6.12) frees the array of its queues
 * a second time. So if the device cannot be set up again, the driver is given queues that nobody
 * serves: all that it asks for fails at once.
 */
int airlock_restore_driver(struct airlock_device *adev)
{
	int err = -EIO;

	adev->restoring = true;
	if (!adev->dead)
		err = virtio_device_restore(&adev->vdev);
	if (err) {
		adev->mute = true;
		adev->mute_status = 0;
		if (virtio_device_restore(&adev->vdev))
			pci_err(adev->pdev, "airlock: the driver is left without queues\n");
		mutex_lock(&adev->vqs_lock);
		airlock_inflight_end(adev);
		mutex_unlock(&adev->vqs_lock);
	}
	adev->restoring = false;
	return err;
}

static bool too_often(struct airlock_device *adev)
{
	if (time_after(jiffies, adev->restart_window + RESTARTS_WINDOW)) {
		adev->restart_window = jiffies;
		adev->restarts = 0;
	}
	return adev->restarts++ >= RESTARTS_MAX;
}

/* Freeze and restore, with the virtio device's lock held, which keeps its driver in place. */
static int restart(struct airlock_device *adev)
{
	struct virtio_driver *driver = drv_to_virtio(adev->vdev.dev.driver);
	int err;

	if (!driver->freeze || !driver->restore)
		return -EOPNOTSUPP;
	if (too_often(adev))
		return -EBUSY;
	err = virtio_device_freeze(&adev->vdev);
	return err ? err : airlock_restore_driver(adev);
}
#else
static int restart(struct airlock_device *adev)
{
	return -EOPNOTSUPP;
}
#endif

static bool still_stopped(struct airlock_device *adev)
{
	bool stopped;

	mutex_lock(&adev->vqs_lock);
	stopped = health(adev) == AIRLOCK_STOPPED;
	mutex_unlock(&adev->vqs_lock);
	return stopped;
}

static void recover(struct airlock_device *adev)
{
	unsigned int memory_flags;
	int err;

	device_lock(&adev->vdev.dev);
	/* Its driver may have left while this waited; that has reset the device. */
	if (adev->vdev.dev.driver && still_stopped(adev)) {
		memory_flags = memalloc_noio_save();
		err = restart(adev);
		memalloc_noio_restore(memory_flags);
		if (err) {
			adev->given_up = true;
			pci_err(adev->pdev,
				"airlock: not restarted: %d; all requests fail from now on\n", err);
		} else {
			pci_info(adev->pdev, "airlock: the device was reset and works again\n");
		}
	}
	device_unlock(&adev->vdev.dev);
}

static void watch_again(struct airlock_device *adev, unsigned long delay)
{
	unsigned long flags;

	spin_lock_irqsave(&adev->watch_lock, flags);
	if (adev->watching)
		mod_delayed_work(watch_queue, &adev->watch, delay);
	spin_unlock_irqrestore(&adev->watch_lock, flags);
}

static void watch(struct work_struct *work)
{
	struct airlock_device *adev =
		container_of(to_delayed_work(work), struct airlock_device, watch);

	if (settle(adev) == AIRLOCK_STOPPED && !adev->given_up)
		recover(adev);
	watch_again(adev, WATCH_INTERVAL);
}

void airlock_watch_settle(struct airlock_device *adev)
{
	settle(adev);
}

void airlock_watch_init(struct airlock_device *adev)
{
	spin_lock_init(&adev->watch_lock);
	INIT_DELAYED_WORK(&adev->watch, watch);
}

void airlock_watch_start(struct airlock_device *adev)
{
	unsigned long flags;

	spin_lock_irqsave(&adev->watch_lock, flags);
	adev->watching = true;
	spin_unlock_irqrestore(&adev->watch_lock, flags);
	watch_again(adev, WATCH_INTERVAL);
}

void airlock_watch_now(struct airlock_device *adev)
{
	watch_again(adev, 0);
}

void airlock_watch_stop(struct airlock_device *adev)
{
	unsigned long flags;

	spin_lock_irqsave(&adev->watch_lock, flags);
	adev->watching = false;
	spin_unlock_irqrestore(&adev->watch_lock, flags);
	cancel_delayed_work_sync(&adev->watch);
}

int airlock_recovery_init(void)
{
	watch_queue =
		alloc_workqueue("airlock_watch", WQ_UNBOUND | WQ_FREEZABLE | WQ_MEM_RECLAIM, 0);
	return watch_queue ? 0 : -ENOMEM;
}

void airlock_recovery_exit(void)
{
	destroy_workqueue(watch_queue);
}
