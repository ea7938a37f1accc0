/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef AIRLOCK_SHIM_BITOPS_H
#define AIRLOCK_SHIM_BITOPS_H

#define __ffs(word) ((unsigned long)__builtin_ctzl(word))

#endif
