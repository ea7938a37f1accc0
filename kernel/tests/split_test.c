// SPDX-License-Identifier: GPL-2.0-only
/*
 * Goal: what virtio_ring makes available reaches the device whole, and of what the device writes
 * only true completions reach virtio_ring. Method: both rings in plain memory; the test makes
 * chains as virtio_ring does, and plays the device, which is honest once and lies in the twin.
 */
#include "split_fixture.h"

static void a_chain_is_shown_whole_and_comes_back(void)
{
	start();
	add_pair(5, 2, 512);
	EXPECT(shown.avail.idx == 0);
	EXPECT(publish());
	EXPECT(shown.avail.idx == 1 && shown.avail.ring[0] == 5);
	EXPECT(!memcmp(&shown.desc[5], &own.desc[5], sizeof(*own.desc)));
	EXPECT(!memcmp(&shown.desc[2], &own.desc[2], sizeof(*own.desc)));
	EXPECT(shown.desc[3].len == 0xeeeeeeee); /* of what is not available, nothing is shown */
	EXPECT(collect(0) == AIRLOCK_OK); /* HD-20: woken for nothing */
	use(5, 512);
	EXPECT(own.used.idx == 0);
	EXPECT(collect(1) == AIRLOCK_OK);
	EXPECT(own.used.ring[0].id == 5 && own.used.ring[0].len == 512);
	EXPECT(split.outstanding == 0);
}

/* HD-6, HD-7: whatever the device makes of its table, virtio_ring's own is as it was. */
static void the_table_is_never_read_back(void)
{
	struct ring_memory before;

	start();
	add_pair(0, 1, 64);
	add_pair(2, 3, 64);
	EXPECT(publish());
	before = own;
	memset(shown.desc, 0xff, sizeof(shown.desc)); /* NEXT everywhere, lengths of 4 GiB */
	memset(shown.avail.ring, 0xff, sizeof(shown.avail.ring));
	use(0, 64);
	EXPECT(collect(1) == AIRLOCK_OK);
	EXPECT(!memcmp(own.desc, before.desc, sizeof(own.desc)));
	EXPECT(!memcmp(&own.avail, &before.avail, sizeof(own.avail)));
	use(2, 65); /* more than the record says, whatever the table says now */
	EXPECT(collect(0) == AIRLOCK_BAD_LENGTH);
}

/* VIRTIO 1.3, 2.7.10: of the flags one bit counts, and only after something new. HD-21. */
static void the_device_is_told_unless_it_asked_not_to_be(void)
{
	bool notify;

	start();
	add_single(0, 1);
	EXPECT(airlock_split_publish(&split, &notify) && notify);
	EXPECT(airlock_split_publish(&split, &notify) && !notify);
	shown.used.flags = VRING_USED_F_NO_NOTIFY;
	add_single(1, 1);
	EXPECT(airlock_split_publish(&split, &notify) && !notify);
	EXPECT(shown.avail.idx == 2);
	shown.used.flags = 0xfffe;
	add_single(2, 1);
	EXPECT(airlock_split_publish(&split, &notify) && notify);
	EXPECT(own.used.flags == 0 && shown.avail.flags == 0); /* interrupts stay on */
}

/* VIRTIO 1.3, 2.7.10: with EVENT_IDX the flag counts no more; any index is legal (HD-21). */
static void the_device_is_told_where_it_asked_for_it(void)
{
	bool notify;

	start();
	split.event_idx = true;
	shown.used.flags = VRING_USED_F_NO_NOTIFY;
	add_single(0, 1);
	EXPECT(airlock_split_publish(&split, &notify) && notify);
	add_single(1, 1);
	EXPECT(airlock_split_publish(&split, &notify) && !notify);
	shown.used.event = 3;
	add_single(2, 1);
	EXPECT(airlock_split_publish(&split, &notify) && !notify);
	add_single(3, 1);
	add_single(4, 1);
	EXPECT(airlock_split_publish(&split, &notify) && notify);
	EXPECT(airlock_split_publish(&split, &notify) && !notify);
	shown.used.event = 0xfffe;
	add_single(5, 1);
	EXPECT(airlock_split_publish(&split, &notify) && !notify);
	EXPECT(shown.avail.idx == 6 && own.used.flags == 0);
}

