// SPDX-License-Identifier: Apache-2.0
//
// An error that nobody looked at is no error handling.
#include "base/result.h"

airlock::Result<int> measure();

airlock::Result<int> kept() {
  const int value = TRY(measure());
  return value + 1;
}
#ifdef AIRLOCK_WRONG
void dropped() {
  measure();
}
#endif
