// SPDX-License-Identifier: GPL-2.0-only
/*
 * Back end for kernels without virtio map operations: dma_map_ops on the PCI device. The virtio
 * core maps everything through the device's parent, so this catches rings, indirect tables and
 * buffers.
 */
#include <linux/dma-map-ops.h>
#include <linux/scatterlist.h>

#include "airlock.h"

#if !defined(CONFIG_DMA_OPS) && !defined(CONFIG_ARCH_HAS_DMA_OPS)
#error "this kernel has neither virtio_map_ops nor per-device dma_map_ops"
#endif

const char airlock_backend_name[] = "dma_map_ops";

static void *ops_alloc(struct device *dev, size_t size, dma_addr_t *handle, gfp_t gfp,
		       unsigned long attrs)
{
	return airlock_pool_alloc(airlock_pool_of(dev), size, handle);
}

static void ops_free(struct device *dev, size_t size, void *cpu_address, dma_addr_t handle,
		     unsigned long attrs)
{
	airlock_pool_free(airlock_pool_of(dev), handle);
}

#ifdef AIRLOCK_HAVE_MAP_PHYS
static dma_addr_t ops_map_phys(struct device *dev, phys_addr_t source, size_t size,
			       enum dma_data_direction direction, unsigned long attrs)
{
#ifdef AIRLOCK_HAVE_ATTR_MMIO
	if (attrs & DMA_ATTR_MMIO)
		return DMA_MAPPING_ERROR;
#endif
	return airlock_pool_map(airlock_pool_of(dev), source, size, direction, attrs);
}
#else
static dma_addr_t ops_map_page(struct device *dev, struct page *page, unsigned long offset,
			       size_t size, enum dma_data_direction direction, unsigned long attrs)
{
	return airlock_pool_map(airlock_pool_of(dev), page_to_phys(page) + offset, size, direction,
				attrs);
}
#endif

/* The direction that counts is the one recorded when the mapping was made. */
static void ops_unmap(struct device *dev, dma_addr_t handle, size_t size,
		      enum dma_data_direction direction, unsigned long attrs)
{
	airlock_pool_unmap(airlock_pool_of(dev), handle, size, attrs);
}

static void ops_unmap_sg(struct device *dev, struct scatterlist *list, int count,
			 enum dma_data_direction direction, unsigned long attrs)
{
	struct scatterlist *entry;
	int i;

	for_each_sg(list, entry, count, i)
		airlock_pool_unmap(airlock_pool_of(dev), sg_dma_address(entry), sg_dma_len(entry),
				   attrs);
}

static int ops_map_sg(struct device *dev, struct scatterlist *list, int count,
		      enum dma_data_direction direction, unsigned long attrs)
{
	struct scatterlist *entry;
	int i;

	for_each_sg(list, entry, count, i) {
		sg_dma_address(entry) = airlock_pool_map(airlock_pool_of(dev), sg_phys(entry),
							 entry->length, direction, attrs);
		if (sg_dma_address(entry) == DMA_MAPPING_ERROR) {
			ops_unmap_sg(dev, list, i, direction, attrs | DMA_ATTR_SKIP_CPU_SYNC);
			return -ENOMEM;
		}
		sg_dma_len(entry) = entry->length;
	}
	return count;
}

static void ops_sync_for_cpu(struct device *dev, dma_addr_t handle, size_t size,
			     enum dma_data_direction direction)
{
	airlock_pool_sync_for_cpu(airlock_pool_of(dev), handle, size);
}

static void ops_sync_for_device(struct device *dev, dma_addr_t handle, size_t size,
				enum dma_data_direction direction)
{
	airlock_pool_sync_for_device(airlock_pool_of(dev), handle, size);
}

static void ops_sync_sg_for_cpu(struct device *dev, struct scatterlist *list, int count,
				enum dma_data_direction direction)
{
	struct scatterlist *entry;
	int i;

	for_each_sg(list, entry, count, i)
		airlock_pool_sync_for_cpu(airlock_pool_of(dev), sg_dma_address(entry),
					  sg_dma_len(entry));
}

static void ops_sync_sg_for_device(struct device *dev, struct scatterlist *list, int count,
				   enum dma_data_direction direction)
{
	struct scatterlist *entry;
	int i;

	for_each_sg(list, entry, count, i)
		airlock_pool_sync_for_device(airlock_pool_of(dev), sg_dma_address(entry),
					     sg_dma_len(entry));
}

/* Handles are chosen here and not by the caller's memory, so any mask is good. */
static int ops_dma_supported(struct device *dev, u64 mask)
{
	return 1;
}

static u64 ops_required_mask(struct device *dev)
{
	return DMA_BIT_MASK(64);
}

static size_t ops_max_mapping_size(struct device *dev)
{
	return airlock_pool_max_mapping(airlock_pool_of(dev));
}

static const struct dma_map_ops airlock_dma_ops = {
	.alloc = ops_alloc,
	.free = ops_free,
#ifdef AIRLOCK_HAVE_MAP_PHYS
	.map_phys = ops_map_phys,
	.unmap_phys = ops_unmap,
#else
	.map_page = ops_map_page,
	.unmap_page = ops_unmap,
#endif
	.map_sg = ops_map_sg,
	.unmap_sg = ops_unmap_sg,
	.sync_single_for_cpu = ops_sync_for_cpu,
	.sync_single_for_device = ops_sync_for_device,
	.sync_sg_for_cpu = ops_sync_sg_for_cpu,
	.sync_sg_for_device = ops_sync_sg_for_device,
	.dma_supported = ops_dma_supported,
	.get_required_mask = ops_required_mask,
	.max_mapping_size = ops_max_mapping_size,
};

/*
 * Some kernels ask for an IOMMU before they look at dma_ops. What a device does inside its own BAR
 * never reaches the IOMMU, so the flag is put aside for as long as this driver owns the device.
 */
static void put_iommu_aside(struct airlock_device *adev)
{
#if defined(AIRLOCK_HAVE_DMA_IOMMU_BIT) && defined(CONFIG_IOMMU_DMA)
	adev->saved_dma_iommu = adev->pdev->dev.dma_iommu;
	adev->pdev->dev.dma_iommu = false;
#endif
}

static void bring_iommu_back(struct airlock_device *adev)
{
#if defined(AIRLOCK_HAVE_DMA_IOMMU_BIT) && defined(CONFIG_IOMMU_DMA)
	adev->pdev->dev.dma_iommu = adev->saved_dma_iommu;
#endif
}

int airlock_backend_attach(struct airlock_device *adev)
{
	struct device *dev = &adev->pdev->dev;
	int err;

	put_iommu_aside(adev);
	adev->saved_dma_ops = dev->dma_ops;
	set_dma_ops(dev, &airlock_dma_ops);
	/*
	 * Again, after vp_modern_probe() did it: this is where the kernel decides whether sync
	 * calls may be skipped, and with a bounce pool they may not.
	 */
	err = dma_set_mask_and_coherent(dev, DMA_BIT_MASK(64));
	if (err)
		airlock_backend_detach(adev);
	return err;
}

void airlock_backend_detach(struct airlock_device *adev)
{
	set_dma_ops(&adev->pdev->dev, adev->saved_dma_ops);
	bring_iommu_back(adev);
}
