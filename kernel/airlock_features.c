// SPDX-License-Identifier: GPL-2.0-only
/*
 * Negotiation. The virtio core knows nothing of bits 27 and 44 and would drop them, so the
 * transport accepts them on its own; REQUIREMENTS 1.6 is the table behind the choices here.
 *
 * Offsets (bit 44) are preferred to bus addresses (bit 27): they say what is meant, and bit 27 is
 * also the legacy ANY_LAYOUT bit. Bit 44 counts only together with VERSION_1 and ACCESS_PLATFORM
 * (DMB-DR1), bit 27 only together with VERSION_1 (DEF-2). A device with the region's capability
 * but neither bit gives a hint, and the region is used all the same (PCI-DR1).
 */
#include <linux/cpumask.h>
#include <linux/moduleparam.h>
#include <linux/sizes.h>
#include <linux/virtio_ring.h>
#include <uapi/linux/virtio_ids.h>

#include "airlock.h"

/*
 * The device types whose stock driver was read with a hostile device and a bounce pool in mind
 * (HD-31), and the pool bytes each needs for its largest request; a disk tells how large that is.
 * Others, such as the balloon, hand the device guest addresses outside the DMA API and cannot work
 * behind a region.
 */
static const struct {
	u32 device_type;
	size_t payload_min;
} audited[] = {
	{ VIRTIO_ID_NET, SZ_512K },
	{ VIRTIO_ID_BLOCK, SZ_64K },
	{ VIRTIO_ID_CONSOLE, SZ_512K },
	{ VIRTIO_ID_RNG, SZ_64K },
	{ VIRTIO_ID_SCSI, AIRLOCK_BLOCK_REQUEST_MAX + SZ_512K },
	{ VIRTIO_ID_9P, SZ_1M },
	{ VIRTIO_ID_INPUT, SZ_64K },
	{ VIRTIO_ID_VSOCK, SZ_1M },
	{ VIRTIO_ID_FS, SZ_2M },
};

static size_t payload_min(u32 device_type)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(audited); i++)
		if (audited[i].device_type == device_type)
			return audited[i].payload_min;
	return 0;
}

size_t airlock_payload_min(struct virtio_device *vdev)
{
	size_t least = payload_min(vdev->id.device);

	if (vdev->id.device == VIRTIO_ID_BLOCK)
		return max_t(size_t, least, airlock_blk_request_bytes(vdev));
	return least;
}

u64 airlock_get_features(struct virtio_device *vdev)
{
	struct airlock_device *adev = to_airlock(vdev);

	adev->offered = vp_modern_get_features(&adev->mdev);
	/*
	 * With ACCESS_PLATFORM the rings and their buffers go through the DMA API, and so through
	 * the pool. The bit comes off again on the wire if the device did not offer it.
	 */
	return adev->offered | BIT_ULL(VIRTIO_F_ACCESS_PLATFORM);
}

/*
 * Chooses the address mode and the feature bit that it takes, if any. A bad capability 10 is
 * refused here, before FEATURES_OK; where the other kind of region lies may be asked only after
 * it.
 */
static int choose_mode(struct airlock_device *adev, u64 *region_bits)
{
	const u64 offset_needs = BIT_ULL(AIRLOCK_F_DMB) | BIT_ULL(VIRTIO_F_ACCESS_PLATFORM);
	struct airlock_location location;
	dma_addr_t handle_base;

	if (!(adev->offered & BIT_ULL(VIRTIO_F_VERSION_1))) {
		pci_err(adev->pdev, "airlock: the device does not offer VERSION_1\n");
		return -EINVAL;
	}
	if ((adev->offered & offset_needs) == offset_needs &&
	    airlock_caps_present(adev->pdev, VIRTIO_PCI_CAP_SHARED_MEMORY_CFG)) {
		adev->mode = AIRLOCK_ADDRESS_OFFSET;
		*region_bits = BIT_ULL(AIRLOCK_F_DMB);
		return 0;
	}
	adev->mode = AIRLOCK_ADDRESS_BUS;
	*region_bits = adev->offered & BIT_ULL(AIRLOCK_F_SWIOTLB);
	return airlock_region_locate(adev, &location, &handle_base);
}

/*
 * One queue can be reset while the others go on, if the kernel can do it, the device offers it, and
 * its registers are long enough for it. Only for packed rings: of others virtio_ring resets no ring
 * that it does not own.
 */
