// SPDX-License-Identifier: Apache-2.0
#include "ring/verdict.h"

#include "base/check.h"

namespace airlock::ring {

Errc to_errc(airlock_verdict verdict) {
  switch (verdict) {
    case AIRLOCK_OK:
      break;
    case AIRLOCK_BAD_INDEX:
      return Errc::kBadIndex;
    case AIRLOCK_BAD_INDEX_JUMP:
      return Errc::kBadIndexJump;
    case AIRLOCK_BAD_FLAGS:
      return Errc::kBadFlags;
    case AIRLOCK_BAD_ORDER:
      return Errc::kBadOrder;
    case AIRLOCK_BAD_LENGTH:
      return Errc::kBadLength;
    case AIRLOCK_CHAIN_TOO_LONG:
      return Errc::kChainTooLong;
    case AIRLOCK_CHAIN_TOO_BIG:
      return Errc::kChainTooBig;
    case AIRLOCK_NOT_OUTSTANDING:
      return Errc::kNotOutstanding;
  }
  CHECK(verdict != AIRLOCK_OK);
  return Errc::kQueueBroken;
}

}  // namespace airlock::ring
