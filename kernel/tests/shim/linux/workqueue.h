/* SPDX-License-Identifier: GPL-2.0-only */
/* Work that is queued and never runs by itself: a test sees that it was, and runs it. */
#ifndef AIRLOCK_SHIM_WORKQUEUE_H
#define AIRLOCK_SHIM_WORKQUEUE_H

#include <linux/kernel.h>

struct work_struct {
	void (*run)(struct work_struct *work);
};

struct delayed_work {
	struct work_struct work;
	bool pending;
};

#define INIT_DELAYED_WORK(delayed, function) \
	(*(delayed) = (struct delayed_work){ .work = { .run = (function) } })

static inline struct delayed_work *to_delayed_work(struct work_struct *work)
{
	return container_of(work, struct delayed_work, work);
}

static inline void schedule_delayed_work(struct delayed_work *delayed, unsigned long delay)
{
	(void)delay;
	__atomic_store_n(&delayed->pending, true, __ATOMIC_RELAXED);
}

static inline void cancel_delayed_work_sync(struct delayed_work *delayed)
{
	__atomic_store_n(&delayed->pending, false, __ATOMIC_RELAXED);
}

/* What the delay's end does. Returns false if nothing was queued. */
static inline bool shim_run_delayed_work(struct delayed_work *delayed)
{
	if (!__atomic_exchange_n(&delayed->pending, false, __ATOMIC_RELAXED))
		return false;
	delayed->work.run(&delayed->work);
	return true;
}

#endif
