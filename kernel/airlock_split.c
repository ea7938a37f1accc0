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
#include "core/event.h"

#define DISK_SUCCESS 0 /* VIRTIO_BLK_S_OK */

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

static u64 address_of(const struct vring_desc *descriptor)
{
	return le64_to_cpu((__force __le64)descriptor->addr);
}

/* What is gathered of a chain, or told. */
struct visit {
	const struct airlock_split *split;
	u64 bytes; /* that the device may write */
	u64 last; /* address of the last of them */
};

/* Calls buffer() for each one of a chain of the own ring that the device may write, in order. */
static void visit_writable(struct visit *visit, u16 head,
			   void (*buffer)(struct visit *visit, const struct vring_desc *buffer))
{
	const struct airlock_split *split = visit->split;
	const struct vring_desc *table = split->chains[head].table;
	u16 index = head;
	unsigned int i;

	for (i = 0; i < split->own.num && index < split->own.num; i++) {
		const struct vring_desc *descriptor = &split->own.desc[index];
		u16 flags = load16(&descriptor->flags);
		u32 entries = 0;
		u32 entry;

		if (flags & VRING_DESC_F_INDIRECT)
			entries = load32(&descriptor->len) / sizeof(*table);
		else if (flags & VRING_DESC_F_WRITE)
			buffer(visit, descriptor);
		for (entry = 0; entry < entries; entry++)
			if (load16(&table[entry].flags) & VRING_DESC_F_WRITE)
				buffer(visit, &table[entry]);
		if (!(flags & VRING_DESC_F_NEXT))
			return;
		index = load16(&descriptor->next);
	}
}

static void add_up(struct visit *visit, const struct vring_desc *buffer)
{
	visit->bytes += load32(&buffer->len);
	visit->last = address_of(buffer) + load32(&buffer->len) - 1;
}

static void tell_filled(struct visit *visit, const struct vring_desc *buffer)
{
	const struct airlock_split *split = visit->split;

	split->filled(split->context, address_of(buffer), load32(&buffer->len));
}

/*
 * A disk's request that came back: its last byte is the status, and with success all that it reads
 * was written. No used length says as much: there are disks that leave out the data, and others
 * that count it even if the read failed. Of a status alone there is nothing to tell.
 */
static void tell_request(const struct airlock_split *split, u16 head)
{
	const struct airlock_split_chain *chain = &split->chains[head];
	struct visit visit = { .split = split };

	if (chain->writable > 1 && split->peek(split->context, chain->last) == DISK_SUCCESS)
		visit_writable(&visit, head, tell_filled);
}

/* Copies one chain into the table that the device sees, and keeps a record of it. */
static bool show_chain(struct airlock_split *split, u16 head)
{
	struct airlock_split_chain *chain = &split->chains[head];
	struct visit visit = { .split = split };
	u16 index = head;
	unsigned int i;

	chain->table = NULL;
	for (i = 0; i < split->own.num && index < split->own.num; i++) {
		const struct vring_desc *descriptor = &split->own.desc[index];
		u16 flags = load16(&descriptor->flags);

		split->shown.desc[index] = *descriptor;
		if (flags & VRING_DESC_F_INDIRECT) {
			/* One table ends a chain, and no chain has two. */
			chain->table = split->find_table(split->context, address_of(descriptor),
							 load32(&descriptor->len));
			if (!chain->table || flags & VRING_DESC_F_NEXT)
				return false;
		}
		if (!(flags & VRING_DESC_F_NEXT)) {
			visit_writable(&visit, head, add_up);
			chain->writable = min_t(u64, visit.bytes, U32_MAX);
			chain->last = visit.last;
			chain->outstanding = true;
			split->outstanding++;
			return true;
		}
		index = load16(&descriptor->next);
	}
	return false;
}

/* Whether the device wants to be told of the entries from before on (HD-21). */
static bool wants_notification(const struct airlock_split *split, u16 before)
{
	if (split->event_idx)
		return airlock_need_event(load16(&vring_avail_event(&split->shown)),
					  split->published, before);
	return !(load16(&split->shown.used->flags) & VRING_USED_F_NO_NOTIFY);
}

bool airlock_split_publish(struct airlock_split *split, bool *notify)
{
	const u16 mask = split->own.num - 1;
	const u16 before = split->published;
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
	*notify = wants_notification(split, before);
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
	if (split->filled)
		tell_request(split, id);
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

bool airlock_split_rearm(struct airlock_split *split)
{
	if (!split->event_idx)
		return false; /* each one brings an interrupt */
	store16(&vring_used_event(&split->shown), split->returned);
	/* One of the two must see what the other wrote. */
	virtio_mb(split->weak_barriers);
	return load16(&split->shown.used->idx) != split->returned;
}
