/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The arithmetic of window/window.cc, Window::translate(), and of shm/shared_bytes.cc,
 * SharedBytes::slice(), said again in C around the same core/range.h. A region of any size, placed
 * anywhere on the bus, also where its end wraps around: a hostile guest places the BAR.
 */
#ifndef AIRLOCK_MODELS_WINDOW_H
#define AIRLOCK_MODELS_WINDOW_H

#include <stdlib.h>

#include "core/range.h"
#include "proof.h"

#define REGION_BYTES_MAX ((uint64_t)1 << 40)
#define UNPLACED UINT64_MAX /* Window::kUnplaced */

struct window {
  uint8_t* region;
  uint64_t size;
  uint64_t bus_base;
  bool offset_mode; /* AddressMode::kOffset */
};

/* SharedSpan */
struct span {
  uint8_t* data;
  uint64_t size;
};

static struct window any_window(void) {
  struct window window = {
      .size = nondet_u64(), .bus_base = nondet_u64(), .offset_mode = nondet_bool()};

  ASSUME(window.size >= 1 && window.size <= REGION_BYTES_MAX);
  window.region = malloc(window.size);
  return window;
}

/* SharedBytes::slice() */
static bool slice(const struct window* window, uint64_t offset, uint64_t length,
                  struct span* target) {
  if (!airlock_range_within(offset, length, window->size)) return false;
  target->data = window->region + offset;
  target->size = length;
  return true;
}

/* Window::translate(), for Reach::kRegion */
static bool translate(const struct window* window, uint64_t address, uint64_t length,
                      struct span* target) {
  const uint64_t base = window->offset_mode ? 0 : window->bus_base;
  const bool unset = window->offset_mode && address == 0;
  const bool placed = base != UNPLACED;

#ifndef BROKEN_EMPTY
  if (length == 0) return false;
#endif
  if (unset) return false;
#ifndef BROKEN_UNPLACED
  if (!placed) return false;
#endif
#ifdef BROKEN_WRAPPING_SUM
  if (address < base || address + length > base + window->size) return false;
  target->data = window->region + (address - base);
  target->size = length;
  return true;
#else
  if (!airlock_range_inside(address, length, base, window->size)) return false;
  return slice(window, address - base, length, target);
#endif
}

/* Whether all of the span is memory of the region, and nothing else. */
static bool in_region(const struct window* window, struct span span) {
  return __CPROVER_same_object(span.data, window->region) && __CPROVER_w_ok(span.data, span.size) &&
         (uint64_t)__CPROVER_POINTER_OFFSET(span.data) <= window->size - span.size;
}

#endif
