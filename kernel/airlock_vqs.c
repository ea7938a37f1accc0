// SPDX-License-Identifier: GPL-2.0-only
/*
 * Virtqueues and their interrupts. One MSI-X vector for configuration changes and one for each
 * queue with a callback; if the device has fewer, one vector is shared by all queues. There is no
 * INTx: our devices have none, and a region behind a level-triggered line has no use for one.
 *
 * Order is the whole point of the teardown: no interrupt may find a queue that is being freed
 * (HD-18), so vectors go first, queues second.
 */
#include <linux/interrupt.h>
#include <linux/log2.h>
#include <linux/virtio_ring.h>

#include "airlock.h"

#define CONFIG_VECTOR 0
#define SHARED_VECTOR 1
#define RING_ALIGN SMP_CACHE_BYTES

static bool notify(struct virtqueue *vq)
{
	iowrite16(vq->index, (void __force __iomem *)vq->priv);
	return true;
}

static irqreturn_t config_interrupt(int irq, void *cookie)
{
	struct airlock_device *adev = cookie;

	/* The device stops itself when it is handed an address outside the region (DEF-5). */
	if (vp_modern_get_status(&adev->mdev) & VIRTIO_CONFIG_S_NEEDS_RESET)
		dev_err_ratelimited(&adev->pdev->dev,
				    "airlock: the device stopped and needs a reset\n");
	virtio_config_changed(&adev->vdev);
	return IRQ_HANDLED;
}

static irqreturn_t shared_interrupt(int irq, void *cookie)
{
	struct airlock_device *adev = cookie;
	irqreturn_t result = IRQ_NONE;
	unsigned int i;

	for (i = 0; i < adev->vq_count; i++) {
		/* Pairs with the release store in setup_vq(). */
		struct virtqueue *vq = smp_load_acquire(&adev->vqs[i].vq);

		if (vq && adev->vqs[i].vector != VIRTIO_MSI_NO_VECTOR &&
		    vring_interrupt(irq, vq) == IRQ_HANDLED)
			result = IRQ_HANDLED;
	}
	return result;
}

/*
 * One vector a queue if the device has that many, otherwise two. Sets vector_count,
 * per_vq_vectors.
 */
static int allocate_vectors(struct airlock_device *adev, unsigned int callbacks,
			    const struct irq_affinity *desc)
{
	unsigned int wanted = 1 + callbacks;
	unsigned int flags = PCI_IRQ_MSIX;
	struct irq_affinity affinity = {};
	int count;

	if (desc) {
		affinity = *desc;
		affinity.pre_vectors++;
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

static int activate_vq(struct airlock_device *adev, struct virtqueue *vq, u16 vector)
{
	struct virtio_pci_modern_device *mdev = &adev->mdev;

	vp_modern_set_queue_size(mdev, vq->index, virtqueue_get_vring_size(vq));
	vp_modern_queue_address(mdev, vq->index, virtqueue_get_desc_addr(vq),
				virtqueue_get_avail_addr(vq), virtqueue_get_used_addr(vq));
	if (vector != VIRTIO_MSI_NO_VECTOR &&
	    vp_modern_queue_vector(mdev, vq->index, vector) == VIRTIO_MSI_NO_VECTOR)
		return -EBUSY;
	vq->priv = (void __force *)vp_modern_map_vq_notify(mdev, vq->index, NULL);
	return vq->priv ? 0 : -ENOMEM;
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
	slot->vector = vector;
	vq = vring_create_virtqueue(index, size, RING_ALIGN, &adev->vdev, true, true, info->ctx,
				    notify, info->callback, info->name);
	if (!vq)
		return -ENOMEM;
	vq->num_max = size;
	/* Pairs with the acquire in shared_interrupt(): a queue is seen whole or not at all. */
	smp_store_release(&slot->vq, vq);
	err = activate_vq(adev, vq, vector);
	if (err || !adev->per_vq_vectors || vector == VIRTIO_MSI_NO_VECTOR)
		return err;

	snprintf(slot->irq_name, sizeof(slot->irq_name), "%s-%s", dev_name(&adev->vdev.dev),
		 info->name);
	err = request_irq(pci_irq_vector(adev->pdev, vector), vring_interrupt, 0, slot->irq_name,
			  vq);
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
		     const struct virtqueue_info info[])
{
	u16 next_vector = SHARED_VECTOR;
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

int airlock_find_vqs(struct virtio_device *vdev, unsigned int nvqs, struct virtqueue *vqs[],
		     struct virtqueue_info info[], struct irq_affinity *desc)
{
	struct airlock_device *adev = to_airlock(vdev);
	unsigned int callbacks = 0;
	unsigned int i;
	size_t bytes;
	int err;

	if (adev->dead)
		return -EIO;
	for (i = 0; i < nvqs; i++)
		callbacks += info[i].name && info[i].callback;
	err = ring_bytes(adev, nvqs, info, &bytes);
	if (err)
		return err;
	err = airlock_region_open(adev, bytes, nvqs);
	if (err)
		return err;
	adev->vqs = kcalloc(nvqs, sizeof(*adev->vqs), GFP_KERNEL);
	if (!adev->vqs)
		return -ENOMEM;
	adev->vq_count = nvqs;
	err = allocate_vectors(adev, callbacks, desc);
	if (!err)
		err = request_fixed_irqs(adev);
	if (!err)
		err = setup_all(adev, nvqs, vqs, info);
	if (err)
		airlock_del_vqs(vdev);
	return err;
}

static void free_irqs(struct airlock_device *adev)
{
	unsigned int i;

	for (i = 0; i < adev->vq_count; i++) {
		if (adev->vqs[i].irq_requested)
			free_irq(pci_irq_vector(adev->pdev, adev->vqs[i].vector), adev->vqs[i].vq);
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

		if (!vq)
			continue;
		vp_modern_queue_vector(&adev->mdev, vq->index, VIRTIO_MSI_NO_VECTOR);
		if (!adev->mdev.notify_base && vq->priv)
			pci_iounmap(adev->pdev, (void __force __iomem *)vq->priv);
		vring_del_virtqueue(vq);
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
