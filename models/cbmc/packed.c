/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The AVAIL and USED flags of packed rings, core/packed.h, for all 16-bit flags and both wrap
 * counters. VIRTIO 1.3, 2.8.1; HD-5.
 */
#include "core/packed.h"
#include "proof.h"

/*
 * proof: packed_flags
 * twin: packed_flags BROKEN_ONE_FLAG: what is used is not available
 */
void packed_flags(void) {
  const uint16_t flags = nondet_u16();
  const bool wrap = nondet_bool();
  const uint16_t others = flags & (uint16_t)~(AIRLOCK_DESC_AVAIL | AIRLOCK_DESC_USED);
  const uint16_t available = others | airlock_packed_available_flags(wrap);
  const uint16_t used = others | airlock_packed_used_flags(wrap);
#ifdef BROKEN_ONE_FLAG
#define airlock_packed_is_available(flags, wrap) (((flags) & AIRLOCK_DESC_AVAIL) != 0) == (wrap)
#endif

  PROVE(airlock_packed_is_available(available, wrap), "what was made available is available");
  PROVE(airlock_packed_is_used(used, wrap), "what was used is used");
  PROVE(!(airlock_packed_is_available(flags, wrap) && airlock_packed_is_used(flags, wrap)),
        "what is used is not available");
  PROVE(!(airlock_packed_is_available(flags, wrap) && airlock_packed_is_available(flags, !wrap)),
        "nothing is available in two laps");
  PROVE(!(airlock_packed_is_used(flags, wrap) && airlock_packed_is_used(flags, !wrap)),
        "nothing is used in two laps");
  PROVE(!airlock_packed_is_available(used, !wrap),
        "what was used last lap is not available in this");
  PROVE(!airlock_packed_is_used(available, !wrap), "what is available is not used in the next lap");
  PROVE(!airlock_packed_is_used(0, true) && !airlock_packed_is_available(0, true),
        "a zeroed ring is empty");
  REACHED("the end");
}
