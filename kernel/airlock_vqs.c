// SPDX-License-Identifier: GPL-2.0-only
/*
 * Virtqueues and their interrupts. One MSI-X vector for configuration changes and one for each
 * queue that needs one, or one for all queues; no INTx, which our devices do not have.
 *
 * A packed ring is virtio_ring's own, in the region. A split one has a shadow (airlock_shadow.h),
 * because virtio_ring trusts what is stored in a split ring.
 *
 * Order is the whole point of the teardown: no interrupt may find a queue that is being freed
 * (HD-18), so vectors go first, queues second.
 */
#include <linux/delay.h>
#include <linux/interrupt.h>
#include <linux/jiffies.h>
#include <linux/log2.h>
#include <linux/virtio_ring.h>

#include "airlock.h"
#include "airlock_shadow.h"
#include "core/range.h"

#define CONFIG_VECTOR 0
#define SHARED_VECTOR 1
#define RING_ALIGN SMP_CACHE_BYTES
/* As long as for the whole device (HD-19). */
#define QUEUE_RESET_DEADLINE_MS 10000
/* Of a queue that nobody serves. */
#define MUTE_QUEUE_SIZE 16

static struct airlock_vq *slot_of(struct virtqueue *vq)
{
	return &to_airlock(vq->vdev)->vqs[vq->index];
}

static bool notify_packed(struct virtqueue *vq)
{
	/* A queue that nobody serves. */
	if (!vq->priv)
		return false;
	iowrite16(vq->index, (void __force __iomem *)vq->priv);
	return true;
}

static bool notify_split(struct virtqueue *vq)
{
	bool notify;

	if (!airlock_shadow_publish(slot_of(vq)->shadow, &notify))
		return false;
	if (notify)
		iowrite16(vq->index, (void __force __iomem *)vq->priv);
	return true;
}

static irqreturn_t config_interrupt(int irq, void *cookie)
{
	struct airlock_device *adev = cookie;

	/* The device stops itself when it is handed an address outside the region (DEF-5). */
	if (vp_modern_get_status(&adev->mdev) & VIRTIO_CONFIG_S_NEEDS_RESET)
		airlock_watch_now(adev);
	virtio_config_changed(&adev->vdev);
	return IRQ_HANDLED;
}

/* Nothing happens before the queue is whole, or while it is being reset: HD-17, HD-18, HD-20. */
static irqreturn_t queue_interrupt(int irq, void *cookie)
{
	struct airlock_vq *slot = cookie;
	/* Pairs with the release stores in setup_vq() and airlock_enable_vq_after_reset(). */
	struct virtqueue *vq = smp_load_acquire(&slot->vq);

	if (!vq || smp_load_acquire(&slot->stopped))
		return IRQ_NONE;
	if (slot->shadow)
		return airlock_shadow_interrupt(slot->shadow, irq);
	return vring_interrupt(irq, vq);
}

static irqreturn_t shared_interrupt(int irq, void *cookie)
{
	struct airlock_device *adev = cookie;
	irqreturn_t result = IRQ_NONE;
	unsigned int i;

	for (i = 0; i < adev->vq_count; i++)
		if (adev->vqs[i].vector != VIRTIO_MSI_NO_VECTOR &&
		    queue_interrupt(irq, &adev->vqs[i]) == IRQ_HANDLED)
			result = IRQ_HANDLED;
	return result;
}

/*
 * How many vectors the queues need: the first ones for queues with a callback, which are those
 * that a driver may want spread over the processors; behind them, those for queues that are
 * polled, which a shadow needs all the same.
 */
struct vector_need {
	unsigned int callbacks;
	unsigned int polled;
};

static bool has_shadow(struct virtio_device *vdev)
{
	return !__virtio_test_bit(vdev, VIRTIO_F_RING_PACKED);
}

static struct vector_need count_vectors(struct virtio_device *vdev, unsigned int nvqs,
					const struct virtqueue_info info[])
{
	struct vector_need need = {};
	unsigned int i;

	for (i = 0; i < nvqs; i++) {
		if (!info[i].name)
			continue;
		if (info[i].callback)
			need.callbacks++;
		else if (has_shadow(vdev))
			need.polled++;
	}
	return need;
}

/*
 * One vector a queue if the device has that many, otherwise two. Sets vector_count,
 * per_vq_vectors.
 */
