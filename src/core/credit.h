/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * Credit between two ends of a socket, each of which counts bytes modulo 2^32 and hears of the
 * other's counters. VIRTIO 1.3, 5.10.6.3. A peer's counters are numbers that it chose: whatever
 * they are, the answer is at most what the peer says it has room for.
 */
#ifndef AIRLOCK_CORE_CREDIT_H
#define AIRLOCK_CORE_CREDIT_H

#include "core/types.h"

/*
 * Bytes that may be sent now: the peer has room for buf_alloc, we have sent `sent` so far, and it
 * has taken fwd_cnt of those. A peer that has taken more than was sent, or that has less room than
 * what is under way, gets nothing.
 */
static inline uint32_t airlock_credit_free(uint32_t buf_alloc, uint32_t sent, uint32_t fwd_cnt) {
  const uint32_t under_way = sent - fwd_cnt;
  return under_way <= buf_alloc ? buf_alloc - under_way : 0;
}

/*
 * True iff `length` bytes more fit into a buffer of `size` bytes, of which `used` are taken: both
 * our own numbers, with used <= size. The length is the peer's. Cannot overflow.
 */
static inline bool airlock_credit_allows(uint32_t length, uint32_t used, uint32_t size) {
  return length <= size - used;
}

#endif
