// SPDX-License-Identifier: GPL-2.0-only
/*
 * debugfs/virtio_pci_airlock/<PCI name>/: how full the pool is, under the names that swiotlb uses
 * for its own (REQUIREMENTS DT-10), and how often it ran dry or refused something. Each number is
 * the sum over the areas at about the same time.
 */
#include <linux/debugfs.h>
#include <linux/fs.h>
#include <linux/seq_file.h>

#include "airlock.h"

static struct dentry *root;

static struct airlock_areas_stats stats_of(void *data)
{
	struct airlock_pool *pool = data;
	struct airlock_areas_stats stats;

	airlock_areas_stats(&pool->slots, &stats);
	return stats;
}

static int used_get(void *data, u64 *value)
{
	*value = stats_of(data).used;
	return 0;
}

DEFINE_DEBUGFS_ATTRIBUTE(used_fops, used_get, NULL, "%llu\n");

static int hiwater_get(void *data, u64 *value)
{
	*value = stats_of(data).used_hiwater;
	return 0;
}

/* Writing 0 starts a new measurement, as with swiotlb. */
static int hiwater_set(void *data, u64 value)
{
	struct airlock_pool *pool = data;

	if (value)
		return -EINVAL;
	airlock_areas_restart_hiwater(&pool->slots);
	return 0;
}

DEFINE_DEBUGFS_ATTRIBUTE(hiwater_fops, hiwater_get, hiwater_set, "%llu\n");

static int exhausted_get(void *data, u64 *value)
{
	*value = stats_of(data).exhausted;
	return 0;
}

DEFINE_DEBUGFS_ATTRIBUTE(exhausted_fops, exhausted_get, NULL, "%llu\n");

static int refused_get(void *data, u64 *value)
{
	*value = stats_of(data).refused;
	return 0;
}

DEFINE_DEBUGFS_ATTRIBUTE(refused_fops, refused_get, NULL, "%llu\n");

static int memory_type_show(struct seq_file *file, void *unused)
{
	const struct airlock_device *adev = file->private;

	seq_printf(file, "%s\n", adev->memory_type);
	return 0;
}

DEFINE_SHOW_ATTRIBUTE(memory_type);

void airlock_debugfs_init(void)
{
	root = debugfs_create_dir(AIRLOCK_NAME, NULL);
}

void airlock_debugfs_exit(void)
{
	debugfs_remove(root);
}

void airlock_debugfs_add(struct airlock_device *adev)
{
	struct airlock_pool *pool = &adev->pool;
	struct dentry *dir = debugfs_create_dir(pci_name(adev->pdev), root);

	debugfs_create_ulong("io_tlb_nslabs", 0400, dir, &pool->slots.count);
	debugfs_create_u32("areas", 0400, dir, &pool->slots.area_count);
	debugfs_create_file_unsafe("io_tlb_used", 0400, dir, pool, &used_fops);
	debugfs_create_file_unsafe("io_tlb_used_hiwater", 0600, dir, pool, &hiwater_fops);
	debugfs_create_file_unsafe("exhausted", 0400, dir, pool, &exhausted_fops);
	debugfs_create_file_unsafe("refused", 0400, dir, pool, &refused_fops);
	debugfs_create_file("memory_type", 0400, dir, adev, &memory_type_fops);
	adev->debugfs = dir;
}

void airlock_debugfs_remove(struct airlock_device *adev)
{
	debugfs_remove(adev->debugfs);
	adev->debugfs = NULL;
}