/* VIRTIO 1.3, 2.7.7: the next interrupt is asked for behind what was handed in. */
static void what_is_used_before_an_interrupt_was_asked_for_is_noticed(void)
{
	start_at(0xffff);
	split.event_idx = true;
	own.avail.event = 77; /* virtio_ring's own: it does not know about this */
	add_single(0, 1);
	add_single(1, 1);
	EXPECT(publish());
	use(0, 1);
	EXPECT(collect(1) == AIRLOCK_OK);
	EXPECT(!airlock_split_rearm(&split) && shown.avail.event == 0);
	use(1, 1);
	EXPECT(airlock_split_rearm(&split) && shown.avail.event == 0);
	EXPECT(collect(1) == AIRLOCK_OK);
	EXPECT(!airlock_split_rearm(&split) && shown.avail.event == 1);
	EXPECT(own.avail.event == 77 && shown.avail.flags == 0);

	start(); /* without EVENT_IDX each one brings an interrupt, and nothing is asked for */
	add_single(0, 1);
	EXPECT(publish());
	use(0, 1);
	shown.avail.event = 0x5555;
	EXPECT(!airlock_split_rearm(&split) && shown.avail.event == 0x5555);
}

/* HD-1 */
static void an_id_is_below_the_queue_size(void)
{
	static const u32 lies[] = { SIZE, 0x10000 + SIZE - 1, UINT32_MAX };
	unsigned int i;

	start();
	add_single(SIZE - 1, 1);
	EXPECT(publish());
	use(SIZE - 1, 0);
	EXPECT(collect(1) == AIRLOCK_OK);
	for (i = 0; i < 3; i++) {
		start();
		add_single(SIZE - 1, 1);
		EXPECT(publish());
		use(lies[i], 0);
		EXPECT(collect(0) == AIRLOCK_BAD_INDEX);
	}
}

/* HD-2 */
static void an_id_is_of_a_head_in_flight(void)
{
	start();
	add_pair(0, 1, 8);
	add_pair(2, 3, 8);
	EXPECT(publish());
	add_pair(4, 5, 8); /* available, but not published */
	use(2, 8); /* any order */
	use(0, 8);
	EXPECT(collect(2) == AIRLOCK_OK);

	start();
	add_pair(0, 1, 8);
	EXPECT(publish());
	use(1, 0); /* the inside of a chain */
	EXPECT(collect(0) == AIRLOCK_NOT_OUTSTANDING);

	start();
	add_pair(0, 1, 8);
	EXPECT(publish());
	add_pair(2, 3, 8);
	use(2, 0); /* not yet published */
	EXPECT(collect(0) == AIRLOCK_NOT_OUTSTANDING);
}

/* HD-2: in one batch, and in the next. */
static void an_id_comes_back_once(void)
{
	start();
	add_pair(0, 1, 8);
	add_pair(2, 3, 8);
	EXPECT(publish());
	use(0, 8);
	use(0, 8);
	EXPECT(collect(1) == AIRLOCK_NOT_OUTSTANDING); /* the first one is true, and handed in */

	start();
	add_pair(0, 1, 8);
	add_pair(2, 3, 8);
	EXPECT(publish());
	use(0, 8);
	EXPECT(collect(1) == AIRLOCK_OK);
	use(0, 8);
	EXPECT(collect(0) == AIRLOCK_NOT_OUTSTANDING);

	start();
	add_pair(0, 1, 8);
	EXPECT(publish());
	use(0, 8);
	EXPECT(collect(1) == AIRLOCK_OK);
	add_pair(0, 1, 8); /* the twin: given once more, so it may come once more */
	EXPECT(publish());
	use(0, 8);
	EXPECT(collect(1) == AIRLOCK_OK);
}

/* HD-3: all buffers count that the device may write, and no other. */
static void a_length_is_of_what_the_device_may_write(void)
{
	start();
	describe(0, 100, VRING_DESC_F_NEXT, 1);
	describe(1, 10, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 2);
	describe(2, 5, VRING_DESC_F_WRITE, 0);
	make_available(0);
	describe(3, 100, 0, 0);
	make_available(3);
	EXPECT(publish());
	use(0, 15);
	use(3, 0);
	EXPECT(collect(2) == AIRLOCK_OK);

	make_available(0);
	make_available(3);
	EXPECT(publish());
	use(3, 1);
	EXPECT(collect(0) == AIRLOCK_BAD_LENGTH);

	start();
	add_pair(0, 1, 15);
	EXPECT(publish());
	use(0, 16);
	EXPECT(collect(0) == AIRLOCK_BAD_LENGTH);
}

