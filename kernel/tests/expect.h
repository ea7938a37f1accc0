/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef AIRLOCK_TESTS_EXPECT_H
#define AIRLOCK_TESTS_EXPECT_H

#include <stdio.h>
#include <stdlib.h>

#define EXPECT(condition)                                                                     \
	do {                                                                                  \
		if (!(condition)) {                                                           \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);       \
			exit(1);                                                              \
		}                                                                             \
	} while (0)

#endif
