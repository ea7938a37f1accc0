// SPDX-License-Identifier: Apache-2.0
//
// A number of the wire is no number yet: endianness can't be forgotten.
#include "base/le.h"

std::uint32_t converted(airlock::Le32 wire) {
  return wire.get();
}
#ifdef AIRLOCK_WRONG
std::uint32_t forgotten(airlock::Le32 wire) {
  return wire;
}
#endif
