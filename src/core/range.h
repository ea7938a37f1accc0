/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * The one bounds check. Everything that turns a peer's number into memory comes through here, so
 * there is one place to prove: no form of it adds two numbers that a peer chose.
 */
#ifndef AIRLOCK_CORE_RANGE_H
#define AIRLOCK_CORE_RANGE_H

#include "core/types.h"

/*
 * True iff [offset, offset + length) lies inside [0, limit). Bytes. Cannot overflow. An empty range
 * is inside iff offset <= limit; a caller for whom empty is a lie checks that first.
 * REQUIREMENTS DEF-5, DMB-D7, HD-28.
 */
static inline bool airlock_range_within(uint64_t offset, uint64_t length, uint64_t limit) {
  return length <= limit && offset <= limit - length;
}

/*
 * True iff [address, address + length) lies inside [base, base + size), all in bytes of the same
 * address space. base + size may be 2^64 at most; an address below base is outside.
 */
static inline bool airlock_range_inside(uint64_t address, uint64_t length, uint64_t base,
                                        uint64_t size) {
  return address >= base && airlock_range_within(address - base, length, size);
}

/* True iff [address, address + length) is not empty, and its last byte has an address. */
static inline bool airlock_is_range(uint64_t address, uint64_t length) {
  return length != 0 && length - 1 <= ~address;
}

/* True iff a and b, each [offset, offset + length), share a byte. Neither may wrap. */
static inline bool airlock_ranges_overlap(uint64_t a, uint64_t a_length, uint64_t b,
                                          uint64_t b_length) {
  if (a_length == 0 || b_length == 0) return false;
  return a <= b ? b - a < a_length : a - b < b_length;
}

/* True iff value is a multiple of alignment, a power of two. */
static inline bool airlock_is_aligned(uint64_t value, uint64_t alignment) {
  return (value & (alignment - 1)) == 0;
}

/* True iff value is a power of two (zero is not). */
static inline bool airlock_is_power_of_two(uint64_t value) {
  return value != 0 && (value & (value - 1)) == 0;
}

#endif