/* HD-3 with HD-8: the table that counts is the private one, as it was when published. */
static void an_indirect_length_is_by_the_private_table(void)
{
	start();
	add_indirect(4, 600);
	EXPECT(publish());
	EXPECT(!memcmp(&shown.desc[4], &own.desc[4], sizeof(*own.desc)));
	use(4, 600);
	EXPECT(collect(1) == AIRLOCK_OK);
	add_indirect(4, 600);
	EXPECT(publish());
	use(4, 601);
	EXPECT(collect(0) == AIRLOCK_BAD_LENGTH);

	start(); /* a table that nobody knows */
	add_indirect(4, 600);
	own.desc[4].addr++;
	EXPECT(!publish());
}

static void start_disk(u8 status_byte)
{
	start();
	split.peek = peek;
	split.filled = filled;
	status = status_byte;
}

static bool nothing_was_filled(void)
{
	unsigned int i;

	for (i = 0; i < SIZE + 4; i++)
		if (filled_bytes[i])
			return false;
	return true;
}

/* A read of two buffers and a status, whatever the used length says: see airlock_split.c. */
static void a_disk_says_in_its_status_that_it_wrote(void)
{
	static const u32 lengths[] = { 0, 1, 15, 16 };
	unsigned int i;

	for (i = 0; i < 8; i++) {
		start_disk(i / 4);
		describe(0, 100, VRING_DESC_F_NEXT, 1);
		describe(1, 10, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 2);
		describe(2, 5, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 3);
		describe(3, 1, VRING_DESC_F_WRITE, 0);
		make_available(0);
		EXPECT(publish());
		use(0, lengths[i % 4]);
		EXPECT(nothing_was_filled() && status_at == 0);
		EXPECT(collect(1) == AIRLOCK_OK);
		EXPECT(status_at == 0x4000);
		if (status)
			EXPECT(nothing_was_filled());
		else
			EXPECT(filled_bytes[1] == 10 && filled_bytes[2] == 5 && !filled_bytes[0]);
	}
	start_disk(0);
	add_indirect(4, 600);
	EXPECT(publish());
	use(4, 1);
	EXPECT(collect(1) == AIRLOCK_OK);
	EXPECT(filled_bytes[SIZE] == 599 && filled_bytes[SIZE + 1] == 1 && !filled_bytes[4]);
	EXPECT(status_at == 0x1000 * (SIZE + 2));

	start_disk(0); /* of a write there is nothing to tell, nor of what is only read */
	add_pair(0, 1, 1);
	describe(2, 100, 0, 0);
	make_available(2);
	EXPECT(publish());
	use(0, 1);
	use(2, 0);
	EXPECT(collect(2) == AIRLOCK_OK && nothing_was_filled() && status_at == 0);

	start_disk(0); /* a lie fills nothing */
	add_single(0, 8);
	add_single(1, 8);
	EXPECT(publish());
	use(0, 9);
	use(1, 8);
	EXPECT(collect(0) == AIRLOCK_BAD_LENGTH && nothing_was_filled());
}

/* Sums beyond 32 bits allow any length, instead of wrapping to a small one. */
static void a_huge_sum_does_not_wrap(void)
{
	start();
	describe(0, UINT32_MAX, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 1);
	describe(1, 2, VRING_DESC_F_WRITE, 0);
	make_available(0);
	EXPECT(publish());
	use(0, UINT32_MAX);
	EXPECT(collect(1) == AIRLOCK_OK);
}

/* HD-4 */
static void the_used_index_moves_by_what_is_in_flight(void)
{
	static const u16 lies[] = { 3, SIZE, SIZE + 1, 0x8000, 0xffff };
	unsigned int i;

	start();
	EXPECT(collect(0) == AIRLOCK_OK);
	shown.used.idx = 1; /* nothing is in flight at all */
	EXPECT(collect(0) == AIRLOCK_BAD_INDEX_JUMP);
	for (i = 0; i < 5; i++) {
		start();
		add_single(0, 8);
		add_single(1, 8);
		EXPECT(publish());
		use(0, 8);
		use(1, 8);
		shown.used.idx = lies[i];
		EXPECT(collect(0) == AIRLOCK_BAD_INDEX_JUMP);
		shown.used.idx = 2;
		EXPECT(collect(2) == AIRLOCK_OK);
	}
}

