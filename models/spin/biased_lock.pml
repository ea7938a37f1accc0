/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A lock that leans towards one thread, who takes it by plain loads and stores: one thread at a time
 * is inside, whoever leads, whoever takes the lead away, and however late stores are. Two threads
 * that take it three times each, and lead whenever they like; all interleavings.
 *
 * proof: biased_lock
 * twin: biased_lock BROKEN_NO_MEMBARRIER: !(two_inside)
 * twin: biased_lock BROKEN_LOOKS_ONCE: !(two_inside)
 * twin: biased_lock BROKEN_NOT_WAITED: !(two_inside)
 * twin: biased_lock BROKEN_ONE_FLAG: !(two_inside)
 *
 * Memory: the stores of a thread go through a buffer of its own, first in first out, and reach memory
 * at any later time (x86 does that); a locked instruction of a thread empties its own buffer, and
 * membarrier(2) those of all. No thread loads what may be in its own buffer. `leader` is written with
 * the mutex held, and what others make of it they decide holding it too: it is never late.
 *
 * What is modelled, of pool/biased_lock.h and .cc:
 *   enter             BiasedLock::enter()
 *   lock_for_anyone   lock_for_anyone(), take_lead_away(), place_for(): the count of a streak is left
 *                     out, so that whoever holds the mutex may lead from then on
 *   leave             Hold::~Hold()
 *
 * Not covered: processors that reorder more than a store and a later load; that membarrier does what
 * its manual says; more threads than leaders; that who waits gets its turn.
 */

#define THREADS 2
#define TURNS 3
#define NOBODY 255

#ifdef BROKEN_ONE_FLAG
#define FLAG(thread) 0
#else
#define FLAG(thread) (thread)
#endif

byte leader = NOBODY;
byte mutex = NOBODY; /* who holds it */
bool inside[THREADS];
chan buffer[THREADS] = [2] of { byte, bool }; /* a flag, and what it is to be */

byte count; /* of threads in the lock */
bool two_inside;

inline store(value) {
  buffer[me] ! FLAG(me), value
}

/* The calling thread's own buffer, or another one's: at once, with what follows in an atomic. */
inline drain(thread) {
  do
  :: nempty(buffer[thread]) ->
    buffer[thread] ? flag, value;
    inside[flag] = value
  :: empty(buffer[thread]) -> break
  od
}

inline enter() {
  seen = leader;
  if
  :: seen == me ->
    store(true);
#ifndef BROKEN_LOOKS_ONCE
    seen = leader;
#endif
    if
    :: seen == me -> leads = true
    :: else -> store(false)
    fi
  :: else
  fi
}

inline lock_for_anyone() {
  atomic {
    mutex == NOBODY -> mutex = me;
    drain(me)
  }
  if
  :: leader != NOBODY ->
    atomic {
      drain(me);
      seen = leader;
      leader = NOBODY
    }
#ifndef BROKEN_NO_MEMBARRIER
    atomic {
      drain(0);
      drain(1)
    }
#endif
#ifndef BROKEN_NOT_WAITED
    !inside[FLAG(seen)];
#endif
  :: else
  fi;
  if
  :: leader = me
  :: skip
  fi
}

inline leave() {
  if
  :: leads -> store(false)
  :: else ->
    atomic {
      drain(me);
      mutex = NOBODY
    }
  fi
}

proctype thread(byte me) {
  byte turn, seen = NOBODY, flag;
  bool leads, value;

  do
  :: turn < TURNS ->
    enter();
    if
    :: !leads -> lock_for_anyone()
    :: else
    fi;
    atomic {
      count++;
      two_inside = two_inside || count > 1;
      assert(!two_inside)
    }
    count--;
    leave();
    atomic {
      leads = false;
      seen = NOBODY;
      turn++
    }
  :: else -> break
  od
}

/* Lets stores reach memory, when it likes. */
proctype memory(byte me) {
  byte flag;
  bool value;
end:
  do
  :: atomic {
      buffer[me] ? flag, value;
      inside[flag] = value
    }
  od
}

init {
  atomic {
    run thread(0);
    run thread(1);
    run memory(0);
    run memory(1)
  }
}
