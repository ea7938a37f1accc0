/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef AIRLOCK_SHIM_CPUMASK_H
#define AIRLOCK_SHIM_CPUMASK_H

#include <linux/kernel.h>

#endif
