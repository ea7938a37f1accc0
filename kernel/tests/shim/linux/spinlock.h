/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A lock that spins, and stops the test if its owner takes it twice or if somebody else gives it
 * back.
 */
#ifndef AIRLOCK_SHIM_SPINLOCK_H
#define AIRLOCK_SHIM_SPINLOCK_H

#include <sched.h>

#include <linux/kernel.h>

typedef struct {
	const void *owner; /* an address that only one thread has; NULL: free */
} spinlock_t;

/* What happens on this thread just before it takes a lock; or NULL. */
extern _Thread_local void (*shim_before_lock)(spinlock_t *lock);

static inline const void *shim_self(void)
{
	return &shim_cpu;
}

static inline void spin_lock_init(spinlock_t *lock)
{
	lock->owner = NULL;
}

static inline void spin_lock(spinlock_t *lock)
{
	const void *nobody = NULL;

	if (shim_before_lock)
		shim_before_lock(lock);
	while (!__atomic_compare_exchange_n(&lock->owner, &nobody, shim_self(), false,
					    __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
		if (nobody == shim_self())
			abort();
		sched_yield();
		nobody = NULL;
	}
}

static inline void spin_unlock(spinlock_t *lock)
{
	if (__atomic_load_n(&lock->owner, __ATOMIC_RELAXED) != shim_self())
		abort();
	__atomic_store_n(&lock->owner, NULL, __ATOMIC_RELEASE);
}

#define __acquires(lock)
#define __releases(lock)
#define __acquire(lock) ((void)0)
#define __release(lock) ((void)0)
#define spin_lock_nest_lock(lock, outer) ((void)(outer), spin_lock(lock))
#define spin_lock_irqsave(lock, flags) ((void)((flags) = 0), spin_lock(lock))
#define spin_unlock_irqrestore(lock, flags) ((void)(flags), spin_unlock(lock))

#endif
