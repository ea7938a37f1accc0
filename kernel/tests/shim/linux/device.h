/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef AIRLOCK_SHIM_DEVICE_H
#define AIRLOCK_SHIM_DEVICE_H

#include <linux/kernel.h>

#endif
