/* SPDX-License-Identifier: GPL-2.0-only */
/* Events of one class, as functions that keep the last one of each thread for a test to look at. */
#ifndef AIRLOCK_SHIM_TRACEPOINT_H
#define AIRLOCK_SHIM_TRACEPOINT_H

#include <linux/kernel.h>

struct shim_event {
	const char *name;
	u64 handle;
	size_t size;
	int direction;
	u32 slots;
};

extern _Thread_local struct shim_event shim_last_event;

static inline void shim_trace(const char *name, const struct device *dev, u64 handle, size_t size,
			      int direction, u32 slots)
{
	(void)dev;
	shim_last_event = (struct shim_event){ name, handle, size, direction, slots };
}

#define TRACE_DEFINE_ENUM(value)
#define TP_PROTO(...) __VA_ARGS__
#define TP_ARGS(...) __VA_ARGS__
#define DECLARE_EVENT_CLASS(...)
#define DEFINE_EVENT(class, name, prototype, arguments) \
	static inline void trace_##name(prototype)      \
	{                                               \
		shim_trace(#name, arguments);           \
	}

#endif
