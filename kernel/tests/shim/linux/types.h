/* SPDX-License-Identifier: GPL-2.0-only */
/* Just enough of <linux/types.h> for user space. */
#ifndef AIRLOCK_SHIM_TYPES_H
#define AIRLOCK_SHIM_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef unsigned long long u64; /* as the kernel prints it */

#endif
