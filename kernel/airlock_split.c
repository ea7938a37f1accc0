// SPDX-License-Identifier: GPL-2.0-only
/*
 * The copying between the two rings. Entries keep their numbers: a head, and each descriptor behind
 * it, has the same index in both tables, so a used id needs no translation.
 *
 * All fields are little-endian, because VERSION_1 is always negotiated.
 */
#include <linux/kernel.h>
#include <linux/nospec.h>
#include <linux/virtio_ring.h>

#include "airlock_split.h"

static u16 load16(const __virtio16 *field)
{
	return le16_to_cpu((__force __le16)READ_ONCE(*field));
}

static u32 load32(const __virtio32 *field)
{
	return le32_to_cpu((__force __le32)READ_ONCE(*field));
}

static void store16(__virtio16 *field, u16 value)
{
	WRITE_ONCE(*field, (__force __virtio16)cpu_to_le16(value));
}

static void store32(__virtio32 *field, u32 value)
{
	WRITE_ONCE(*field, (__force __virtio32)cpu_to_le32(value));
}

/* The bytes of an indirect table's device-writable buffers. Returns false if there is no table. */
static bool table_writable(const struct airlock_split *split, const struct vring_desc *descriptor,
			   u64 *writable)
{
	u32 bytes = load32(&descriptor->len);
	u64 address = le64_to_cpu((__force __le64)descriptor->addr);
	const struct vring_desc *table = split->find_table(split->context, address, bytes);
	u32 i;

	if (!table)
		return false;
	for (i = 0; i < bytes / sizeof(*table); i++)
		if (load16(&table[i].flags) & VRING_DESC_F_WRITE)
			*writable += load32(&table[i].len);
	return true;
}

/* Copies one chain into the table that the device sees, and keeps a record of it. */
static bool show_chain(struct airlock_split *split, u16 head)
{
	u64 writable = 0;
	u16 index = head;
	unsigned int i;

	for (i = 0; i < split->own.num && index < split->own.num; i++) {
		const struct vring_desc *descriptor = &split->own.desc[index];
		u16 flags = load16(&descriptor->flags);

		split->shown.desc[index] = *descriptor;
		if (flags & VRING_DESC_F_INDIRECT) {
			if (!table_writable(split, descriptor, &writable))
				return false;
		} else if (flags & VRING_DESC_F_WRITE) {
			writable += load32(&descriptor->len);
		}
		if (!(flags & VRING_DESC_F_NEXT)) {
			split->chains[head].writable = min_t(u64, writable, U32_MAX);
			split->chains[head].outstanding = true;
			split->outstanding++;
			return true;
		}
		index = load16(&descriptor->next);
	}
	return false;
}

bool airlock_split_publish(struct airlock_split *split, bool *notify)
{
	const u16 mask = split->own.num - 1;
	u16 end = load16(&split->own.avail->idx);
	u16 i;

	*notify = false;
	if (end == split->published)
		return true; /* whoever published them has told the device, or is about to */
	/* Pairs with the write barrier before the index in virtqueue_add_split(). */
	virtio_rmb(true);
	if ((u16)(end - split->published) > split->own.num - split->outstanding)
		return false;
	for (i = split->published; i != end; i++) {
		u16 head = load16(&split->own.avail->ring[i & mask]);

		if (head >= split->own.num || split->chains[head].outstanding ||
		    !show_chain(split, head))
			return false;
		store16(&split->shown.avail->ring[i & mask], head);
	}
	split->published = end;
	/* HD-22: the device must not see the index before the entries... */
	virtio_wmb(split->weak_barriers);
	store16(&split->shown.avail->idx, end);
	/*
	 * ...nor be asked whether it sleeps before it can see the index: it says so, and then looks
	 * at the index once more. One of the two must see what the other wrote.
	 */
	virtio_mb(split->weak_barriers);
	*notify = !(load16(&split->shown.used->flags) & VRING_USED_F_NO_NOTIFY);
	return true;
}

/* One used element, read once. What passes may index the records. HD-1, HD-2, HD-3. */
static enum airlock_verdict take_element(struct airlock_split *split, u16 slot)
{
	u32 id = load32(&split->shown.used->ring[slot].id);
	u32 length = load32(&split->shown.used->ring[slot].len);
	enum airlock_verdict verdict = airlock_check_used_id(id, split->own.num);

	if (verdict != AIRLOCK_OK)
		return verdict;
	id = array_index_nospec(id, split->own.num);
	verdict = airlock_check_used_element(split->chains[id].outstanding, length,
					     split->chains[id].writable);
	if (verdict != AIRLOCK_OK)
		return verdict;
	split->chains[id].outstanding = false;
	split->outstanding--;
	store32(&split->own.used->ring[slot].id, id);
	store32(&split->own.used->ring[slot].len, length);
	return AIRLOCK_OK;
}

enum airlock_verdict airlock_split_collect(struct airlock_split *split, unsigned int *count)
{
	const u16 mask = split->own.num - 1;
	u16 end = load16(&split->shown.used->idx);
	enum airlock_verdict verdict;

	*count = 0;
	/* HD-4: with this, the loop below is bounded by what is outstanding. */
	verdict = airlock_check_index_advance(split->returned, end, split->outstanding);
	/* HD-22: no entry is read before the index that covers it. */
	virtio_rmb(split->weak_barriers);
	while (verdict == AIRLOCK_OK && split->returned != end) {
		verdict = take_element(split, split->returned & mask);
		if (verdict == AIRLOCK_OK) {
			split->returned = (u16)(split->returned + 1);
			(*count)++;
		}
	}
	/* Pairs with the read barrier before the entry in virtqueue_get_buf_ctx_split(). */
	virtio_wmb(true);
	store16(&split->own.used->idx, split->returned);
	return verdict;
}