static int allocate_vectors(struct airlock_device *adev, struct vector_need need,
			    const struct irq_affinity *desc)
{
	unsigned int wanted = 1 + need.callbacks + need.polled;
	unsigned int flags = PCI_IRQ_MSIX;
	struct irq_affinity affinity = {};
	int count;

	if (desc) {
		affinity = *desc;
		affinity.pre_vectors++;
		affinity.post_vectors += need.polled;
		flags |= PCI_IRQ_AFFINITY;
	}
	count = pci_alloc_irq_vectors_affinity(adev->pdev, wanted, wanted, flags,
					       desc ? &affinity : NULL);
	adev->per_vq_vectors = count > 0;
	if (count < 0)
		count = pci_alloc_irq_vectors(adev->pdev, 2, 2, PCI_IRQ_MSIX);
	if (count < 0) {
		pci_err(adev->pdev, "airlock: fewer than two MSI-X vectors: %d\n", count);
		return count;
	}
	adev->vector_count = count;
	return 0;
}

static int request_fixed_irqs(struct airlock_device *adev)
{
	int err;

	snprintf(adev->config_irq_name, sizeof(adev->config_irq_name), "%s-config",
		 dev_name(&adev->vdev.dev));
	err = request_irq(pci_irq_vector(adev->pdev, CONFIG_VECTOR), config_interrupt, 0,
			  adev->config_irq_name, adev);
	if (err)
		return err;
	adev->config_irq_requested = true;
	if (vp_modern_config_vector(&adev->mdev, CONFIG_VECTOR) == VIRTIO_MSI_NO_VECTOR)
		return -EBUSY;
	if (adev->per_vq_vectors)
		return 0;

	snprintf(adev->shared_irq_name, sizeof(adev->shared_irq_name), "%s-virtqueues",
		 dev_name(&adev->vdev.dev));
	err = request_irq(pci_irq_vector(adev->pdev, SHARED_VECTOR), shared_interrupt, 0,
			  adev->shared_irq_name, adev);
	if (!err)
		adev->shared_irq_requested = true;
	return err;
}

/*
 * Size of a queue as the device states it, or an error; checked before anything is derived
 * (HD-14).
 */
static int queue_size(struct airlock_device *adev, u16 index)
{
	u16 size;

	if (index >= vp_modern_get_num_queues(&adev->mdev))
		return -EINVAL;
	size = vp_modern_get_queue_size(&adev->mdev, index);
	if (!size || vp_modern_get_queue_enable(&adev->mdev, index))
		return -ENOENT;
	if (size > SZ_32K)
		return -EINVAL;
	if (!__virtio_test_bit(&adev->vdev, VIRTIO_F_RING_PACKED) && !is_power_of_2(size))
		return -EINVAL;
	return size;
}

static void __iomem *bad_notify_offset(struct airlock_device *adev, u16 index, u64 offset)
{
	pci_err(adev->pdev, "airlock: queue %u: no notify address at offset %#llx\n", index,
		offset);
	return NULL;
}

/*
 * Where to notify a queue, or NULL: read once, inside the notify structure and aligned, because an
 * unaligned access to a device stops some processors (HD-14, VIRTIO 1.3, 4.1.4.4). The library's
 * own function does not look at the alignment, and multiplies in 32 bits.
 */
static void __iomem *map_notify(struct airlock_device *adev, u16 index)
{
	struct virtio_pci_modern_device *mdev = &adev->mdev;
	struct airlock_location notify;
	u64 offset;

	vp_iowrite16(index, &mdev->common->queue_select);
	offset = (u64)vp_ioread16(&mdev->common->queue_notify_off) * mdev->notify_offset_multiplier;
	if (!IS_ALIGNED(offset, sizeof(u16)))
		return bad_notify_offset(adev, index, offset);
	if (mdev->notify_base) {
		if (!airlock_range_within(offset, sizeof(u16), mdev->notify_len))
			return bad_notify_offset(adev, index, offset);
		return mdev->notify_base + offset;
	}
	if (airlock_caps_find(adev->pdev, VIRTIO_PCI_CAP_NOTIFY_CFG, AIRLOCK_ANY_ID, &notify) ||
	    !airlock_range_within(offset, sizeof(u16), notify.length) ||
	    !IS_ALIGNED(notify.offset, sizeof(u16)))
		return bad_notify_offset(adev, index, offset);
	return pci_iomap_range(adev->pdev, notify.bar, notify.offset + offset, sizeof(u16));
}

