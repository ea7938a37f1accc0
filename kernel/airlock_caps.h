/* SPDX-License-Identifier: GPL-2.0-only */
/* Finding structures through the device's PCI capabilities. */
#ifndef AIRLOCK_CAPS_H
#define AIRLOCK_CAPS_H

#include <linux/pci.h>

/* Where the bounce region is; a plain struct virtio_pci_cap (REQUIREMENTS PCI-0). */
#define AIRLOCK_PCI_CAP_SWIOTLB 10
/* dmb_shm_id, le16, in the common configuration (REQUIREMENTS DMB-D4). */
#define AIRLOCK_COMMON_DMB_SHM_ID 0x40

#define AIRLOCK_ANY_ID (-1)

/* A checked place inside a memory BAR: bar < 6, nonempty, inside the BAR as the kernel sized it. */
struct airlock_location {
	u8 bar;
	u64 offset; /* bytes from the start of the BAR */
	u64 length; /* bytes */
};

/*
 * Finds the first valid capability of the type, with that id unless it is AIRLOCK_ANY_ID. Returns
 * 0; -ENOENT if there is none; -EINVAL if there are, but none is valid (the reason is in the
 * kernel log); -ELOOP if the list never ends. Reads config space only.
 */
int airlock_caps_find(struct pci_dev *pdev, u8 cfg_type, int id, struct airlock_location *location);

/* True if a capability of the type exists, valid or not, before the list ends or loops. */
bool airlock_caps_present(struct pci_dev *pdev, u8 cfg_type);

/* True if the list comes back on itself. */
bool airlock_caps_loop(struct pci_dev *pdev);

/* True if the location may hold a bounce region: whole pages (REQUIREMENTS DEF-4). */
bool airlock_location_is_paged(const struct airlock_location *location);

#endif
