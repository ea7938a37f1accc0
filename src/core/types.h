/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * The fixed-width types that core needs, wherever it is compiled: a freestanding C11 or C++
 * program, or the Linux kernel. core includes nothing else.
 */
#ifndef AIRLOCK_CORE_TYPES_H
#define AIRLOCK_CORE_TYPES_H

#ifdef __KERNEL__
#include <linux/limits.h>
#include <linux/types.h>
#else
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#endif

#endif
