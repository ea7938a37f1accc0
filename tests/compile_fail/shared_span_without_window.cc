// SPDX-License-Identifier: Apache-2.0
//
// A SharedSpan is the proof that a device may touch the memory: nobody but Window makes one.
#include "window/shared_span.h"

using airlock::shm::SharedBytes;
using airlock::window::SharedSpan;

SharedSpan nothing() {
  return SharedSpan();
}
#ifdef AIRLOCK_WRONG
SharedSpan forged(const SharedBytes& bytes) {
  return SharedSpan(bytes);
}
#endif
