/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What tests of the split ring share: both rings in plain memory, virtio_ring's part, the device's,
 * and the pool's, which keeps what it is told.
 */
#ifndef AIRLOCK_TESTS_SPLIT_FIXTURE_H
#define AIRLOCK_TESTS_SPLIT_FIXTURE_H

#include <linux/virtio_ring.h>

#include "airlock_split.h"
#include "expect.h"

#define SIZE 8
#define TABLE_ADDRESS 0x700000ULL
#define UNSHOWN 0xee

struct ring_memory {
	struct vring_desc desc[SIZE];
	struct {
		u16 flags, idx, ring[SIZE], event;
	} avail;
	struct {
		u16 flags, idx;
		struct vring_used_elem ring[SIZE];
		u16 event;
	} used;
};

static struct ring_memory own;
static struct ring_memory shown;
static struct airlock_split_chain chains[SIZE];
static struct airlock_split split;

/* What the pool was told of each buffer, by its number: see describe(). 0: nothing. */
static u32 filled_bytes[SIZE + 4];
/* What a disk's status reads as, and where it was looked for. */
static u8 status;
static u64 status_at;

/* What find_table() knows: one table, at TABLE_ADDRESS. */
static struct vring_desc table[4];
static u32 table_bytes;

static inline const struct vring_desc *find_table(void *context, u64 address, u32 bytes)
{
	EXPECT(context == table);
	return address == TABLE_ADDRESS && bytes == table_bytes ? table : NULL;
}

static inline u8 peek(void *context, u64 address)
{
	EXPECT(context == table);
	status_at = address;
	return status;
}

static inline void filled(void *context, u64 address, u32 length)
{
	EXPECT(context == table);
	EXPECT(address % 0x1000 == 0 && address >= 0x1000 && address / 0x1000 <= SIZE + 4);
	EXPECT(filled_bytes[address / 0x1000 - 1] == 0);
	filled_bytes[address / 0x1000 - 1] = length;
}

static inline struct vring vring_over(struct ring_memory *memory)
{
	return (struct vring){
		.num = SIZE,
		.desc = memory->desc,
		.avail = (struct vring_avail *)&memory->avail,
		.used = (struct vring_used *)&memory->used,
	};
}

static inline void start_at(u16 index)
{
	memset(&own, 0, sizeof(own));
	memset(&shown, 0, sizeof(shown));
	memset(shown.desc, UNSHOWN, sizeof(shown.desc));
	memset(chains, 0, sizeof(chains));
	memset(filled_bytes, 0, sizeof(filled_bytes));
	status_at = 0;
	table_bytes = 0;
	own.avail.idx = shown.avail.idx = own.used.idx = shown.used.idx = index;
	split = (struct airlock_split){
		.own = vring_over(&own),
		.shown = vring_over(&shown),
		.chains = chains,
		.find_table = find_table,
		.context = table,
		.weak_barriers = true,
		.published = index,
		.returned = index,
	};
}

static inline void start(void)
{
	start_at(0);
}

/* virtio_ring's part. */

static inline void describe(u16 index, u32 length, u16 flags, u16 next)
{
	own.desc[index] = (struct vring_desc){
		.addr = 0x1000ULL * (index + 1), .len = length, .flags = flags, .next = next,
	};
}

static inline void make_available(u16 head)
{
	own.avail.ring[own.avail.idx % SIZE] = head;
	own.avail.idx++;
}

/* A request of one buffer to read and one to write, as virtio_ring lays it out. */
static inline void add_pair(u16 head, u16 second, u32 writable)
{
	describe(head, 16, VRING_DESC_F_NEXT, second);
	describe(second, writable, VRING_DESC_F_WRITE, 0);
	make_available(head);
}

static inline void add_single(u16 head, u32 writable)
{
	describe(head, writable, VRING_DESC_F_WRITE, 0);
	make_available(head);
}

/* One buffer to read, one to write, a second one to write, in a table of virtio_ring's own. */
static inline void add_indirect(u16 head, u32 writable)
{
	table[0] = (struct vring_desc){ .len = 16, .flags = VRING_DESC_F_NEXT, .next = 1 };
	table[1] = (struct vring_desc){ .addr = 0x1000 * (SIZE + 1),
					.len = writable - 1,
					.flags = VRING_DESC_F_WRITE | VRING_DESC_F_NEXT,
					.next = 2 };
	table[2] = (struct vring_desc){ .addr = 0x1000 * (SIZE + 2),
					.len = 1,
					.flags = VRING_DESC_F_WRITE };
	table_bytes = 3 * sizeof(*table);
	describe(head, table_bytes, VRING_DESC_F_INDIRECT, 0);
	own.desc[head].addr = TABLE_ADDRESS;
	make_available(head);
}

static inline bool publish(void)
{
	bool notify;
	bool good = airlock_split_publish(&split, &notify);

	EXPECT(good || !notify);
	return good;
}

/* The device's part. */

static inline void use(u32 id, u32 length)
{
	shown.used.ring[shown.used.idx % SIZE] = (struct vring_used_elem){ id, length };
	shown.used.idx++;
}

static inline enum airlock_verdict collect(unsigned int expected)
{
	unsigned int count = 77;
	u16 before = own.used.idx;
	enum airlock_verdict verdict = airlock_split_collect(&split, &count);

	EXPECT(count == expected && (u16)(own.used.idx - before) == expected);
	return verdict;
}

#endif
