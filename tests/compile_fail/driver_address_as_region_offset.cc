// SPDX-License-Identifier: Apache-2.0
//
// What a driver wrote is a claim, and becomes a place in the region by Window::translate() only.
#include "window/address.h"

using airlock::window::DriverAddress;
using airlock::window::Publisher;
using airlock::window::RegionOffset;

DriverAddress published(const Publisher& publisher, RegionOffset offset) {
  return publisher.publish(offset);
}
#ifdef AIRLOCK_WRONG
DriverAddress believed(const Publisher& publisher, DriverAddress claim) {
  return publisher.publish(claim);
}
#endif
