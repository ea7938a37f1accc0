/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Trace events, /sys/kernel/tracing/events/airlock/: what the pool did for which device. Handles
 * are what the device was told, so they can be held against the device's own log; no event shows
 * where in this kernel's memory anything is.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM airlock

#if !defined(AIRLOCK_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define AIRLOCK_TRACE_H

#include <linux/device.h>
#include <linux/dma-direction.h>
#include <linux/tracepoint.h>

/* Since 6.10 the source is the one that the field was declared with. */
#ifdef AIRLOCK_HAVE_ASSIGN_STR_OF_ONE
#define airlock_assign_str(field, source) __assign_str(field)
#else
#define airlock_assign_str(field, source) __assign_str(field, source)
#endif

TRACE_DEFINE_ENUM(DMA_BIDIRECTIONAL);
TRACE_DEFINE_ENUM(DMA_TO_DEVICE);
TRACE_DEFINE_ENUM(DMA_FROM_DEVICE);

/* size in bytes, as asked for; slots are those of the whole size, AIRLOCK_SLOT_SIZE bytes each. */
DECLARE_EVENT_CLASS(airlock_extent,
	TP_PROTO(const struct device *dev, u64 handle, size_t size, int direction, u32 slots),
	TP_ARGS(dev, handle, size, direction, slots),
	TP_STRUCT__entry(
		__string(device, dev_name(dev))
		__field(u64, handle)
		__field(size_t, size)
		__field(int, direction)
		__field(u32, slots)
	),
	TP_fast_assign(
		airlock_assign_str(device, dev_name(dev));
		__entry->handle = handle;
		__entry->size = size;
		__entry->direction = direction;
		__entry->slots = slots;
	),
	TP_printk("device=%s handle=%#llx size=%zu direction=%s slots=%u", __get_str(device),
		  __entry->handle, __entry->size,
		  __print_symbolic(__entry->direction, { DMA_BIDIRECTIONAL, "BIDIRECTIONAL" },
				   { DMA_TO_DEVICE, "TO_DEVICE" },
				   { DMA_FROM_DEVICE, "FROM_DEVICE" }),
		  __entry->slots)
);

#define AIRLOCK_EXTENT_EVENT(name)                                                                 \
	DEFINE_EVENT(airlock_extent, name,                                                         \
		TP_PROTO(const struct device *dev, u64 handle, size_t size, int direction,         \
			 u32 slots),                                                               \
		TP_ARGS(dev, handle, size, direction, slots))

AIRLOCK_EXTENT_EVENT(airlock_map);
AIRLOCK_EXTENT_EVENT(airlock_unmap);
/* No run of slots was long enough: there is no handle, it shows as all ones. */
AIRLOCK_EXTENT_EVENT(airlock_exhausted);
AIRLOCK_EXTENT_EVENT(airlock_alloc);
AIRLOCK_EXTENT_EVENT(airlock_free);
/* A part of a mapping: handle and size are those of the part. */
AIRLOCK_EXTENT_EVENT(airlock_sync_for_cpu);
AIRLOCK_EXTENT_EVENT(airlock_sync_for_device);

#endif

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE airlock_trace
#include <trace/define_trace.h>
