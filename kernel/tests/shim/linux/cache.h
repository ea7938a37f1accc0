/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef AIRLOCK_SHIM_CACHE_H
#define AIRLOCK_SHIM_CACHE_H

#include <linux/kernel.h>

#endif
