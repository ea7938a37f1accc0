/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Proof that core is what it says: this compiles as freestanding C11, alone. */
#include "core/chain.h"
#include "core/descriptor.h"
#include "core/event.h"
#include "core/guard.h"
#include "core/guard_memory.h"
#include "core/guard_message.h"
#include "core/packed.h"
#include "core/range.h"
#include "core/snoop.h"
#include "core/used.h"
#include "core/verdict.h"

enum airlock_verdict airlock_core_compiles_alone(struct airlock_chain* chain,
                                                 const struct airlock_descriptor* descriptor);

enum airlock_verdict airlock_core_compiles_alone(struct airlock_chain* chain,
                                                 const struct airlock_descriptor* descriptor) {
  return airlock_chain_step(chain, descriptor);
}
