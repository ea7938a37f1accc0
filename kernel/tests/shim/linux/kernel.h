/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Just enough of a kernel for airlock_pool.c in user space. Memory is one array of pages; its last
 * page is a peer device's. Whoever includes this in several files sees the same array.
 */
#ifndef AIRLOCK_SHIM_KERNEL_H
#define AIRLOCK_SHIM_KERNEL_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <linux/types.h>

#define GFP_KERNEL 0
#define ENOMEM 12
#define SZ_4M 0x400000
#define SHIM_PAGES 32UL
#define PAGE_SHIFT 12
#define PAGE_SIZE (1UL << PAGE_SHIFT)

#define DIV_ROUND_UP(n, d) (((n) + (d) - 1) / (d))
#define round_down(n, d) ((n) & ~((d) - 1))
#define min_t(type, a, b) ((type)(a) < (type)(b) ? (type)(a) : (type)(b))
#define BITS_TO_LONGS(bits) DIV_ROUND_UP(bits, 8 * sizeof(long))
#define PAGE_ALIGN(n) (((n) + PAGE_SIZE - 1) & ~(PAGE_SIZE - 1))
#define PHYS_PFN(address) ((unsigned long)((address) >> PAGE_SHIFT))
#define offset_in_page(address) ((address) & (PAGE_SIZE - 1))

typedef u64 dma_addr_t;
typedef u64 phys_addr_t;

struct device {
	unsigned int complaints;
};

#define dev_warn(dev, ...) ((dev)->complaints++, (void)snprintf(NULL, 0, __VA_ARGS__))
#define dev_err_ratelimited dev_warn

struct page {
	_Alignas(PAGE_SIZE) unsigned char bytes[PAGE_SIZE];
};

extern struct page shim_memory[SHIM_PAGES];

static inline bool pfn_valid(unsigned long pfn)
{
	return pfn < SHIM_PAGES;
}

static inline struct page *pfn_to_page(unsigned long pfn)
{
	return &shim_memory[pfn];
}

static inline bool is_pci_p2pdma_page(const struct page *page)
{
	return page == &shim_memory[SHIM_PAGES - 1];
}

static inline void *kmap_local_page(struct page *page)
{
	return page->bytes;
}

static inline void kunmap_local(void *address)
{
	(void)address;
}

static inline void *kvcalloc(size_t count, size_t size, int flags)
{
	(void)flags;
	return calloc(count, size);
}

static inline void kvfree(void *memory)
{
	free(memory);
}

#endif
