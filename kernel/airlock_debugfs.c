// SPDX-License-Identifier: GPL-2.0-only
/*
 * debugfs/virtio_pci_airlock/<PCI name>/: how full the pool is, under the names that swiotlb uses
 * for its own (REQUIREMENTS DT-10), and how often it ran dry or refused something.
 */
#include <linux/debugfs.h>
#include <linux/fs.h>

#include "airlock.h"

static struct dentry *root;

static int hiwater_get(void *data, u64 *value)
{
	const struct airlock_pool *pool = data;

	*value = READ_ONCE(pool->slots.used_hiwater);
	return 0;
}

/* Writing 0 starts a new measurement, as with swiotlb. */
static int hiwater_set(void *data, u64 value)
{
	struct airlock_pool *pool = data;
	unsigned long flags;

	if (value)
		return -EINVAL;
	spin_lock_irqsave(&pool->lock, flags);
	pool->slots.used_hiwater = pool->slots.used;
	spin_unlock_irqrestore(&pool->lock, flags);
	return 0;
}

DEFINE_DEBUGFS_ATTRIBUTE(hiwater_fops, hiwater_get, hiwater_set, "%llu\n");

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
	debugfs_create_ulong("io_tlb_used", 0400, dir, &pool->slots.used);
	debugfs_create_file_unsafe("io_tlb_used_hiwater", 0600, dir, pool, &hiwater_fops);
	debugfs_create_ulong("exhausted", 0400, dir, &pool->exhausted);
	debugfs_create_ulong("refused", 0400, dir, &pool->refused);
	adev->debugfs = dir;
}

void airlock_debugfs_remove(struct airlock_device *adev)
{
	debugfs_remove(adev->debugfs);
	adev->debugfs = NULL;
}
