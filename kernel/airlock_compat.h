/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The few places where kernels differ, hidden behind the newest kernel's form. Kbuild probes the
 * headers and defines AIRLOCK_HAVE_*; nothing here asks for a version.
 */
#ifndef AIRLOCK_COMPAT_H
#define AIRLOCK_COMPAT_H

#include <linux/blkdev.h>
#include <linux/pci.h>
#include <linux/sizes.h>
#include <linux/virtio.h>
#include <linux/virtio_config.h>

#ifndef AIRLOCK_HAVE_VQS_INFO
struct virtqueue_info {
	const char *name;
	vq_callback_t *callback;
	bool ctx;
};
#endif

/* Bytes; the most that the block layer puts in one request unless an administrator raises it. */
#if defined(BLK_DEF_MAX_SECTORS)
#define AIRLOCK_BLOCK_REQUEST_MAX ((size_t)BLK_DEF_MAX_SECTORS << SECTOR_SHIFT)
#elif defined(BLK_DEF_MAX_SECTORS_CAP)
#define AIRLOCK_BLOCK_REQUEST_MAX ((size_t)BLK_DEF_MAX_SECTORS_CAP << SECTOR_SHIFT)
#else
#define AIRLOCK_BLOCK_REQUEST_MAX ((size_t)SZ_4M)
#endif

/*
 * The one driver that may bind to a device. Older kernels keep the name in struct pci_dev and take
 * the device's lock to change it; "" clears it.
 */
static inline int airlock_set_driver_override(struct pci_dev *pdev, const char *name)
{
#ifdef AIRLOCK_HAVE_PCI_OVERRIDE_FIELD
	return driver_set_override(&pdev->dev, &pdev->driver_override, name, strlen(name));
#else
	return device_set_driver_override(&pdev->dev, name);
#endif
}

static inline bool airlock_has_driver_override(struct pci_dev *pdev)
{
#ifdef AIRLOCK_HAVE_PCI_OVERRIDE_FIELD
	bool set;

	device_lock(&pdev->dev);
	set = pdev->driver_override != NULL;
	device_unlock(&pdev->dev);
	return set;
#else
	return device_has_driver_override(&pdev->dev);
#endif
}

/* True if an override names this module's driver. */
static inline bool airlock_override_is(struct pci_dev *pdev, const struct pci_driver *driver)
{
#ifdef AIRLOCK_HAVE_PCI_OVERRIDE_FIELD
	bool ours;

	device_lock(&pdev->dev);
	ours = pdev->driver_override && !strcmp(pdev->driver_override, driver->name);
	device_unlock(&pdev->dev);
	return ours;
#else
	return device_match_driver_override(&pdev->dev, &driver->driver) > 0;
#endif
}

/* The first 64 feature bits that a device of whatever transport offers. */
static inline u64 airlock_offered_features(struct virtio_device *vdev)
{
#ifdef AIRLOCK_HAVE_EXTENDED_FEATURES
	if (vdev->config->get_extended_features) {
		u64 features[VIRTIO_FEATURES_U64S];

		vdev->config->get_extended_features(vdev, features);
		return features[0];
	}
#endif
	return vdev->config->get_features(vdev);
}

#endif
