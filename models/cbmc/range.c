/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core/range.h says what it says it says: each check equals the same question asked of numbers that
 * are too wide to overflow. For all 64-bit numbers.
 */
#include "proof.h"

#ifdef BROKEN_WRAPPING_SUM
#define airlock_range_within airlock_range_within_as_it_is
#define airlock_range_inside airlock_range_inside_as_it_is
#endif
#include "core/range.h"
#ifdef BROKEN_WRAPPING_SUM
#undef airlock_range_within
#undef airlock_range_inside
static bool airlock_range_within(uint64_t offset, uint64_t length, uint64_t limit) {
  return offset + length <= limit;
}
static bool airlock_range_inside(uint64_t address, uint64_t length, uint64_t base, uint64_t size) {
  return address >= base && address + length <= base + size;
}
#endif

typedef unsigned __CPROVER_bitvector[66] wide;

/*
 * proof: range_within
 * twin: range_within BROKEN_WRAPPING_SUM: within means that the end is at most the limit
 */
void range_within(void) {
  const uint64_t offset = nondet_u64();
  const uint64_t length = nondet_u64();
  const uint64_t limit = nondet_u64();
  const bool within = airlock_range_within(offset, length, limit);

  PROVE(within == ((wide)offset + length <= limit),
        "within means that the end is at most the limit");
  if (within) REACHED("a range within");
  if (!within) REACHED("a range not within");
}

/*
 * Wherever base is, also where base + size wraps around.
 *
 * proof: range_inside
 * twin: range_inside BROKEN_WRAPPING_SUM: inside means that what begins behind base ends in time
 */
void range_inside(void) {
  const uint64_t address = nondet_u64();
  const uint64_t length = nondet_u64();
  const uint64_t base = nondet_u64();
  const uint64_t size = nondet_u64();
  const bool inside = airlock_range_inside(address, length, base, size);
  const bool behind = address >= base;

  PROVE(inside == (behind && (wide)address - base + length <= size),
        "inside means that what begins behind base ends in time");
  if (inside) REACHED("a range inside");
  if (!inside) REACHED("a range not inside");
}

/*
 * A byte that is in both is what overlapping means.
 *
 * proof: ranges_overlap
 * twin: ranges_overlap BROKEN_ENDS_ONLY: ranges that share a byte overlap
 */
void ranges_overlap(void) {
  const uint64_t a = nondet_u64();
  const uint64_t a_length = nondet_u64();
  const uint64_t b = nondet_u64();
  const uint64_t b_length = nondet_u64();
  const uint64_t byte = nondet_u64();
  ASSUME((wide)a + a_length <= (wide)UINT64_MAX + 1);
  ASSUME((wide)b + b_length <= (wide)UINT64_MAX + 1);
  const bool in_a = byte >= a && byte < (wide)a + a_length;
  const bool in_b = byte >= b && byte < (wide)b + b_length;
#ifdef BROKEN_ENDS_ONLY
  const bool overlap = a_length != 0 && a >= b && a - b < b_length;
#else
  const bool overlap = airlock_ranges_overlap(a, a_length, b, b_length);
#endif

  if (in_a && in_b) {
    PROVE(overlap, "ranges that share a byte overlap");
    REACHED("a shared byte");
  }
  if (overlap) {
    const uint64_t first = a > b ? a : b; /* the first byte that they share */
    PROVE(first - a < a_length && first - b < b_length, "ranges that overlap share a byte");
    REACHED("an overlap");
  }
}

/*
 * proof: alignment
 * twin: alignment BROKEN_ZERO: a power of two has one bit
 */
void alignment(void) {
  const uint64_t value = nondet_u64();
  const uint8_t shift = nondet_u8();
  ASSUME(shift < 64);
#ifdef BROKEN_ZERO
  const bool power = (value & (value - 1)) == 0;
#else
  const bool power = airlock_is_power_of_two(value);
#endif

  PROVE(airlock_is_aligned(value, (uint64_t)1 << shift) == ((value >> shift) << shift == value),
        "aligned means that nothing is lost below");
  PROVE(power == (__builtin_popcountll(value) == 1), "a power of two has one bit");
  REACHED("the end");
}
