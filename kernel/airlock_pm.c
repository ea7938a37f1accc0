// SPDX-License-Identifier: GPL-2.0-only
/*
 * System sleep and shutdown. The device drivers stop their queues in freeze and make new ones in
 * restore, as with virtio_pci; the PCI core restores the BARs in between. The region stays mapped
 * and the pool open, but nothing in them is expected to survive: no queue exists while the machine
 * sleeps, and a slot is private to the device for as long as nobody owns it.
 */
#include <linux/pm.h>

#include "airlock.h"

#ifdef CONFIG_PM_SLEEP
/*
 * A driver that cannot stop its queues would find them gone after the sleep and wait for ever, so
 * the machine is not put to sleep under it.
 */
static bool driver_can_sleep(struct virtio_device *vdev)
{
	struct device_driver *driver = vdev->dev.driver;

	if (!driver)
		return true;
	return drv_to_virtio(driver)->freeze && drv_to_virtio(driver)->restore;
}

static int airlock_freeze(struct device *dev)
{
	struct airlock_device *adev = dev_get_drvdata(dev);
	int err;

	if (!driver_can_sleep(&adev->vdev)) {
		dev_err(dev, "airlock: the driver of device type %u cannot sleep\n",
			adev->vdev.id.device);
		return -EOPNOTSUPP;
	}
	/* What a device that stopped still holds would keep the driver waiting. */
	airlock_watch_stop(adev);
	airlock_watch_settle(adev);
	err = virtio_device_freeze(&adev->vdev);
	if (err) {
		airlock_watch_start(adev);
		return err;
	}
	/* While its memory can still be reached. */
	airlock_pool_scrub(&adev->pool);
	pci_disable_device(adev->pdev);
	return 0;
}

static int airlock_restore(struct device *dev)
{
	struct airlock_device *adev = dev_get_drvdata(dev);
	int err = pci_enable_device(adev->pdev);

	if (err)
		return err;
	pci_set_master(adev->pdev);
	err = airlock_restore_driver(adev);
	if (err) {
		adev->given_up = true;
		dev_err(dev, "airlock: the device did not wake up: %d; all requests fail from now on\n",
			err);
	}
	airlock_watch_start(adev);
	return err;
}

DEFINE_SIMPLE_DEV_PM_OPS(airlock_pm_ops, airlock_freeze, airlock_restore);
#endif

/*
 * Reboot, power off, kexec. The virtio bus has broken the queues of every device with a driver and
 * has reset it by now; this is for those without, and it takes the interrupts away as well: what
 * runs next finds a device that writes nowhere.
 */
void airlock_shutdown(struct pci_dev *pdev)
{
	struct airlock_device *adev = pci_get_drvdata(pdev);

	airlock_watch_stop(adev);
	if (!adev->dead) {
		adev->vdev.config->reset(&adev->vdev);
		airlock_pool_scrub(&adev->pool);
	}
	pci_clear_master(pdev);
}
