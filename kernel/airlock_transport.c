// SPDX-License-Identifier: GPL-2.0-only
/*
 * The virtio_config_ops: status, reset and configuration space over the vp_modern_* library.
 * Offsets and lengths come from the driver, but how long the configuration space is comes from the
 * device, so a read beyond it is answered with zeros; it is not a bug of ours to stop the machine
 * for.
 */
#include <linux/delay.h>
#include <linux/jiffies.h>
#include <uapi/linux/virtio_ids.h>

#include "airlock.h"
#include "core/range.h"

/* A device process behind a VMM answers within milliseconds; a dead one never (HD-19). */
#define RESET_DEADLINE_MS 10000
/* Reading the configuration again that often is no bad luck any more. */
#define GENERATION_CHANGES_MAX 100

static bool config_has(struct airlock_device *adev, unsigned int offset, unsigned int length)
{
	size_t device_len = adev->mdev.device ? adev->mdev.device_len : 0;

	if (airlock_range_within(offset, length, device_len))
		return true;
	dev_err_ratelimited(&adev->pdev->dev,
			    "airlock: configuration access at %u, %u bytes, but the device has %zu\n",
			    offset, length, device_len);
	return false;
}

/* Each field is read with its own width (VIRTIO 1.3, 4.1.3.1), 64-bit ones as two halves. */
static void read_config(const void __iomem *source, void *target, unsigned int length)
{
	unsigned int i;

	if (length == 2) {
		__le16 word = cpu_to_le16(ioread16(source));

		memcpy(target, &word, sizeof(word));
	} else if (length == 4 || length == 8) {
		for (i = 0; i < length; i += 4) {
			__le32 word = cpu_to_le32(ioread32(source + i));

			memcpy(target + i, &word, sizeof(word));
		}
	} else {
		for (i = 0; i < length; i++)
			((u8 *)target)[i] = ioread8(source + i);
	}
}

static void config_get(struct virtio_device *vdev, unsigned int offset, void *target,
		       unsigned int length)
{
	struct airlock_device *adev = to_airlock(vdev);

	bool kept = airlock_range_within(offset, length, sizeof(adev->config_kept));

	memset(target, 0, length);
	if (adev->mute) {
		if (kept)
			memcpy(target, adev->config_kept + offset, length);
		return;
	}
	if (!config_has(adev, offset, length))
		return;
	read_config(adev->mdev.device + offset, target, length);
	if (vdev->id.device == VIRTIO_ID_BLOCK)
		airlock_blk_check_config(vdev, offset, target, length);
	if (kept && !adev->restoring)
		memcpy(adev->config_kept + offset, target, length);
}

static void config_set(struct virtio_device *vdev, unsigned int offset, const void *source,
		       unsigned int length)
{
	struct airlock_device *adev = to_airlock(vdev);
	void __iomem *target = adev->mdev.device + offset;
	unsigned int i;

	if (adev->mute || !config_has(adev, offset, length))
		return;
	if (length == 2) {
		__le16 word;

		memcpy(&word, source, sizeof(word));
		iowrite16(le16_to_cpu(word), target);
	} else if (length == 4 || length == 8) {
		for (i = 0; i < length; i += 4) {
			__le32 word;

			memcpy(&word, source + i, sizeof(word));
			iowrite32(le32_to_cpu(word), target + i);
		}
	} else {
		for (i = 0; i < length; i++)
			iowrite8(((const u8 *)source)[i], target + i);
	}
}

/*
 * The core reads the configuration again until two calls in a row give the same, without a bound
 * (HD-12). For a device that never gets there the last answer is held, and the values read last
 * count: it could have presented them all along, and the drivers check them.
 */
static u32 config_generation(struct virtio_device *vdev)
{
	struct airlock_device *adev = to_airlock(vdev);
	u32 generation = adev->mute ? adev->generation : vp_modern_generation(&adev->mdev);

	if (generation == adev->generation) {
		adev->generation_changes = 0;
	} else if (adev->generation_changes < GENERATION_CHANGES_MAX) {
		adev->generation_changes++;
		adev->generation = generation;
	} else {
		dev_err_ratelimited(&adev->pdev->dev,
				    "airlock: the configuration never stops changing\n");
	}
	return adev->generation;
}

/*
 * To the core a dead device reads as one that has been reset: it then refuses to start it, and does
 * not warn about a driver that left it running, which a device could otherwise provoke at will.
 */
static u8 get_status(struct virtio_device *vdev)
{
	struct airlock_device *adev = to_airlock(vdev);

	if (adev->mute)
		return adev->mute_status;
	return adev->dead ? 0 : vp_modern_get_status(&adev->mdev);
}

