/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the files of this module share: one structure per device and who implements what.
 *
 * The module is a virtio-pci transport of its own, for devices that own a bounce region in a BAR.
 * It exists because only the transport can negotiate the region's feature bit, and because every
 * address that such a device sees, ring areas included, has to lie in the region. The virtio core,
 * virtio_ring and the device drivers (virtio_blk, virtio_net, ...) are the kernel's own, unchanged.
 *
 * The device is hostile until proven dull: what it presents is read once, checked once, and used
 * from the private copy.
 */
#ifndef AIRLOCK_H
#define AIRLOCK_H

#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/virtio.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci_modern.h>
#include <linux/workqueue.h>

#include "airlock_bound.h"
#include "airlock_caps.h"
#include "airlock_compat.h"
#include "airlock_pool.h"

struct airlock_shadow;

#define AIRLOCK_NAME "virtio_pci_airlock"

/* Addresses are bus addresses inside the region (REQUIREMENTS GEN-0, bit 27). */
#define AIRLOCK_F_SWIOTLB 27
/* Addresses are offsets in the region (REQUIREMENTS 1.9, bit 44, provisional). */
#define AIRLOCK_F_DMB 44
/* Named by newer headers only. */
#define AIRLOCK_F_NOTIFICATION_DATA 38

enum airlock_address_mode {
	AIRLOCK_ADDRESS_BUS,
	AIRLOCK_ADDRESS_OFFSET,
};

/* Of the configuration, what is kept of it: no driver that is taken has more. */
#define AIRLOCK_CONFIG_KEPT 256

struct airlock_vq {
	struct virtqueue *vq; /* published with release, read by interrupts */
	struct airlock_shadow *shadow; /* of a split queue; NULL for a packed one */
	bool stopped; /* before or in a reset: interrupts are ignored */
	u16 vector; /* VIRTIO_MSI_NO_VECTOR: a packed queue whose driver wants no callback */
	bool irq_requested;
	char irq_name[48];
};

struct airlock_device {
	struct virtio_device vdev;
	struct virtio_pci_modern_device mdev;
	struct pci_dev *pdev;

	u64 offered; /* the device's features, read once per negotiation (HD-16) */
	enum airlock_address_mode mode;
	bool event_idx; /* between the shadows of the queues and the device */
	u32 generation; /* of the configuration, as the core was told last */
	unsigned int generation_changes; /* in a row */
	bool dead; /* gone, or did not answer a reset in time: refuse to go on until it does */
	struct mutex vqs_lock; /* against the making and freeing of queues */

	/*
	 * A driver that was stopped gets its queues back, whatever the device does; see
	 * airlock_restore_driver(). While mute, nobody asks the device for anything: the status is
	 * kept here, the configuration is what it was, the queues are broken.
	 */
	bool restoring;
	bool mute;
	u8 mute_status;
	u8 config_kept[AIRLOCK_CONFIG_KEPT]; /* as the driver was told when it was bound */
	unsigned int vqs_bound; /* queues that it asked for then */
	u32 seg_max; /* that a disk's driver was told over packed rings; 0 before */
	u32 ring_limit; /* entries of a queue, at most */

	struct delayed_work watch;
	spinlock_t watch_lock; /* guards watching against a work item that queues itself */
	bool watching;
	bool given_up; /* until a reset: not worth restarting */
	unsigned int restarts; /* since restart_window, in jiffies */
	unsigned long restart_window;

	struct airlock_location location; /* of the region, as mapped */
	void *region; /* NULL until the first find_vqs */
	const char *memory_type; /* of that mapping, static */
	bool region_requested;
	struct airlock_pool pool;
	struct dentry *debugfs;

	struct airlock_vq *vqs;
	unsigned int vq_count;
	unsigned int vector_count;
	bool per_vq_vectors;
	bool config_irq_requested;
	bool shared_irq_requested;
	char config_irq_name[48];
	char shared_irq_name[48];

	/* What the dma_map_ops back end has to put back. */
	const struct dma_map_ops *saved_dma_ops;
	bool saved_dma_iommu;
};

static inline struct airlock_device *to_airlock(struct virtio_device *vdev)
{
	return container_of(vdev, struct airlock_device, vdev);
}

/* The pool behind a DMA device. Mappings fail, harmlessly, until the region is open. */
static inline struct airlock_pool *airlock_pool_of(struct device *dev)
{
	struct airlock_device *adev = pci_get_drvdata(to_pci_dev(dev));

	return &adev->pool;
}

