// SPDX-License-Identifier: Apache-2.0
//
// The used ring is the device's: a driver has a Reader of it, and that can't write.
#include "ring/split_areas.h"

using airlock::ring::UsedElement;
using airlock::ring::UsedReader;
using airlock::ring::UsedWriter;

void as_device(const UsedWriter& used) {
  used.put(0, UsedElement{.id = 1, .length = 2});
}
#ifdef AIRLOCK_WRONG
void as_driver(const UsedReader& used) {
  used.put(0, UsedElement{.id = 1, .length = 2});
}
#endif
