/* SPDX-License-Identifier: GPL-2.0-only */
/* A lock that only notices who takes it twice or gives back what nobody took: one thread here. */
#ifndef AIRLOCK_SHIM_SPINLOCK_H
#define AIRLOCK_SHIM_SPINLOCK_H

#include <linux/kernel.h>

typedef struct {
	bool taken;
} spinlock_t;

static inline void spin_lock_init(spinlock_t *lock)
{
	lock->taken = false;
}

#define shim_lock_becomes(lock, now) \
	do {                                   \
		if ((lock)->taken == (now))    \
			abort();               \
		(lock)->taken = (now);         \
	} while (0)

#define spin_lock_irqsave(lock, flags)          \
	do {                                    \
		(flags) = 0;                    \
		shim_lock_becomes(lock, true);  \
	} while (0)
#define spin_unlock_irqrestore(lock, flags)     \
	do {                                    \
		(void)(flags);                  \
		shim_lock_becomes(lock, false); \
	} while (0)

#endif
