// SPDX-License-Identifier: GPL-2.0-only
/*
 * The capability walk. The kernel's own pci_find_next_capability() bounds each step but not a loop
 * over them, so a device whose list bites its tail would hold the caller for ever (HD-15). Here
 * the walk remembers where it has been. Each field is read once; the copy is what gets checked and
 * used.
 */
#include <linux/bitmap.h>
#include <linux/virtio_pci.h>

#include "airlock_caps.h"
#include "core/range.h"

/* Capabilities lie on double words of the 256 bytes of config space, after the header. */
#define CAP_FIRST 0x40
#define CAP_PLACES (256 / 4)

struct cap_walk {
	struct pci_dev *pdev;
	u8 next;
	DECLARE_BITMAP(seen, CAP_PLACES);
};

struct cap_fields {
	u8 length;
	u8 cfg_type;
	u8 bar;
	u8 id;
	u64 offset;
	u64 bytes;
};

static int cap_walk_start(struct cap_walk *walk, struct pci_dev *pdev)
{
	u16 status = 0;

	walk->pdev = pdev;
	walk->next = 0;
	bitmap_zero(walk->seen, CAP_PLACES);
	if (pci_read_config_word(pdev, PCI_STATUS, &status))
		return -EIO;
	if (status & PCI_STATUS_CAP_LIST)
		pci_read_config_byte(pdev, PCI_CAPABILITY_LIST, &walk->next);
	return 0;
}

/* Position of the next vendor capability, 0 at the end, -ELOOP if the list comes back on itself. */
static int cap_walk_next(struct cap_walk *walk)
{
	for (;;) {
		u8 position = walk->next & ~3;
		u16 head = 0;

		if (position < CAP_FIRST)
			return 0;
		if (__test_and_set_bit(position / 4, walk->seen))
			return -ELOOP;
		pci_read_config_word(walk->pdev, position, &head);
		if ((head & 0xff) == 0xff)
			return 0;
		walk->next = head >> 8;
		if ((head & 0xff) == PCI_CAP_ID_VNDR)
			return position;
	}
}

static u32 read_dword(struct pci_dev *pdev, int position)
{
	u32 value = 0;

	pci_read_config_dword(pdev, position, &value);
	return value;
}

static void read_fields(struct pci_dev *pdev, int position, struct cap_fields *cap)
{
	u32 first = read_dword(pdev, position);
	u32 second = read_dword(pdev, position + 4);

	cap->length = first >> 16;
	cap->cfg_type = first >> 24;
	cap->bar = second;
	cap->id = second >> 8;
	cap->offset = read_dword(pdev, position + offsetof(struct virtio_pci_cap, offset));
	cap->bytes = read_dword(pdev, position + offsetof(struct virtio_pci_cap, length));
	if (cap->cfg_type != VIRTIO_PCI_CAP_SHARED_MEMORY_CFG ||
	    cap->length < sizeof(struct virtio_pci_cap64) ||
	    position + sizeof(struct virtio_pci_cap64) > PCI_CFG_SPACE_SIZE)
		return;
	cap->offset |= (u64)read_dword(pdev, position + offsetof(struct virtio_pci_cap64,
								 offset_hi)) << 32;
	cap->bytes |= (u64)read_dword(pdev, position + offsetof(struct virtio_pci_cap64,
								length_hi)) << 32;
}

static size_t minimum_length(u8 cfg_type)
{
	return cfg_type == VIRTIO_PCI_CAP_SHARED_MEMORY_CFG ? sizeof(struct virtio_pci_cap64) :
							      sizeof(struct virtio_pci_cap);
}

/* NULL if the fields are sound, otherwise what is wrong with them (PCI-D2, DEF-4, HD-15). */
static const char *fault_of(struct pci_dev *pdev, int position, const struct cap_fields *cap)
{
	if (cap->length < minimum_length(cap->cfg_type) ||
	    !airlock_range_within(position, cap->length, PCI_CFG_SPACE_SIZE))
		return "bad cap_len";
	if (!(pci_resource_flags(pdev, cap->bar) & IORESOURCE_MEM))
		return "not a memory BAR";
	if (cap->bytes == 0)
		return "empty";
	if (!airlock_range_within(cap->offset, cap->bytes, pci_resource_len(pdev, cap->bar)))
		return "outside its BAR";
	return NULL;
}

int airlock_caps_find(struct pci_dev *pdev, u8 cfg_type, int id, struct airlock_location *location)
{
	struct cap_walk walk;
	int result = cap_walk_start(&walk, pdev);
	int position;

	if (result)
		return result;
	result = -ENOENT;
	while ((position = cap_walk_next(&walk)) > 0) {
		struct cap_fields cap;
		const char *fault;

		if (position + sizeof(struct virtio_pci_cap) > PCI_CFG_SPACE_SIZE)
			continue;
		read_fields(pdev, position, &cap);
		/* A reserved BAR number means: not for this driver (BASE-1). */
		if (cap.cfg_type != cfg_type || cap.bar >= PCI_STD_NUM_BARS)
			continue;
		if (id != AIRLOCK_ANY_ID && cap.id != id)
			continue;
		fault = fault_of(pdev, position, &cap);
		if (!fault) {
			location->bar = cap.bar;
			location->offset = cap.offset;
			location->length = cap.bytes;
			return 0;
		}
		pci_err(pdev, "airlock: capability type %u at %#x: %s (BAR %u, offset %#llx, length %#llx)\n",
			cfg_type, position, fault, cap.bar, cap.offset, cap.bytes);
		result = -EINVAL;
	}
	return position < 0 ? position : result;
}

bool airlock_caps_present(struct pci_dev *pdev, u8 cfg_type)
{
	struct cap_walk walk;
	bool present = false;
	int position;

	if (cap_walk_start(&walk, pdev))
		return false;
	while ((position = cap_walk_next(&walk)) > 0) {
		u8 type = 0;

		if (position + sizeof(struct virtio_pci_cap) > PCI_CFG_SPACE_SIZE)
			continue;
		pci_read_config_byte(pdev, position + VIRTIO_PCI_CAP_CFG_TYPE, &type);
		present |= type == cfg_type;
	}
	return present;
}

bool airlock_caps_loop(struct pci_dev *pdev)
{
	struct cap_walk walk;
	int position;

	if (cap_walk_start(&walk, pdev))
		return false;
	do
		position = cap_walk_next(&walk);
	while (position > 0);
	return position < 0;
}

bool airlock_location_is_paged(const struct airlock_location *location)
{
	return airlock_is_aligned(location->offset, PAGE_SIZE) &&
	       airlock_is_aligned(location->length, PAGE_SIZE);
}
