/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef AIRLOCK_SHIM_JIFFIES_H
#define AIRLOCK_SHIM_JIFFIES_H

#define HZ 100

#endif
