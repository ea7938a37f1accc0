// SPDX-License-Identifier: GPL-2.0-only
/*
 * Getting the devices that are ours. Stock virtio_pci matches every virtio device and is often
 * built in, so it binds first; it would then drive a region device over system memory. At load
 * time such devices are taken from it; later ones are steered before any driver sees them. Both
 * use driver_override, so that a device of ours which fails to probe is left alone and not handed
 * on.
 *
 * Capability 10 alone decides for bus addresses. For offsets a shared memory capability is not
 * enough, other devices have those too: feature bit 44 decides, and reading it takes a mapped
 * device. A hot-added candidate that turns out not to offer it is given back.
 */
#include <linux/device.h>
#include <linux/module.h>
#include <linux/notifier.h>
#include <linux/slab.h>
#include <linux/workqueue.h>

#include "airlock.h"

#define MODERN_ID_FIRST 0x1040
#define MODERN_ID_LAST 0x107f

static struct workqueue_struct *give_back_queue;

struct give_back_work {
	struct work_struct work;
	struct pci_dev *pdev;
};

/* Modern ids only: to a transitional device, bit 27 may mean ANY_LAYOUT (DEF-2). */
static bool is_modern_virtio(struct pci_dev *pdev)
{
	return pdev->vendor == PCI_VENDOR_ID_REDHAT_QUMRANET && pdev->device >= MODERN_ID_FIRST &&
	       pdev->device <= MODERN_ID_LAST;
}

bool airlock_may_be_ours(struct pci_dev *pdev)
{
	return is_modern_virtio(pdev) &&
	       (airlock_caps_present(pdev, AIRLOCK_PCI_CAP_SWIOTLB) ||
		airlock_caps_present(pdev, VIRTIO_PCI_CAP_SHARED_MEMORY_CFG));
}

bool airlock_features_are_ours(struct pci_dev *pdev, u64 offered)
{
	return airlock_caps_present(pdev, AIRLOCK_PCI_CAP_SWIOTLB) ||
	       (offered & BIT_ULL(AIRLOCK_F_DMB));
}

/*
 * Asks a device that another transport drives for its features. The virtio device's lock keeps its
 * driver from negotiating at the same time: the feature window is a single, shared register.
 */
static int read_child_features(struct device *child, void *offered)
{
	if (!is_virtio_device(child))
		return 0;
	device_lock(child);
	*(u64 *)offered = airlock_offered_features(dev_to_virtio(child));
	device_unlock(child);
	return 1;
}

static u64 features_of_bound(struct pci_dev *pdev)
{
	u64 offered = 0;

	device_for_each_child(&pdev->dev, &offered, read_child_features);
	return offered;
}

static bool bound_to_stock(struct pci_dev *pdev)
{
	bool stock;

	device_lock(&pdev->dev);
	stock = pdev->dev.driver && !strcmp(pdev->dev.driver->name, "virtio-pci");
	device_unlock(&pdev->dev);
	return stock;
}

/* Whoever set an override, or bound another driver such as vfio-pci, meant it. */
static void take_one(struct pci_dev *pdev)
{
	bool stock = bound_to_stock(pdev);
	int err;

	if (airlock_has_driver_override(pdev))
		return;
	/* Without a driver there is no hurry: our own probe asks for the features. */
	if (!airlock_caps_present(pdev, AIRLOCK_PCI_CAP_SWIOTLB) &&
	    !(stock && (features_of_bound(pdev) & BIT_ULL(AIRLOCK_F_DMB))))
		return;
	err = airlock_set_driver_override(pdev, AIRLOCK_NAME);
	if (err) {
		pci_err(pdev, "airlock: cannot set the driver override: %d\n", err);
		return;
	}
	if (stock) {
		pci_info(pdev, "airlock: taking the device over from virtio-pci\n");
		device_release_driver(&pdev->dev);
	}
}

void airlock_take_over(void)
{
	struct pci_dev *pdev = NULL;

	for_each_pci_dev(pdev)
		if (airlock_may_be_ours(pdev))
			take_one(pdev);
}

static void give_back(struct work_struct *work)
{
	struct give_back_work *item = container_of(work, struct give_back_work, work);

	/* Once: without the override a second refusal comes here too, and ends here. */
	if (airlock_override_is(item->pdev, &airlock_pci_driver)) {
		airlock_set_driver_override(item->pdev, "");
		if (device_attach(&item->pdev->dev) < 0)
			pci_err(item->pdev, "airlock: no other driver takes the device\n");
	}
	pci_dev_put(item->pdev);
	kfree(item);
}

/* From probe, which holds the device's lock; hence the work item. */
void airlock_give_back(struct pci_dev *pdev)
{
	struct give_back_work *item = kmalloc(sizeof(*item), GFP_KERNEL);

	if (!item)
		return;
	INIT_WORK(&item->work, give_back);
	item->pdev = pci_dev_get(pdev);
	queue_work(give_back_queue, &item->work);
}

static int bus_event(struct notifier_block *block, unsigned long event, void *data)
{
	struct pci_dev *pdev = to_pci_dev(data);
	int err;

	if (event != BUS_NOTIFY_ADD_DEVICE || !airlock_may_be_ours(pdev))
		return NOTIFY_DONE;
	err = airlock_set_driver_override(pdev, AIRLOCK_NAME);
	if (err)
		pci_err(pdev, "airlock: cannot steer the new device: %d\n", err);
	return NOTIFY_OK;
}

static struct notifier_block bus_block = { .notifier_call = bus_event };

int airlock_steer_start(void)
{
	int err;

	give_back_queue = alloc_workqueue(AIRLOCK_NAME, WQ_UNBOUND, 0);
	if (!give_back_queue)
		return -ENOMEM;
	err = bus_register_notifier(&pci_bus_type, &bus_block);
	if (err)
		destroy_workqueue(give_back_queue);
	return err;
}

/* With the driver gone, so that nothing more is given back. Stock drivers may have the devices. */
void airlock_steer_stop(void)
{
	struct pci_dev *pdev = NULL;

	bus_unregister_notifier(&pci_bus_type, &bus_block);
	destroy_workqueue(give_back_queue);
	for_each_pci_dev(pdev)
		if (is_modern_virtio(pdev) && airlock_override_is(pdev, &airlock_pci_driver))
			airlock_set_driver_override(pdev, "");
}