/* Tells the device all about a queue but that it may start. */
static int activate_vq(struct airlock_device *adev, struct airlock_vq *slot)
{
	struct virtio_pci_modern_device *mdev = &adev->mdev;
	struct virtqueue *vq = slot->vq;
	struct airlock_shadow_handles handles;

	if (slot->shadow) {
		airlock_shadow_handles(slot->shadow, &handles);
	} else {
		handles.desc = virtqueue_get_desc_addr(vq);
		handles.avail = virtqueue_get_avail_addr(vq);
		handles.used = virtqueue_get_used_addr(vq);
	}
	vp_modern_set_queue_size(mdev, vq->index, virtqueue_get_vring_size(vq));
	vp_modern_queue_address(mdev, vq->index, handles.desc, handles.avail, handles.used);
	if (slot->vector != VIRTIO_MSI_NO_VECTOR &&
	    vp_modern_queue_vector(mdev, vq->index, slot->vector) == VIRTIO_MSI_NO_VECTOR)
		return -EBUSY;
	return 0;
}

static struct virtqueue *create_vq(struct airlock_device *adev, struct airlock_vq *slot, u16 index,
				   const struct virtqueue_info *info, u16 size)
{
	struct virtio_device *vdev = &adev->vdev;

	if (!has_shadow(vdev))
		return vring_create_virtqueue(index, size, RING_ALIGN, vdev, true, true, info->ctx,
					      notify_packed, info->callback, info->name);
	slot->shadow = airlock_shadow_create(adev, size);
	if (!slot->shadow)
		return NULL;
	return airlock_shadow_new_vq(slot->shadow, index, info, notify_split);
}

static int setup_vq(struct airlock_device *adev, struct airlock_vq *slot, u16 index,
		    const struct virtqueue_info *info, u16 vector)
{
	int size = queue_size(adev, index);
	struct virtqueue *vq;
	int err;

	if (size < 0) {
		pci_err(adev->pdev, "airlock: queue %u cannot be used: %d\n", index, size);
		return size;
	}
	size = min_t(u32, size, adev->ring_limit);
	slot->vector = vector;
	vq = create_vq(adev, slot, index, info, size);
	if (!vq)
		return -ENOMEM;
	vq->num_max = size;
	/* Pairs with the acquire in queue_interrupt(): a queue is seen whole or not at all. */
	smp_store_release(&slot->vq, vq);
	vq->priv = (void __force *)map_notify(adev, index);
	if (!vq->priv)
		return -EINVAL;
	err = activate_vq(adev, slot);
	if (err || !adev->per_vq_vectors || vector == VIRTIO_MSI_NO_VECTOR)
		return err;

	snprintf(slot->irq_name, sizeof(slot->irq_name), "%s-%s", dev_name(&adev->vdev.dev),
		 info->name);
	err = request_irq(pci_irq_vector(adev->pdev, vector), queue_interrupt, 0, slot->irq_name,
			  slot);
	if (!err)
		slot->irq_requested = true;
	return err;
}

/* Ring memory that the queues will take from the pool, pages included. */
static int ring_bytes(struct airlock_device *adev, unsigned int nvqs,
		      const struct virtqueue_info info[], size_t *bytes)
{
	unsigned int i;
	u16 index = 0;

	*bytes = 0;
	for (i = 0; i < nvqs; i++) {
		int size;

		if (!info[i].name)
			continue;
		size = queue_size(adev, index++);
		if (size < 0)
			return size;
		/* Two pages more: a packed ring keeps its event structures apart. */
		*bytes += PAGE_ALIGN(vring_size(size, RING_ALIGN)) + 2 * PAGE_SIZE;
	}
	return 0;
}

static int setup_all(struct airlock_device *adev, unsigned int nvqs, struct virtqueue *vqs[],
		     const struct virtqueue_info info[], struct vector_need need)
{
	u16 next_vector = SHARED_VECTOR;
	u16 next_polled = SHARED_VECTOR + need.callbacks;
	unsigned int i;
	u16 index = 0;

	for (i = 0; i < nvqs; i++) {
		u16 vector = VIRTIO_MSI_NO_VECTOR;
		int err;

		if (!info[i].name) {
			vqs[i] = NULL;
			continue;
		}
		if (info[i].callback)
			vector = adev->per_vq_vectors ? next_vector++ : SHARED_VECTOR;
		else if (has_shadow(&adev->vdev))
			vector = adev->per_vq_vectors ? next_polled++ : SHARED_VECTOR;
		err = setup_vq(adev, &adev->vqs[index], index, &info[i], vector);
		if (err)
			return err;
		vqs[i] = adev->vqs[index++].vq;
	}
	/* Last of all: once a queue is enabled, only a reset takes it back. */
	for (i = 0; i < index; i++)
		vp_modern_set_queue_enable(&adev->mdev, i, true);
	return 0;
}

