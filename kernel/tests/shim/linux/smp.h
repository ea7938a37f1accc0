/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef AIRLOCK_SHIM_SMP_H
#define AIRLOCK_SHIM_SMP_H

#include <linux/kernel.h>

#endif
