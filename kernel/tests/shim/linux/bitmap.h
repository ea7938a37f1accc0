/* SPDX-License-Identifier: GPL-2.0-only */
/* The kernel's bitmap calls, one bit at a time: slow, and easy to believe. */
#ifndef AIRLOCK_SHIM_BITMAP_H
#define AIRLOCK_SHIM_BITMAP_H

#include <limits.h>
#include <linux/types.h>

#define SHIM_LONG_BITS (sizeof(long) * CHAR_BIT)

static inline bool test_bit(unsigned long bit, const unsigned long *map)
{
	return map[bit / SHIM_LONG_BITS] >> (bit % SHIM_LONG_BITS) & 1;
}

static inline void bitmap_set(unsigned long *map, unsigned long start, unsigned long count)
{
	for (; count; count--, start++)
		map[start / SHIM_LONG_BITS] |= 1UL << (start % SHIM_LONG_BITS);
}

static inline void bitmap_clear(unsigned long *map, unsigned long start, unsigned long count)
{
	for (; count; count--, start++)
		map[start / SHIM_LONG_BITS] &= ~(1UL << (start % SHIM_LONG_BITS));
}

static inline unsigned long find_next_bit(const unsigned long *map, unsigned long size,
					  unsigned long bit)
{
	while (bit < size && !test_bit(bit, map))
		bit++;
	return bit;
}

static inline unsigned long find_next_zero_bit(const unsigned long *map, unsigned long size,
					       unsigned long bit)
{
	while (bit < size && test_bit(bit, map))
		bit++;
	return bit;
}

static inline unsigned long find_last_bit(const unsigned long *map, unsigned long size)
{
	unsigned long bit;

	for (bit = size; bit; bit--)
		if (test_bit(bit - 1, map))
			return bit - 1;
	return size;
}

/* Start of the first run of count zero bits, or something >= size. The mask is not needed here. */
static inline unsigned long bitmap_find_next_zero_area(const unsigned long *map, unsigned long size,
						       unsigned long start, unsigned int count,
						       unsigned long align_mask)
{
	(void)align_mask;
	for (; start + count <= size; start++)
		if (find_next_bit(map, start + count, start) >= start + count)
			return start;
	return size;
}

#endif
