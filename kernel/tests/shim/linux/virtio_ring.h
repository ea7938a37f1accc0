/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A split ring's layout (VIRTIO 1.3, 2.7) and just enough of the kernel around it for
 * airlock_split.c in user space, on a little-endian machine and one thread.
 */
#ifndef AIRLOCK_SHIM_VIRTIO_RING_H
#define AIRLOCK_SHIM_VIRTIO_RING_H

#include <linux/compiler.h>
#include <linux/kernel.h>
#include <linux/limits.h>

#define __force


typedef u16 __virtio16, __le16;
typedef u32 __virtio32, __le32;
typedef uint64_t __virtio64, __le64;

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "these conversions do nothing");
#define le16_to_cpu(value) (value)
#define le32_to_cpu(value) (value)
#define le64_to_cpu(value) (value)
#define cpu_to_le16(value) ((u16)(value))
#define cpu_to_le32(value) ((u32)(value))

/* Order is shown by the tests in a virtual machine; here is one thread. */
#define virtio_mb(weak) ((void)(weak))
#define virtio_rmb(weak) ((void)(weak))
#define virtio_wmb(weak) ((void)(weak))

#define VRING_DESC_F_NEXT 1
#define VRING_DESC_F_WRITE 2
#define VRING_DESC_F_INDIRECT 4
#define VRING_USED_F_NO_NOTIFY 1

struct vring_desc {
	__virtio64 addr;
	__virtio32 len;
	__virtio16 flags;
	__virtio16 next;
};

struct vring_avail {
	__virtio16 flags;
	__virtio16 idx;
	__virtio16 ring[];
};

struct vring_used_elem {
	__virtio32 id;
	__virtio32 len;
};

struct vring_used {
	__virtio16 flags;
	__virtio16 idx;
	struct vring_used_elem ring[];
};

#define vring_used_event(vr) (*(__virtio16 *)&(vr)->avail->ring[(vr)->num])
#define vring_avail_event(vr) (*(__virtio16 *)&(vr)->used->ring[(vr)->num])

struct vring {
	unsigned int num;
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
};

#endif
