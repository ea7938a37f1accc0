// SPDX-License-Identifier: Apache-2.0
//
// A bare number is no place in the region: whoever means one says so.
#include "window/address.h"

using airlock::window::RegionOffset;

RegionOffset said() {
  return RegionOffset{4096};
}
#ifdef AIRLOCK_WRONG
RegionOffset not_said() {
  return 4096;
}
#endif