/*
 * Queues that nobody serves, in the pool that they had, without interrupts and broken. What a
 * driver adds to them it gets back as an error.
 */
static int setup_mute(struct airlock_device *adev, unsigned int nvqs, struct virtqueue *vqs[],
		      const struct virtqueue_info info[])
{
	unsigned int i;
	u16 index = 0;

	for (i = 0; i < nvqs; i++) {
		struct airlock_vq *slot = &adev->vqs[index];

		vqs[i] = NULL;
		if (!info[i].name)
			continue;
		slot->vector = VIRTIO_MSI_NO_VECTOR;
		slot->stopped = true;
		slot->vq = create_vq(adev, slot, index, &info[i], MUTE_QUEUE_SIZE);
		if (!slot->vq)
			return -ENOMEM;
		slot->vq->num_max = MUTE_QUEUE_SIZE;
		if (slot->shadow)
			airlock_shadow_stop(slot->shadow);
		__virtqueue_break(slot->vq);
		vqs[i] = slot->vq;
		index++;
	}
	return 0;
}

/* A driver that is only restored has arrays as long as the queues that it had. */
static int check_count(struct airlock_device *adev, unsigned int nvqs)
{
	if (!adev->restoring)
		adev->vqs_bound = nvqs;
	if (nvqs == adev->vqs_bound)
		return 0;
	pci_err(adev->pdev, "airlock: %u queues, and not %u as before\n", nvqs, adev->vqs_bound);
	return -EINVAL;
}

static int open_region(struct airlock_device *adev, unsigned int nvqs,
		       const struct virtqueue_info info[])
{
	size_t bytes;
	int err;

	if (adev->dead)
		return -EIO;
	err = ring_bytes(adev, nvqs, info, &bytes);
	if (!err)
		err = airlock_region_open(adev, bytes, nvqs);
	if (err)
		return err;
	adev->ring_limit = U32_MAX;
	if (airlock_blk_is_bounded(&adev->vdev))
		adev->ring_limit = airlock_blk_bounded_entries(&adev->vdev, nvqs);
	return 0;
}

int airlock_find_vqs(struct virtio_device *vdev, unsigned int nvqs, struct virtqueue *vqs[],
		     struct virtqueue_info info[], struct irq_affinity *desc)
{
	struct airlock_device *adev = to_airlock(vdev);
	struct vector_need need = count_vectors(vdev, nvqs, info);
	int err = check_count(adev, nvqs);

	if (!err && !adev->mute)
		err = open_region(adev, nvqs, info);
	if (err)
		return err;
	adev->vqs = kcalloc(nvqs, sizeof(*adev->vqs), GFP_KERNEL);
	if (!adev->vqs)
		return -ENOMEM;
	adev->vq_count = nvqs;
	if (adev->mute) {
		err = setup_mute(adev, nvqs, vqs, info);
	} else {
		err = allocate_vectors(adev, need, desc);
		if (!err)
			err = request_fixed_irqs(adev);
		if (!err)
			err = setup_all(adev, nvqs, vqs, info, need);
	}
	if (err)
		airlock_del_vqs(vdev);
	return err;
}

static void free_irqs(struct airlock_device *adev)
{
	unsigned int i;

	for (i = 0; i < adev->vq_count; i++) {
		if (adev->vqs[i].irq_requested)
			free_irq(pci_irq_vector(adev->pdev, adev->vqs[i].vector), &adev->vqs[i]);
		adev->vqs[i].irq_requested = false;
	}
	if (adev->shared_irq_requested)
		free_irq(pci_irq_vector(adev->pdev, SHARED_VECTOR), adev);
	if (adev->config_irq_requested)
		free_irq(pci_irq_vector(adev->pdev, CONFIG_VECTOR), adev);
	adev->shared_irq_requested = false;
	adev->config_irq_requested = false;
}

void airlock_del_vqs(struct virtio_device *vdev)
{
	struct airlock_device *adev = to_airlock(vdev);
	unsigned int i;

	free_irqs(adev);
	for (i = 0; i < adev->vq_count; i++) {
		struct virtqueue *vq = adev->vqs[i].vq;

		if (vq) {
			vp_modern_queue_vector(&adev->mdev, vq->index, VIRTIO_MSI_NO_VECTOR);
			if (!adev->mdev.notify_base && vq->priv)
				pci_iounmap(adev->pdev, (void __force __iomem *)vq->priv);
			vring_del_virtqueue(vq);
		}
		airlock_shadow_destroy(adev->vqs[i].shadow);
	}
	if (adev->vector_count) {
		vp_modern_config_vector(&adev->mdev, VIRTIO_MSI_NO_VECTOR);
		pci_free_irq_vectors(adev->pdev);
	}
	kfree(adev->vqs);
	adev->vqs = NULL;
	adev->vq_count = 0;
	adev->vector_count = 0;
	adev->per_vq_vectors = false;
}

