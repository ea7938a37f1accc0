/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the proofs share: how a claim is made, and where arbitrary values come from.
 *
 * tools/prove.py finds the proofs by the comments above them:
 *     proof: FUNCTION [options of cbmc]       holds for all values
 *     twin: FUNCTION BROKEN_NAME: claim       with -D BROKEN_NAME, cbmc must refute that claim
 * and runs each proof once more with -D REACH: then every REACHED() must be refuted, or the proof
 * says nothing because its assumptions leave nothing to prove.
 */
#ifndef AIRLOCK_MODELS_PROOF_H
#define AIRLOCK_MODELS_PROOF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef REACH
#define PROVE(condition, claim) ((void)(condition))
#define REACHED(place) __CPROVER_assert(false, "reached: " place)
#else
#define PROVE(condition, claim) __CPROVER_assert(condition, claim)
#define REACHED(place) ((void)0)
#endif
#define ASSUME(condition) __CPROVER_assume(condition)
/* A claim on which the rest of the proof may build: where it fails, that is already said. */
#define PROVE_FIRST(condition, claim) \
  do {                                \
    PROVE(condition, claim);          \
    ASSUME(condition);                \
  } while (0)

/* Without a body, each call gives any value: what a peer, or another thread, may have written. */
bool nondet_bool(void);
uint8_t nondet_u8(void);
uint16_t nondet_u16(void);
uint32_t nondet_u32(void);
uint64_t nondet_u64(void);

#endif
