/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* What a check of core says about something that a peer wrote. */
#ifndef AIRLOCK_CORE_VERDICT_H
#define AIRLOCK_CORE_VERDICT_H

enum airlock_verdict {
  AIRLOCK_OK = 0,
  AIRLOCK_BAD_INDEX,       /* an index or id is not below the queue size */
  AIRLOCK_BAD_INDEX_JUMP,  /* a ring index moved further than is possible */
  AIRLOCK_BAD_FLAGS,       /* a flag that is unknown or was not negotiated */
  AIRLOCK_BAD_ORDER,       /* a device-readable buffer after a device-writable one */
  AIRLOCK_BAD_LENGTH,      /* zero, or more than was given */
  AIRLOCK_CHAIN_TOO_LONG,  /* more descriptors than the queue has: a loop */
  AIRLOCK_CHAIN_TOO_BIG,   /* more than 2^32 - 1 bytes in one chain */
  AIRLOCK_NOT_OUTSTANDING, /* a completion for what is not in flight */
};

#endif