static bool can_reset_queues(struct airlock_device *adev)
{
#ifdef AIRLOCK_HAVE_VQ_RESET
	struct airlock_location common;

	return adev->offered & BIT_ULL(VIRTIO_F_RING_RESET) &&
	       __virtio_test_bit(&adev->vdev, VIRTIO_F_RING_PACKED) &&
	       !airlock_caps_find(adev->pdev, VIRTIO_PCI_CAP_COMMON_CFG, AIRLOCK_ANY_ID, &common) &&
	       common.length >= offsetofend(struct virtio_pci_modern_common_cfg, queue_reset);
#else
	return false;
#endif
}

/*
 * A split ring has a shadow, where every number from the device is checked and a full pool makes
 * requests wait. Over a packed one virtio_ring checks less, and a full pool ends requests with EIO,
 * though a disk's is never full (airlock_bound.h): packed rings are for who asks for them.
 */
static bool packed;
module_param(packed, bool, 0444);
MODULE_PARM_DESC(packed, "Accept packed rings: less is checked, a full pool is an I/O error");

/*
 * The bits of the rings, among those that virtio_ring knows. Dropped: SR_IOV and NOTIFICATION_DATA,
 * and IN_ORDER, because virtio_ring takes a batch for complete without asking whether the id that
 * ends it is in flight (HD-32). EVENT_IDX is between a shadow and the device: virtio_ring, to which
 * the shadow is the device, does without (airlock_shadow.h).
 *
 * The console's driver waits for its output with interrupts off, in which a shadow's completions
 * come: over a split ring it would wait for ever, so it gets a packed one or none.
 */
static int choose_ring_bits(struct virtio_device *vdev)
{
	struct airlock_device *adev = to_airlock(vdev);

	adev->event_idx = false;
	vring_transport_features(vdev);
	if (!packed && vdev->id.device != VIRTIO_ID_CONSOLE)
		__virtio_clear_bit(vdev, VIRTIO_F_RING_PACKED);
	__virtio_clear_bit(vdev, VIRTIO_F_SR_IOV);
	__virtio_clear_bit(vdev, VIRTIO_F_IN_ORDER);
	__virtio_clear_bit(vdev, AIRLOCK_F_NOTIFICATION_DATA);
	if (can_reset_queues(adev))
		__virtio_set_bit(vdev, VIRTIO_F_RING_RESET);
	if (__virtio_test_bit(vdev, VIRTIO_F_RING_PACKED))
		return 0;
	/*
	 * It takes a full barrier, which QEMU's TCG leaves out on a machine that can have one
	 * processor only: there each buffer brings an interrupt.
	 */
	adev->event_idx = adev->offered & BIT_ULL(VIRTIO_RING_F_EVENT_IDX) &&
			  num_possible_cpus() > 1;
	__virtio_clear_bit(vdev, VIRTIO_RING_F_EVENT_IDX);
	if (vdev->id.device != VIRTIO_ID_CONSOLE)
		return 0;
	dev_err(&vdev->dev, "airlock: a console needs packed rings, which the device does not offer\n");
	return -EOPNOTSUPP;
}

int airlock_finalize_features(struct virtio_device *vdev)
{
	struct airlock_device *adev = to_airlock(vdev);
	u64 own_bits; /* that the driver knows nothing about */
	int err;

	/* Restored with the features that it had. */
	if (adev->mute)
		return 0;
	if (adev->dead)
		return -EIO;
	if (!payload_min(vdev->id.device)) {
		pci_err(adev->pdev, "airlock: device type %u is not supported behind a region\n",
			vdev->id.device);
		return -EOPNOTSUPP;
	}
	err = choose_mode(adev, &own_bits);
	if (err)
		return err;

	err = choose_ring_bits(vdev);
	if (err)
		return err;
	if (!__virtio_test_bit(vdev, VIRTIO_F_ACCESS_PLATFORM)) {
		pci_err(adev->pdev, "airlock: the driver insists on guest physical addresses\n");
		return -EOPNOTSUPP;
	}
	if (!__virtio_test_bit(vdev, VIRTIO_F_VERSION_1))
		return -EINVAL;
	if (adev->event_idx)
		own_bits |= BIT_ULL(VIRTIO_RING_F_EVENT_IDX);
	vp_modern_set_features(&adev->mdev, (vdev->features & adev->offered) | own_bits);
	return 0;
}
