// SPDX-License-Identifier: Apache-2.0
//
// A queue size was checked: QueueSize::from() is the only way to one.
#include "ring/queue_size.h"

using airlock::ring::QueueSize;

airlock::Result<QueueSize> checked(std::uint32_t slots) {
  return QueueSize::from(slots);
}
#ifdef AIRLOCK_WRONG
QueueSize unchecked(std::uint32_t slots) {
  return QueueSize(slots);
}
#endif