/* Not a device's lie but a bug here: noticed all the same, and nothing of it is made available. */
static void an_own_ring_that_makes_no_sense_is_not_published(void)
{
	u16 i;

	start();
	make_available(SIZE);
	EXPECT(!publish() && shown.avail.idx == 0);

	start();
	describe(0, 1, VRING_DESC_F_NEXT, 1);
	describe(1, 1, VRING_DESC_F_NEXT, 0); /* a loop */
	make_available(0);
	EXPECT(!publish() && shown.avail.idx == 0);

	start();
	describe(0, 1, VRING_DESC_F_NEXT, SIZE);
	make_available(0);
	EXPECT(!publish() && shown.avail.idx == 0);

	start();
	add_indirect(0, 600);
	own.desc[0].flags |= VRING_DESC_F_NEXT; /* a table in the middle of a chain */
	EXPECT(!publish() && shown.avail.idx == 0);

	start();
	add_single(0, 1);
	make_available(0); /* the same head again */
	EXPECT(!publish() && shown.avail.idx == 0);

	start();
	for (i = 0; i <= SIZE; i++)
		add_single(i % SIZE, 1);
	EXPECT(!publish() && shown.avail.idx == 0);
	EXPECT(shown.desc[0].len == 0xeeeeeeee); /* more than fits: not even begun */
}

static void a_full_ring_is_published_and_used_whole(void)
{
	u16 i;

	start_at(0xfffc); /* the index wraps on the way */
	for (i = 0; i < SIZE; i++)
		add_single(i, i);
	EXPECT(publish() && shown.avail.idx == 4 && split.outstanding == SIZE);
	for (i = SIZE; i-- > 0;)
		use(i, i);
	EXPECT(collect(SIZE) == AIRLOCK_OK && own.used.idx == 4);
	for (i = 0; i < SIZE; i++)
		EXPECT(own.used.ring[(u16)(0xfffc + i) % SIZE].id == (u32)(SIZE - 1 - i));
}

/*
 * HD-1 to HD-4: a driver that adds and a device that answers at random, until it lies at random.
 * Whatever it does, virtio_ring sees heads that are in flight only, each once, none too long.
 */
static void random_run_hands_in_nothing_but_the_truth(unsigned int seed, bool lies)
{
	bool in_flight[SIZE] = { false };
	u32 writable[SIZE] = { 0 };
	u16 seen = 0;
	int step;

	start();
	srand(seed);
	for (step = 0; step < 70000; step++) {
		u16 pick = rand() % SIZE;
		unsigned int count;
		enum airlock_verdict verdict;

		if (!in_flight[pick]) {
			writable[pick] = rand() % 100;
			in_flight[pick] = true;
			add_single(pick, writable[pick]);
			EXPECT(publish());
		} else {
			use(pick, rand() % (writable[pick] + 1));
		}
		if (lies && rand() % 20 == 0)
			((u8 *)&shown)[rand() % sizeof(shown)] = rand();
		verdict = airlock_split_collect(&split, &count);
		for (; seen != own.used.idx; seen++, count--) {
			const struct vring_used_elem *element = &own.used.ring[seen % SIZE];

			EXPECT(element->id < SIZE && in_flight[element->id]);
			EXPECT(element->len <= writable[element->id]);
			in_flight[element->id] = false;
		}
		EXPECT(count == 0 && own.used.flags == 0);
		if (verdict != AIRLOCK_OK) {
			EXPECT(lies);
			return;
		}
	}
	EXPECT(!lies);
}

int main(void)
{
	unsigned int seed;

	a_chain_is_shown_whole_and_comes_back();
	the_table_is_never_read_back();
	the_device_is_told_unless_it_asked_not_to_be();
	the_device_is_told_where_it_asked_for_it();
	what_is_used_before_an_interrupt_was_asked_for_is_noticed();
	an_id_is_below_the_queue_size();
	an_id_is_of_a_head_in_flight();
	an_id_comes_back_once();
	a_length_is_of_what_the_device_may_write();
	an_indirect_length_is_by_the_private_table();
	a_disk_says_in_its_status_that_it_wrote();
	a_huge_sum_does_not_wrap();
	the_used_index_moves_by_what_is_in_flight();
	an_own_ring_that_makes_no_sense_is_not_published();
	a_full_ring_is_published_and_used_whole();
	for (seed = 1; seed <= 200; seed++) {
		if (seed <= 4)
			random_run_hands_in_nothing_but_the_truth(seed, false);
		random_run_hands_in_nothing_but_the_truth(seed, true);
	}
	puts("split_test: ok");
	return 0;
}
