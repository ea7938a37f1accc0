// SPDX-License-Identifier: GPL-2.0-only
/* What the pretended kernel has once. */
#include <linux/kernel.h>
#include <linux/spinlock.h>
#include <linux/tracepoint.h>

struct page shim_memory[SHIM_PAGES];
unsigned int shim_cpus = 1;
_Thread_local unsigned int shim_cpu;
_Thread_local void (*shim_before_lock)(spinlock_t *lock);
_Thread_local struct shim_event shim_last_event;
