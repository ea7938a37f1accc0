/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The slots of a pool under their locks, one area for each CPU as far as the pool's size allows.
 * All functions but open and close may be called in any context, interrupts included.
 */
#ifndef AIRLOCK_AREAS_H
#define AIRLOCK_AREAS_H

#include "airlock_slots.h"

/* What an area counts, summed over all of them. Slots, or events since the pool was opened. */
struct airlock_areas_stats {
	unsigned long used;
	/*
	 * The sum of what each area had at its fullest. So it is never less than what the pool had
	 * at its fullest, but more if the areas were full at different times. An exact peak would
	 * take a word that every CPU writes with each mapping.
	 */
	unsigned long used_hiwater;
	unsigned long exhausted;
	unsigned long refused;
};

/*
 * How many areas suit slot_count slots, of which a mapping takes mapping_max at most: a power of
 * two, no more than there can be CPUs. request_slots is what has to fit an idle pool whatever the
 * lengths of its mappings.
 */
unsigned int airlock_areas_count(unsigned long slot_count, unsigned long mapping_max,
				 unsigned long request_slots);

/* All slots free; memory is theirs. Errors: -ENOMEM. May sleep. */
int airlock_areas_open(struct airlock_slots *slots, void *memory, unsigned long slot_count,
		       unsigned int area_count);
void airlock_areas_close(struct airlock_slots *slots);

/*
 * Takes slots for an extent: streaming memory from this CPU's own area, from the others in order if
 * that has no room, and at last wherever there is room, in all areas at once and across them;
 * coherent memory from the top down, in whole pages. Fails only if at one time there was no room.
 * Returns the first slot or -1. Its record is the caller's to read.
 */
long airlock_areas_take(struct airlock_slots *slots, const struct airlock_extent_request *request);

/*
 * Copies the record of the live extent of that kind that a slot belongs to. Returns false if there
 * is none.
 */
bool airlock_areas_find(struct airlock_slots *slots, unsigned long slot,
			enum airlock_extent_kind kind, struct airlock_extent *record);

enum airlock_end {
	AIRLOCK_END_REFUSED, /* there is no such extent */
	AIRLOCK_END_DRAINING, /* taken until airlock_areas_release(), but no handle is good */
	AIRLOCK_END_FREE,
	AIRLOCK_END_SCRUB_DUE, /* free, and the first to be dirty since the last scrub began */
};

/*
 * The same for a slot that has to be the extent's first, and takes the extent out of service. Where
 * the device was to write nothing the extent is free when this returns.
 */
enum airlock_end airlock_areas_retire(struct airlock_slots *slots, unsigned long slot,
				      enum airlock_extent_kind kind,
				      struct airlock_extent *record);

/* Frees what is draining. */
enum airlock_end airlock_areas_release(struct airlock_slots *slots, unsigned long head);

/* Zeroes each dirty slot, under a lock, a slot at a time. May sleep. */
void airlock_areas_scrub(struct airlock_slots *slots);

/* Count an event, in this CPU's area. */
void airlock_areas_note_exhausted(struct airlock_slots *slots);
void airlock_areas_note_refused(struct airlock_slots *slots);

void airlock_areas_stats(struct airlock_slots *slots, struct airlock_areas_stats *stats);
/* Starts a new measurement of used_hiwater. */
void airlock_areas_restart_hiwater(struct airlock_slots *slots);

#endif
