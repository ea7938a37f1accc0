// SPDX-License-Identifier: GPL-2.0-only
/*
 * Back end for kernels that let a transport map for its own devices: virtio_map_ops. The PCI device
 * keeps its DMA operations, so a guest IOMMU does not get in the way.
 */
#include <linux/dma-mapping.h>

#include "airlock.h"

const char airlock_backend_name[] = "virtio_map_ops";

static struct airlock_pool *pool_of(union virtio_map map)
{
	return airlock_pool_of(map.dma_dev);
}

static dma_addr_t map_page(union virtio_map map, struct page *page, unsigned long offset,
			   size_t size, enum dma_data_direction direction, unsigned long attrs)
{
#ifdef AIRLOCK_HAVE_ATTR_MMIO
	if (attrs & DMA_ATTR_MMIO)
		return DMA_MAPPING_ERROR;
#endif
	return airlock_pool_map(pool_of(map), page_to_phys(page) + offset, size, direction, attrs);
}

/* The direction that counts is the one recorded when the mapping was made. */
static void unmap_page(union virtio_map map, dma_addr_t handle, size_t size,
		       enum dma_data_direction direction, unsigned long attrs)
{
	airlock_pool_unmap(pool_of(map), handle, size, attrs);
}

static void sync_for_cpu(union virtio_map map, dma_addr_t handle, size_t size,
			 enum dma_data_direction direction)
{
	airlock_pool_sync_for_cpu(pool_of(map), handle, size);
}

static void sync_for_device(union virtio_map map, dma_addr_t handle, size_t size,
			    enum dma_data_direction direction)
{
	airlock_pool_sync_for_device(pool_of(map), handle, size);
}

static void *alloc_coherent(union virtio_map map, size_t size, dma_addr_t *handle, gfp_t gfp)
{
	return airlock_pool_alloc(pool_of(map), size, handle);
}

static void free_coherent(union virtio_map map, size_t size, void *cpu_address,
			  dma_addr_t handle, unsigned long attrs)
{
	airlock_pool_free(pool_of(map), handle);
}

static bool need_sync(union virtio_map map, dma_addr_t handle)
{
	return true;
}

static int mapping_error(union virtio_map map, dma_addr_t handle)
{
	return handle == DMA_MAPPING_ERROR ? -ENOMEM : 0;
}

static size_t max_mapping_size(union virtio_map map)
{
	return airlock_pool_max_mapping(pool_of(map));
}

static const struct virtio_map_ops airlock_virtio_map_ops = {
	.map_page = map_page,
	.unmap_page = unmap_page,
	.sync_single_for_cpu = sync_for_cpu,
	.sync_single_for_device = sync_for_device,
	.alloc = alloc_coherent,
	.free = free_coherent,
	.need_sync = need_sync,
	.mapping_error = mapping_error,
	.max_mapping_size = max_mapping_size,
};

int airlock_backend_attach(struct airlock_device *adev)
{
	adev->vdev.vmap.dma_dev = &adev->pdev->dev;
	adev->vdev.map = &airlock_virtio_map_ops;
	return 0;
}

void airlock_backend_detach(struct airlock_device *adev)
{
}
