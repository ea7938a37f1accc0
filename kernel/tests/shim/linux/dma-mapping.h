/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef AIRLOCK_SHIM_DMA_MAPPING_H
#define AIRLOCK_SHIM_DMA_MAPPING_H

#include <linux/dma-direction.h>
#include <linux/kernel.h>

#define DMA_MAPPING_ERROR (~(dma_addr_t)0)
#define DMA_ATTR_SKIP_CPU_SYNC (1UL << 5)

#endif
