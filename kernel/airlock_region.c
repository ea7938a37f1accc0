// SPDX-License-Identifier: GPL-2.0-only
/*
 * From a capability to an open pool. This happens in find_vqs, the first call after the device has
 * confirmed FEATURES_OK in which the transport may fail (REQUIREMENTS DMB-DR2); an error there
 * makes the virtio core set FAILED. There is no fallback to system memory: without a region, no
 * queue.
 *
 * The mapping is write-back: the region is host memory, and a write-combined or uncached one would
 * make each copy many times slower (REQUIREMENTS DEF-6). x86 silently downgrades write-back below
 * 4 GiB, where firmware marks the PCI hole uncached, so what came out is read back and told.
 */
#include <linux/io.h>
#include <linux/log2.h>
#include <linux/sizes.h>
#include <uapi/linux/virtio_ids.h>

#include "airlock.h"
#include "core/range.h"

/* Bookkeeping costs 32 bytes a slot; nobody needs more region than this for one device. */
#define REGION_USED_MAX ((u64)SZ_2G)

/* The shared memory id lies behind the part of the common configuration that the library maps. */
static int read_dmb_shm_id(struct airlock_device *adev, u16 *id)
{
	struct airlock_location common;
	void __iomem *field;
	int err = airlock_caps_find(adev->pdev, VIRTIO_PCI_CAP_COMMON_CFG, AIRLOCK_ANY_ID, &common);

	if (err)
		return err;
	if (!airlock_range_within(AIRLOCK_COMMON_DMB_SHM_ID, sizeof(*id), common.length))
		return -EINVAL;
	field = pci_iomap_range(adev->pdev, common.bar, common.offset + AIRLOCK_COMMON_DMB_SHM_ID,
				sizeof(*id));
	if (!field)
		return -ENOMEM;
	*id = ioread16(field);
	pci_iounmap(adev->pdev, field);
	return *id <= U8_MAX ? 0 : -EINVAL;
}

int airlock_region_locate(struct airlock_device *adev, struct airlock_location *location,
			  dma_addr_t *handle_base)
{
	u16 shm_id;
	int err;

	if (adev->mode == AIRLOCK_ADDRESS_OFFSET) {
		err = read_dmb_shm_id(adev, &shm_id);
		if (err) {
			pci_err(adev->pdev, "airlock: no usable dmb_shm_id in the common configuration: %d\n",
				err);
			return err;
		}
		err = airlock_caps_find(adev->pdev, VIRTIO_PCI_CAP_SHARED_MEMORY_CFG, shm_id,
					location);
		*handle_base = 0;
	} else {
		err = airlock_caps_find(adev->pdev, AIRLOCK_PCI_CAP_SWIOTLB, AIRLOCK_ANY_ID,
					location);
		if (!err)
			*handle_base = pci_bus_address(adev->pdev, location->bar) +
				       location->offset;
	}
	if (err) {
		pci_err(adev->pdev, "airlock: no usable region capability: %d\n", err);
		return err;
	}
	if (!airlock_location_is_paged(location)) {
		pci_err(adev->pdev, "airlock: region offset %#llx or length %#llx is not whole pages\n",
			location->offset, location->length);
		return -EINVAL;
	}
	return 0;
}

u64 airlock_region_bytes(struct airlock_device *adev)
{
	struct airlock_location location;
	dma_addr_t handle_base;

	if (airlock_region_locate(adev, &location, &handle_base))
		return 0;
	return min_t(u64, location.length, REGION_USED_MAX);
}

/*
 * A request that cannot fit even an empty pool is retried for ever, so a region that small is
 * refused before any request exists. The size named is what a BAR can have: a power of two.
 */
static int check_size(struct airlock_device *adev, u64 length, u64 need, unsigned int vq_count)
{
	if (length >= need)
		return 0;
	pci_err(adev->pdev,
		"airlock: a region of %llu KiB is too small for %u queues: set it to %llu MiB or more\n",
		length >> 10, vq_count, max_t(u64, roundup_pow_of_two(need) >> 20, 1));
	return -ENOSPC;
}