static void set_status(struct virtio_device *vdev, u8 status)
{
	struct airlock_device *adev = to_airlock(vdev);

	if (adev->mute)
		adev->mute_status = status;
	else if (!adev->dead)
		vp_modern_set_status(&adev->mdev, status);
}

/*
 * A device that does not finish a reset in time is left for dead and its queues are broken. That
 * is safe here, unlike with ordinary devices: it can reach the region only, and the pool trusts
 * nothing that is stored there.
 */
static void reset(struct virtio_device *vdev)
{
	struct airlock_device *adev = to_airlock(vdev);
	unsigned long deadline = jiffies + msecs_to_jiffies(RESET_DEADLINE_MS);

	airlock_stop_vqs(adev);
	vp_modern_set_status(&adev->mdev, 0);
	if (adev->mute) {
		adev->mute_status = 0;
		return;
	}
	adev->dead = false;
	adev->given_up = false;
	while (vp_modern_get_status(&adev->mdev)) {
		bool gone = !pci_device_is_present(adev->pdev);

		if (gone || time_after(jiffies, deadline)) {
			pci_err(adev->pdev, "airlock: %s: giving up\n",
				gone ? "the device is gone" : "no answer to a reset in 10 s");
			adev->dead = true;
			/* Without queues the core may not even have made its list of them yet. */
			if (adev->vq_count)
				virtio_break_device(vdev);
			break;
		}
		usleep_range(500, 1000);
	}
	airlock_synchronize_cbs(vdev);
	if (!adev->dead)
		airlock_pool_unspoil(&adev->pool);
}

/* When a driver is bound: the device is asked again, and is new to this one. */
static u64 get_features(struct virtio_device *vdev)
{
	struct airlock_device *adev = to_airlock(vdev);

	if (adev->mute) {
		adev->mute = false;
		reset(vdev);
	}
	memset(adev->config_kept, 0, sizeof(adev->config_kept));
	adev->seg_max = 0;
	return airlock_get_features(vdev);
}

static const char *bus_name(struct virtio_device *vdev)
{
	return pci_name(to_airlock(vdev)->pdev);
}

static int find_vqs(struct virtio_device *vdev, unsigned int nvqs, struct virtqueue *vqs[],
		    struct virtqueue_info info[], struct irq_affinity *desc)
{
	struct airlock_device *adev = to_airlock(vdev);
	int err;

	mutex_lock(&adev->vqs_lock);
	err = airlock_find_vqs(vdev, nvqs, vqs, info, desc);
	mutex_unlock(&adev->vqs_lock);
	return err;
}

static void del_vqs(struct virtio_device *vdev)
{
	struct airlock_device *adev = to_airlock(vdev);

	mutex_lock(&adev->vqs_lock);
	airlock_del_vqs(vdev);
	mutex_unlock(&adev->vqs_lock);
}

#ifdef AIRLOCK_HAVE_VQS_INFO
#define transport_find_vqs find_vqs
#else
static int transport_find_vqs(struct virtio_device *vdev, unsigned int nvqs,
			      struct virtqueue *vqs[], vq_callback_t *callbacks[],
			      const char *const names[], const bool *ctx,
			      struct irq_affinity *desc)
{
	struct virtqueue_info *info = kcalloc(nvqs, sizeof(*info), GFP_KERNEL);
	unsigned int i;
	int err;

	if (!info)
		return -ENOMEM;
	for (i = 0; i < nvqs; i++) {
		info[i].name = names[i];
		info[i].callback = callbacks[i];
		info[i].ctx = ctx && ctx[i];
	}
	err = find_vqs(vdev, nvqs, vqs, info, desc);
	kfree(info);
	return err;
}
#endif

const struct virtio_config_ops airlock_config_ops = {
	.get = config_get,
	.set = config_set,
	.generation = config_generation,
	.get_status = get_status,
	.set_status = set_status,
	.reset = reset,
	.find_vqs = transport_find_vqs,
	.del_vqs = del_vqs,
	.synchronize_cbs = airlock_synchronize_cbs,
	.get_features = get_features,
	.finalize_features = airlock_finalize_features,
	.bus_name = bus_name,
	.set_vq_affinity = airlock_set_vq_affinity,
	.get_vq_affinity = airlock_get_vq_affinity,
#ifdef AIRLOCK_HAVE_VQ_RESET
	.disable_vq_and_reset = airlock_disable_vq_and_reset,
	.enable_vq_after_reset = airlock_enable_vq_after_reset,
#endif
};
