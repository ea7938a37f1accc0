/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef AIRLOCK_SHIM_COMPILER_H
#define AIRLOCK_SHIM_COMPILER_H

#define READ_ONCE(value) (*(const volatile __typeof__(value) *)&(value))
#define OPTIMIZER_HIDE_VAR(variable) ((void)(variable))
#define WRITE_ONCE(target, value) (*(volatile __typeof__(target) *)&(target) = (value))

#endif