/* Where a guest's memory types count is the host's choice, so a warning is all that there is. */
static void tell_memory_type(struct airlock_device *adev, phys_addr_t start)
{
	adev->memory_type = airlock_memory_type(adev->region);
	if (!strcmp(adev->memory_type, AIRLOCK_WRITE_BACK)) {
		pci_info(adev->pdev, "airlock: region at %pa mapped %s\n", &start,
			 adev->memory_type);
		return;
	}
	pci_warn(adev->pdev, "airlock: region at %pa mapped %s, not write-back: %s\n", &start,
		 adev->memory_type,
		 start < SZ_4G ? "BAR below 4 GiB, uncached by the MTRRs; have it placed above" :
				 "the MTRRs' default type is not write-back");
}

static int map_region(struct airlock_device *adev, const struct airlock_location *location)
{
	phys_addr_t start = pci_resource_start(adev->pdev, location->bar) + location->offset;
	int err;

	/* The region may share a BAR with structures that vp_modern_probe() has claimed already. */
	if (!(adev->mdev.modern_bars & BIT(location->bar))) {
		err = pci_request_region(adev->pdev, location->bar, "airlock-region");
		if (err)
			return err;
		adev->region_requested = true;
	}
	adev->location = *location;
	/*
	 * In an SEV-SNP or TDX guest the region has to be mapped shared, or the device would see
	 * ciphertext. Newer kernels map write-back as private unless told otherwise; older ones
	 * ask the resource and ignore the flag.
	 */
	adev->region = memremap(start, location->length, MEMREMAP_WB | MEMREMAP_DEC);
	if (!adev->region)
		return -ENOMEM;
	tell_memory_type(adev, start);
	return 0;
}

/* For the driver that comes. Nothing is mapped. */
static void prepare_pool(struct airlock_device *adev, bool bounded)
{
	airlock_pool_by_pages(&adev->pool, bounded);
	airlock_pool_tell_fills(&adev->pool, adev->vdev.id.device == VIRTIO_ID_BLOCK &&
						     !__virtio_test_bit(&adev->vdev,
									VIRTIO_F_RING_PACKED));
}

int airlock_region_open(struct airlock_device *adev, size_t ring_bytes, unsigned int vq_count)
{
	bool bounded = airlock_blk_is_bounded(&adev->vdev);
	u64 need = bounded ? airlock_blk_bounded_bytes(&adev->vdev, vq_count) :
			     PAGE_SIZE + (u64)ring_bytes + airlock_payload_min(&adev->vdev);
	struct airlock_location location;
	dma_addr_t handle_base;
	int err = airlock_region_locate(adev, &location, &handle_base);

	if (err)
		return err;
	location.length = min_t(u64, location.length, REGION_USED_MAX);
	err = check_size(adev, location.length, need, vq_count);
	if (err)
		return err;
	if (adev->region) {
		/* A second negotiation: the region must be where it was (HD-25, DMB-D10). */
		if (location.bar == adev->location.bar &&
		    location.offset == adev->location.offset &&
		    location.length == adev->location.length &&
		    handle_base == adev->pool.handle_base) {
			prepare_pool(adev, bounded);
			return 0;
		}
		pci_err(adev->pdev, "airlock: the region moved between two negotiations\n");
		return -EIO;
	}
	err = map_region(adev, &location);
	if (!err)
		err = airlock_pool_open(&adev->pool, adev->region, handle_base, location.length,
					need);
	if (err) {
		pci_err(adev->pdev, "airlock: cannot map the region: %d\n", err);
		airlock_region_close(adev);
		return err;
	}
	prepare_pool(adev, bounded);
	airlock_debugfs_add(adev);
	pci_info(adev->pdev, "airlock: %llu KiB region in BAR %u, %s, largest mapping %zu KiB (%s)\n",
		 location.length >> 10, location.bar,
		 adev->mode == AIRLOCK_ADDRESS_OFFSET ? "offsets" : "bus addresses",
		 adev->pool.max_mapping >> 10, airlock_backend_name);
	return 0;
}

void airlock_region_close(struct airlock_device *adev)
{
	airlock_debugfs_remove(adev);
	/* To what is gone, each word would be a message to nobody. */
	if (!adev->dead && pci_device_is_present(adev->pdev))
		airlock_pool_scrub(&adev->pool);
	airlock_pool_close(&adev->pool);
	if (adev->region)
		memunmap(adev->region);
	adev->region = NULL;
	if (adev->region_requested)
		pci_release_region(adev->pdev, adev->location.bar);
	adev->region_requested = false;
}
