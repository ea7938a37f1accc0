// SPDX-License-Identifier: GPL-2.0-only
/*
 * The PCI driver: from a device that may be ours to a registered virtio device, and back.
 */
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/stringify.h>

#include "airlock.h"

static void release_device(struct device *dev)
{
	kfree(to_airlock(dev_to_virtio(dev)));
}

/*
 * Maps the device and makes sure that it is ours: -ENODEV lets another driver have it. On success
 * the device is enabled, its structures are mapped, and its DMA goes through the pool.
 */
static int attach(struct airlock_device *adev)
{
	struct pci_dev *pdev = adev->pdev;
	int err = pci_enable_device(pdev);

	if (err)
		return err;
	err = vp_modern_probe(&adev->mdev);
	if (err)
		goto disable;
	if (!airlock_features_are_ours(pdev, vp_modern_get_features(&adev->mdev))) {
		err = -ENODEV;
		goto remove;
	}
	err = airlock_backend_attach(adev);
	if (err)
		goto remove;
	/* For MSI-X alone: an interrupt is a write by the device. */
	pci_set_master(pdev);
	return 0;

remove:
	vp_modern_remove(&adev->mdev);
disable:
	pci_disable_device(pdev);
	return err;
}

static void detach(struct airlock_device *adev)
{
	airlock_region_close(adev);
	airlock_backend_detach(adev);
	vp_modern_remove(&adev->mdev);
	pci_disable_device(adev->pdev);
}

static int airlock_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct airlock_device *adev;
	int err;

	if (!airlock_may_be_ours(pdev))
		return -ENODEV;
	/*
	 * The library's own walk would never come back from such a list (HD-15). It reads the
	 * list again, so this stops a broken device and not one that changes the list in between.
	 */
	if (airlock_caps_loop(pdev)) {
		pci_err(pdev, "airlock: the capability list loops\n");
		return -EINVAL;
	}
	adev = kzalloc(sizeof(*adev), GFP_KERNEL);
	if (!adev)
		return -ENOMEM;
	adev->pdev = pdev;
	adev->mdev.pci_dev = pdev;
	airlock_pool_init(&adev->pool, &pdev->dev);
	mutex_init(&adev->vqs_lock);
	airlock_watch_init(adev);
	pci_set_drvdata(pdev, adev);
	err = attach(adev);
	if (err) {
		pci_set_drvdata(pdev, NULL);
		kfree(adev);
		if (err == -ENODEV)
			airlock_give_back(pdev);
		return err;
	}

	adev->vdev.dev.parent = &pdev->dev;
	adev->vdev.dev.release = release_device;
	adev->vdev.config = &airlock_config_ops;
	adev->vdev.id = adev->mdev.id;
	/* Before, since a driver may wait for its first requests in there. */
	airlock_watch_start(adev);
	err = register_virtio_device(&adev->vdev);
	if (err) {
		airlock_watch_stop(adev);
		detach(adev);
		pci_set_drvdata(pdev, NULL);
		put_device(&adev->vdev.dev);
	}
	return err;
}

static void airlock_remove(struct pci_dev *pdev)
{
	struct airlock_device *adev = pci_get_drvdata(pdev);
	struct device *dev = get_device(&adev->vdev.dev);

	/*
	 * The driver above waits for its requests while it is removed. So those of a device that
	 * has left end first, and the watch goes on for one that leaves in the middle.
	 */
	airlock_watch_settle(adev);
	unregister_virtio_device(&adev->vdev);
	airlock_watch_stop(adev);
	detach(adev);
	pci_set_drvdata(pdev, NULL);
	put_device(dev);
}

static const struct pci_device_id airlock_ids[] = {
	{ PCI_DEVICE(PCI_VENDOR_ID_REDHAT_QUMRANET, PCI_ANY_ID) },
	{}
};
MODULE_DEVICE_TABLE(pci, airlock_ids);

struct pci_driver airlock_pci_driver = {
	.name = AIRLOCK_NAME,
	.id_table = airlock_ids,
	.probe = airlock_probe,
	.remove = airlock_remove,
	.shutdown = airlock_shutdown,
	.driver.pm = pm_sleep_ptr(&airlock_pm_ops),
};

/* The notifier first, so that no device slips in between; the driver last, so that none waits. */
static int __init airlock_init(void)
{
	int err;

	airlock_debugfs_init();
	err = airlock_recovery_init();
	if (err)
		goto no_recovery;
	err = airlock_steer_start();
	if (err)
		goto no_steer;
	airlock_take_over();
	err = pci_register_driver(&airlock_pci_driver);
	if (err)
		goto no_driver;
	return 0;

no_driver:
	airlock_steer_stop();
no_steer:
	airlock_recovery_exit();
no_recovery:
	airlock_debugfs_exit();
	return err;
}

static void __exit airlock_exit(void)
{
	pci_unregister_driver(&airlock_pci_driver);
	airlock_steer_stop();
	airlock_recovery_exit();
	airlock_debugfs_exit();
}

module_init(airlock_init);
module_exit(airlock_exit);

MODULE_AUTHOR("The Airlock authors");
MODULE_DESCRIPTION("virtio-pci transport for devices that cannot touch guest memory");
MODULE_LICENSE("GPL");
#ifdef AIRLOCK_VERSION
MODULE_VERSION(__stringify(AIRLOCK_VERSION));
#endif