#ifdef AIRLOCK_HAVE_VQ_RESET
static int wait_for_queue_reset(struct airlock_device *adev, u16 index)
{
	unsigned long deadline = jiffies + msecs_to_jiffies(QUEUE_RESET_DEADLINE_MS);

	while (vp_modern_get_queue_reset(&adev->mdev, index) ||
	       vp_modern_get_queue_enable(&adev->mdev, index)) {
		if (time_after(jiffies, deadline)) {
			pci_err(adev->pdev,
				"airlock: queue %u: no answer to a reset within %u ms\n", index,
				QUEUE_RESET_DEADLINE_MS);
			return -ETIMEDOUT;
		}
		usleep_range(500, 1000);
	}
	return 0;
}

/*
 * VIRTIO 1.3, 2.6.1, 4.1.4.3. The driver above keeps off the queue by itself; its interrupts are
 * ignored from here on, and when this returns no callback runs (HD-18). The queue breaks if the
 * device does not answer in time (HD-19), and all that was in it stays with it.
 */
int airlock_disable_vq_and_reset(struct virtqueue *vq)
{
	struct airlock_device *adev = to_airlock(vq->vdev);
	struct virtio_pci_modern_common_cfg __iomem *common =
		(struct virtio_pci_modern_common_cfg __iomem *)adev->mdev.common;
	int err;

	if (!virtio_has_feature(vq->vdev, VIRTIO_F_RING_RESET))
		return -ENOENT;
	WRITE_ONCE(slot_of(vq)->stopped, true);
	vp_iowrite16(vq->index, &common->cfg.queue_select);
	vp_iowrite16(1, &common->queue_reset);
	err = wait_for_queue_reset(adev, vq->index);
	if (err)
		__virtqueue_break(vq);
	airlock_synchronize_cbs(vq->vdev);
	vq->reset = !err;
	return err;
}

int airlock_enable_vq_after_reset(struct virtqueue *vq)
{
	struct airlock_device *adev = to_airlock(vq->vdev);
	struct airlock_vq *slot = slot_of(vq);
	int err;

	if (!vq->reset || vp_modern_get_queue_reset(&adev->mdev, vq->index) ||
	    vp_modern_get_queue_enable(&adev->mdev, vq->index))
		return -EBUSY;
	err = activate_vq(adev, slot);
	if (err)
		return err;
	__virtqueue_unbreak(vq);
	/* Pairs with the acquire in queue_interrupt(). */
	smp_store_release(&slot->stopped, false);
	vp_modern_set_queue_enable(&adev->mdev, vq->index, true);
	vq->reset = false;
	return 0;
}
#endif

void airlock_stop_vqs(struct airlock_device *adev)
{
	unsigned int i;

	for (i = 0; i < adev->vq_count; i++) {
		WRITE_ONCE(adev->vqs[i].stopped, true);
		if (adev->vqs[i].shadow)
			airlock_shadow_stop(adev->vqs[i].shadow);
	}
	airlock_synchronize_cbs(&adev->vdev);
}

void airlock_synchronize_cbs(struct virtio_device *vdev)
{
	struct airlock_device *adev = to_airlock(vdev);
	unsigned int i;

	for (i = 0; i < adev->vector_count; i++)
		synchronize_irq(pci_irq_vector(adev->pdev, i));
}

/* A shared vector follows no single queue, so only private ones can be steered. */
int airlock_set_vq_affinity(struct virtqueue *vq, const struct cpumask *mask)
{
	struct airlock_device *adev = to_airlock(vq->vdev);

	if (!vq->callback)
		return -EINVAL;
	if (!mask || !adev->per_vq_vectors)
		return 0;
	return irq_set_affinity(pci_irq_vector(adev->pdev, adev->vqs[vq->index].vector), mask);
}

const struct cpumask *airlock_get_vq_affinity(struct virtio_device *vdev, int index)
{
	struct airlock_device *adev = to_airlock(vdev);

	if (!adev->per_vq_vectors || index < 0 || index >= adev->vq_count ||
	    adev->vqs[index].vector == VIRTIO_MSI_NO_VECTOR)
		return NULL;
	return pci_irq_get_affinity(adev->pdev, adev->vqs[index].vector);
}
