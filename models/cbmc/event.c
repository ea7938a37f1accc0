/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core/event.h against counting entry by entry. Steps of up to 8 entries, packed rings of up to 8
 * slots, from every index; and whatever the peer writes, an answer. VIRTIO 1.3, 2.7.10, 2.8.10.
 */
#include "proof.h"

/* Indices count modulo 2^16, and slot - size means the lap before: both wrap on purpose. */
#pragma CPROVER check push
#pragma CPROVER check disable "unsigned-overflow"
#include "core/event.h"
#pragma CPROVER check pop

#define STEPS_MAX 8u

/*
 * proof: need_event --unwind 9
 * twin: need_event BROKEN_COMPARED_AS_NUMBERS: an event is hit by the entry that it names
 */
void need_event(void) {
  const uint16_t event = nondet_u16();
  const uint16_t before = nondet_u16();
  const uint16_t moved = nondet_u16();
  ASSUME(moved <= STEPS_MAX);
  const uint16_t now = (uint16_t)(before + moved);
  bool hit = false;
#ifdef BROKEN_COMPARED_AS_NUMBERS
  const bool need = before <= event && event < now;
#else
  const bool need = airlock_need_event(event, now, before);
#endif

  for (uint16_t i = 0; i < moved; i++)
    hit = hit || (uint16_t)(before + i) == event;
  PROVE(need == hit, "an event is hit by the entry that it names");
  if (need && now < before) REACHED("an event around the end");
  if (!need) REACHED("no event");
}

/*
 * Whether a step of any length up to 2^15 entries passes the event is the same as whether one of
 * two steps into which it is cut does: so what holds of short steps holds of long ones.
 *
 * proof: need_event_adds_up
 * twin: need_event_adds_up BROKEN_LAST_ENTRY_ONLY: two steps pass what one step does
 */
void need_event_adds_up(void) {
  const uint16_t event = nondet_u16();
  const uint16_t before = nondet_u16();
  const uint16_t first = nondet_u16();
  const uint16_t second = nondet_u16();
  ASSUME((uint32_t)first + second <= 32768);
  const uint16_t middle = (uint16_t)(before + first);
  const uint16_t now = (uint16_t)(middle + second);
#ifdef BROKEN_LAST_ENTRY_ONLY
#define airlock_need_event(event, now, before) ((event) == (uint16_t)((now) - 1))
#endif

  PROVE(airlock_need_event(event, now, before) ==
            (airlock_need_event(event, middle, before) || airlock_need_event(event, now, middle)),
        "two steps pass what one step does");
  REACHED("the end");
}

/*
 * proof: need_event_packed --unwind 9
 * twin: need_event_packed BROKEN_WRAP_IGNORED: an event is hit by the slot and lap that it names
 */
void need_event_packed(void) {
  const uint32_t size = nondet_u32();
  const uint32_t start = nondet_u32();
  const uint16_t moved = nondet_u16();
  const bool start_wrap = nondet_bool();
  const uint16_t event = nondet_u16();
  ASSUME(size >= 1 && size <= STEPS_MAX && start < size && moved <= size);
  uint32_t position = start;
  bool wrap = start_wrap;
  bool hit = false;

  for (uint16_t i = 0; i < moved; i++) {
    hit = hit || event == (uint16_t)(position | (wrap ? 0x8000u : 0));
    position++;
    if (position == size) {
      position = 0;
      wrap = !wrap;
    }
  }
#ifdef BROKEN_WRAP_IGNORED
  const uint16_t told = (uint16_t)((event & 0x7fffu) | (wrap ? 0x8000u : 0));
#else
  const uint16_t told = event;
#endif
  const bool need = airlock_need_event_packed(told, (uint16_t)position, wrap, moved, size);

  if ((event & 0x7fffu) < size) {
    PROVE(need == hit, "an event is hit by the slot and lap that it names");
    if (need && wrap != start_wrap) REACHED("an event around the end");
    if (!need) REACHED("no event");
  } else {
    REACHED("an event that no slot has"); /* legal, and the answer is one of two: HD-21 */
  }
}
