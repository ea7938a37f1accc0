/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef AIRLOCK_SHIM_SCHED_H
#define AIRLOCK_SHIM_SCHED_H

#include <linux/kernel.h>

#endif
