/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one door: whatever address and length a driver writes, what the window hands out is memory of
 * the region, or nothing. DEF-5, DMB-D7, DMB-DR3.
 */
#include "window.h"

/*
 * proof: window_translate
 * twin: window_translate BROKEN_WRAPPING_SUM: the span lies in the region
 * twin: window_translate BROKEN_EMPTY: an empty range is refused
 * twin: window_translate BROKEN_UNPLACED: a region that is not on the bus is out of reach
 */
void window_translate(void) {
  const struct window window = any_window();
  const uint64_t address = nondet_u64();
  const uint64_t length = nondet_u64();
  struct span span;

  if (!translate(&window, address, length, &span)) {
    REACHED("a refused address");
    return;
  }
  PROVE(length != 0, "an empty range is refused");
  PROVE(!window.offset_mode || address != 0, "offset 0 is refused in offset mode");
  PROVE(window.offset_mode || window.bus_base != UNPLACED,
        "a region that is not on the bus is out of reach");
  PROVE(span.size == length, "the span has the length that was asked for");
  PROVE(in_region(&window, span), "the span lies in the region");
  PROVE(
      (uint64_t)(span.data - window.region) == address - (window.offset_mode ? 0 : window.bus_base),
      "the span is the memory of that address");
  REACHED("a span");
}

/*
 * GuestMemory::find(): the last range that begins at or below the address (std::map::upper_bound,
 * one before) is asked for a slice.
 *
 * proof: guest_memory_find
 * twin: guest_memory_find BROKEN_ANY_RANGE: the span lies in the range
 */
void guest_memory_find(void) {
  const struct window range = any_window();
  const uint64_t first = nondet_u64();
  const uint64_t address = nondet_u64();
  const uint64_t length = nondet_u64();
  struct span span;

#ifdef BROKEN_ANY_RANGE
  const bool found = address - first < range.size;
  span.data = range.region + (address - first);
  span.size = length;
#else
  ASSUME(first <= address);
  const bool found = slice(&range, address - first, length, &span);
#endif
  if (!found) {
    REACHED("a refused address");
    return;
  }
  PROVE(in_region(&range, span), "the span lies in the range");
  REACHED("a span");
}