/* airlock_pci.c */
extern struct pci_driver airlock_pci_driver;

/* airlock_pm.c */
extern const struct dev_pm_ops airlock_pm_ops;
void airlock_shutdown(struct pci_dev *pdev);

/*
 * airlock_recovery.c: looks after the device from start to stop. airlock_watch_now() may be called
 * in an interrupt; airlock_watch_settle() ends what a device that stopped has in flight.
 */
int airlock_recovery_init(void);
void airlock_recovery_exit(void);
void airlock_watch_init(struct airlock_device *adev);
void airlock_watch_start(struct airlock_device *adev);
void airlock_watch_now(struct airlock_device *adev);
void airlock_watch_settle(struct airlock_device *adev);
/* After virtio_device_freeze(). If this fails, the driver has queues all the same: broken ones. */
int airlock_restore_driver(struct airlock_device *adev);
void airlock_watch_stop(struct airlock_device *adev);

/* airlock_inflight.c */
void airlock_inflight_end(struct airlock_device *adev);

/* airlock_steer.c: getting the devices that are ours, and no others */
bool airlock_may_be_ours(struct pci_dev *pdev);
bool airlock_features_are_ours(struct pci_dev *pdev, u64 offered);
void airlock_give_back(struct pci_dev *pdev);
int airlock_steer_start(void);
void airlock_take_over(void);
void airlock_steer_stop(void);

/* airlock_features.c */
u64 airlock_get_features(struct virtio_device *vdev);
int airlock_finalize_features(struct virtio_device *vdev);
/* Pool bytes for the driver's largest request. Once the features are agreed upon; may sleep. */
size_t airlock_payload_min(struct virtio_device *vdev);

/*
 * airlock_blk.c: for disks; what was read of the configuration is mended in place. What one over
 * packed rings has in flight is bounded (airlock_bound.h): that takes so many bytes of pool at the
 * least, and allows that many entries of a ring.
 */
size_t airlock_blk_request_bytes(struct virtio_device *vdev);
bool airlock_blk_is_bounded(const struct virtio_device *vdev);
u64 airlock_blk_bounded_bytes(struct virtio_device *vdev, unsigned int vq_count);
u32 airlock_blk_bounded_entries(struct virtio_device *vdev, unsigned int vq_count);
void airlock_blk_check_config(struct virtio_device *vdev, unsigned int offset, u8 *bytes,
			      unsigned int length);

/* airlock_region.c: where the region is and what the device calls its first byte, for adev->mode */
int airlock_region_locate(struct airlock_device *adev, struct airlock_location *location,
			  dma_addr_t *handle_base);
/* Bytes of it that are used; 0 if it cannot be. */
u64 airlock_region_bytes(struct airlock_device *adev);
int airlock_region_open(struct airlock_device *adev, size_t ring_bytes, unsigned int vq_count);
void airlock_region_close(struct airlock_device *adev);

/* airlock_memtype.c: how a kernel mapping is cached, in the words of pat_memtype_list */
#define AIRLOCK_WRITE_BACK "write-back"
const char *airlock_memory_type(const void *address);

/* airlock_transport.c */
extern const struct virtio_config_ops airlock_config_ops;

/* airlock_vqs.c */
int airlock_find_vqs(struct virtio_device *vdev, unsigned int nvqs, struct virtqueue *vqs[],
		     struct virtqueue_info info[], struct irq_affinity *desc);
void airlock_del_vqs(struct virtio_device *vdev);
#ifdef AIRLOCK_HAVE_VQ_RESET
int airlock_disable_vq_and_reset(struct virtqueue *vq);
int airlock_enable_vq_after_reset(struct virtqueue *vq);
#endif
/* Before a reset: when this returns, no callback runs, and none will until the queues are new. */
void airlock_stop_vqs(struct airlock_device *adev);
void airlock_synchronize_cbs(struct virtio_device *vdev);
int airlock_set_vq_affinity(struct virtqueue *vq, const struct cpumask *mask);
const struct cpumask *airlock_get_vq_affinity(struct virtio_device *vdev, int index);

/* airlock_dma_ops.c or airlock_map_ops.c, whichever Kbuild chose */
extern const char airlock_backend_name[];
int airlock_backend_attach(struct airlock_device *adev);
void airlock_backend_detach(struct airlock_device *adev);

/* airlock_debugfs.c */
void airlock_debugfs_init(void);
void airlock_debugfs_exit(void);
void airlock_debugfs_add(struct airlock_device *adev);
void airlock_debugfs_remove(struct airlock_device *adev);

#endif
