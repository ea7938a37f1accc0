/* SPDX-License-Identifier: GPL-2.0-only */
/* glibc includes a header of this name for PATH_MAX: that one first. */
#ifndef AIRLOCK_SHIM_LIMITS_H
#define AIRLOCK_SHIM_LIMITS_H

#include_next <linux/limits.h>
#include <limits.h>
#include <stdint.h>

#define U8_MAX UINT8_MAX
#define U32_MAX UINT32_MAX

#endif
