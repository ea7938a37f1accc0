/* SPDX-License-Identifier: GPL-2.0-only */
/* tracepoint.h of this folder needs no second pass over the events. */
