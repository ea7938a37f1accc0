// SPDX-License-Identifier: Apache-2.0
#include "sandbox/capabilities.h"

#include <sys/prctl.h>

#include <cap-ng.h>

namespace airlock::sandbox {

namespace {

/// Without /proc, which is gone by now: the kernel knows the capabilities up to the first that it
/// refuses to talk about.
bool empty_bounding_set() {
  for (unsigned long capability = 0;; ++capability) {
    const int has = prctl(PR_CAPBSET_READ, capability, 0, 0, 0);
    if (has < 0) return true;
    if (has != 0 && prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0) return false;
  }
}

}  // namespace

Result<bool> drop_capabilities() {
  const bool bounded = empty_bounding_set();
  capng_clear(CAPNG_SELECT_CAPS);
  if (capng_apply(CAPNG_SELECT_CAPS) != 0) return fail(system_error());
  return bounded;
}

}  // namespace airlock::sandbox
