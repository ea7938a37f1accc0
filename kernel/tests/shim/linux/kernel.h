/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Just enough of a kernel for the pool in user space. Memory is one array of pages; its last page
 * is a peer device's. A thread is the CPU that it says it is.
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
#define SHIM_PAGES 1024UL
#define PAGE_SHIFT 12
#define PAGE_SIZE (1UL << PAGE_SHIFT)

#define DIV_ROUND_UP(n, d) (((n) + (d) - 1) / (d))
#define round_down(n, d) ((n) & ~((d) - 1))
#define round_up(n, d) round_down((n) + (d) - 1, d)
#define shim_choose(type, a, b, relation)                     \
	__extension__({                                       \
		const type shim_a = (a);                      \
		const type shim_b = (b);                      \
		shim_a relation shim_b ? shim_a : shim_b;     \
	})
#define min_t(type, a, b) shim_choose(type, a, b, <)
#define max_t(type, a, b) shim_choose(type, a, b, >)
#define clamp_t(type, n, low, high) (max_t(type, low, min_t(type, n, high)))
#define BITS_PER_LONG (8 * sizeof(long))
#define BITS_TO_LONGS(bits) DIV_ROUND_UP(bits, BITS_PER_LONG)
#define BIT_WORD(bit) ((bit) / BITS_PER_LONG)
#define ____cacheline_aligned_in_smp __attribute__((aligned(64)))
#define likely(condition) (condition)
#define container_of(pointer, type, member) \
	((type *)((char *)(pointer) - offsetof(type, member)))
#define cond_resched() ((void)0)
#define PAGE_ALIGN(n) (((n) + PAGE_SIZE - 1) & ~(PAGE_SIZE - 1))
#define PHYS_PFN(address) ((unsigned long)((address) >> PAGE_SHIFT))
#define offset_in_page(address) ((address) & (PAGE_SIZE - 1))

typedef u64 dma_addr_t;
typedef u64 phys_addr_t;

struct device {
	unsigned int complaints;
};

#define dev_warn(dev, ...)                                              \
	(__atomic_fetch_add(&(dev)->complaints, 1, __ATOMIC_RELAXED), \
	 (void)snprintf(NULL, 0, __VA_ARGS__))
#define dev_err_ratelimited dev_warn

struct page {
	_Alignas(PAGE_SIZE) unsigned char bytes[PAGE_SIZE];
};

extern struct page shim_memory[SHIM_PAGES];
extern unsigned int shim_cpus;
extern _Thread_local unsigned int shim_cpu;

static inline unsigned int num_possible_cpus(void)
{
	return shim_cpus;
}

static inline unsigned int raw_smp_processor_id(void)
{
	return shim_cpu;
}

static inline unsigned long rounddown_pow_of_two(unsigned long n)
{
	while (n & (n - 1))
		n &= n - 1;
	return n;
}

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
	size_t bytes = round_up(count * size, 64UL);
	void *memory = aligned_alloc(64, bytes);

	(void)flags;
	return memory ? memset(memory, 0, bytes) : NULL;
}

static inline void kvfree(void *memory)
{
	free(memory);
}

#endif
