// SPDX-License-Identifier: GPL-2.0-only
/* The bodies of the trace events, which exist once in a module. */
#define CREATE_TRACE_POINTS
#include "airlock_trace.h"
