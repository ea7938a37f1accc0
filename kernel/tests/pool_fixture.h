/* SPDX-License-Identifier: GPL-2.0-only */
/* What tests of the pool share: a pool over pretended pages, and both sides' view of them. */
#ifndef AIRLOCK_TESTS_POOL_FIXTURE_H
#define AIRLOCK_TESTS_POOL_FIXTURE_H

#include <linux/dma-mapping.h>
#include <linux/tracepoint.h>

#include "airlock_pool.h"
#include "expect.h"

#define BUS 0x800000000ULL
#define MIB (1UL << 20)

static unsigned char *region;
static struct device device;
static struct airlock_pool pool;

static inline unsigned char *source(phys_addr_t address)
{
	return (unsigned char *)shim_memory + address;
}

/* What the device sees at a handle. */
static inline unsigned char *shown(dma_addr_t handle)
{
	return region + (handle - BUS);
}

static inline bool all(const unsigned char *bytes, size_t length, unsigned char value)
{
	return length == 0 ||
	       (*bytes == value && memcmp(bytes, bytes + 1, length - 1) == 0);
}

/* A machine of that many CPUs, of which this is CPU 0. */
static inline void open_pool_for(size_t pool_bytes, unsigned int cpus, size_t request_bytes)
{
	shim_cpus = cpus;
	shim_cpu = 0;
	region = aligned_alloc(PAGE_SIZE, pool_bytes);
	EXPECT(region);
	memset(region, 0xee, pool_bytes); /* whatever a device left there */
	memset(shim_memory, 0x5a, sizeof(shim_memory));
	device.complaints = 0;
	airlock_pool_init(&pool, &device);
	EXPECT(airlock_pool_open(&pool, region, BUS, pool_bytes, request_bytes) == 0);
}

static inline struct airlock_areas_stats stats(void)
{
	struct airlock_areas_stats result;

	airlock_areas_stats(&pool.slots, &result);
	return result;
}

/* Nothing is left over, and nothing was complained about but what was meant to be refused. */
static inline void close_pool(unsigned long refused)
{
	EXPECT(stats().refused == refused);
	airlock_pool_close(&pool);
	EXPECT(device.complaints == refused);
	free(region);
}

static inline dma_addr_t map(phys_addr_t address, size_t length, enum dma_data_direction direction)
{
	return airlock_pool_map(&pool, address, length, direction, 0);
}

#endif
