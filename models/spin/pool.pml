/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pool's slots against everything that may end a request: a slot is never free, nor scrubbed,
 * while the device may write to it, nothing is freed twice, and an old handle frees nothing of
 * somebody else's. Two slots, a queue with two parts and three requests, a device that
 * completes, lies or keeps silent, resets at any time; beside it, in pool_buffer, an in-place
 * buffer that its owner gives up at any time, or, in pool_handle, two threads that give one
 * mapping back. All interleavings.
 *
 * proof: pool_buffer -DWITH_BUFFER
 * proof: pool_handle -DWITH_STRANGER
 * twin: pool_buffer BROKEN_FREED_AT_STOP: !(free_while_granted)
 * twin: pool_buffer BROKEN_DETACHED_BEFORE_RESET: !(free_while_granted)
 * twin: pool_buffer BROKEN_PINS_IGNORED: !(free_while_granted)
 * twin: pool_buffer BROKEN_DUPLICATE_BELIEVED: !(completed_twice)
 * twin: pool_handle BROKEN_FREED_AT_STOP: !(free_while_granted)
 * twin: pool_handle BROKEN_RELEASED_TOO_LATE: !(freed_twice)
 * twin: pool_handle BROKEN_NO_GENERATION: !(stranger_freed)
 *
 * What is modelled:
 *   take                        pool/pool.cc, Pool::take(), under the area's lock, as all `atomic`s
 *   unmap, scrub_and_free       Pool::unmap(), scrub_and_free(): the lock is not held in between
 *   pin, unpin, release         Pool::pin(), unpin(), release() (of an InPlaceBuffer)
 *   issue, undo                 driver/blk_queue.cc, BlkQueue::issue(), place_data(), put_in_ring()
 *   finish_part                 BlkQueue::reap(), finish_part(), release_part(); the check of the
 *                               element is that of ring::DriverQueue::poll() and core/used.h
 *   stop, detach                BlkQueue::stop(), detach()
 *   reset                       driver/blk.cc, Blk::reset(): stop, quiesce, detach, attach
 *   granted                     the device has a descriptor of that slot: from publish() until it
 *                               returns it, or until a reset is complete
 *
 * Not covered: mappings of several slots and the search for them (slot_map_test.cc); several areas;
 * the generation's wrap after 2^32 uses of a slot; what is copied when (pool_model_test.cc); a
 * device that writes where it may not: it can, in all of the region, and nothing of ours
 * decides by it.
 */

#define SLOTS 2
#define PARTS 2
#define REQUESTS 3
#define NONE 255

mtype = { FREE, MAPPED, IN_PLACE };

/* Pool::Record, by slot. */
mtype kind[SLOTS] = FREE;
byte generation[SLOTS];
byte pins[SLOTS];
bool released[SLOTS];
byte granted[SLOTS]; /* descriptors of it that the device has */
byte owner[SLOTS];   /* who took it, for the claims: NONE, QUEUE, BUFFER or STRANGER */
#define QUEUE 1
#define BUFFER 2
#define STRANGER 3

/* BlkQueue::Part, and what the ring knows of it. */
bool live[PARTS];
bool in_ring[PARTS];    /* outstanding: in the driver's private record */
bool returnable[PARTS]; /* the device has it */
byte part_slot[PARTS];
byte part_generation[PARTS];
bool part_pinned[PARTS];

chan used = [1] of { byte }; /* what the device says that it returns */
byte buffer_slot = NONE;     /* the application's InPlaceBuffer */
byte buffer_generation;

bool free_while_granted, freed_twice, stranger_freed, completed_twice;

/* --- the pool -------------------------------------------------------------------------------- */

/* Sets `slot` to NONE if the pool is full. */
inline take(what, who, slot, number) {
  atomic {
    if
    :: kind[0] == FREE -> slot = 0
    :: kind[0] != FREE && kind[1] == FREE -> slot = 1
    :: else -> slot = NONE
    fi;
    if
    :: slot != NONE ->
      kind[slot] = what;
      owner[slot] = who;
      generation[slot]++;
      pins[slot] = 0;
      released[slot] = false;
      number = generation[slot]
    :: else
    fi
  }
}

inline scrub_and_free(slot) {
  atomic { /* fill_zero(), without the lock */
    freed_twice = freed_twice || kind[slot] == FREE;
    free_while_granted = free_while_granted || granted[slot] > 0;
    assert(!freed_twice);
    assert(!free_while_granted)
  }
  atomic {
    freed_twice = kind[slot] == FREE;
    free_while_granted = granted[slot] > 0;
    assert(!freed_twice);
    assert(!free_while_granted);
    kind[slot] = FREE;
    owner[slot] = NONE;
    released[slot] = false
  }
}

#ifdef BROKEN_NO_GENERATION
#define matches(slot, number) (kind[slot] == MAPPED && !released[slot])
#else
#define matches(slot, number) \
  (kind[slot] == MAPPED && !released[slot] && generation[slot] == number)
#endif

inline unmap(slot, number, who, ours) {
  atomic {
    ours = matches(slot, number);
#ifdef BROKEN_RELEASED_TOO_LATE
  }
  atomic {
#endif
    if
    :: ours ->
      stranger_freed = owner[slot] != who && owner[slot] != NONE;
      assert(!stranger_freed);
      released[slot] = true
    :: else
    fi
  }
  if
  :: ours -> scrub_and_free(slot)
  :: else
  fi
}

inline pin(slot, number, ours) {
  atomic {
    ours = slot != NONE;
    if
    :: ours -> ours = kind[slot] == IN_PLACE && !released[slot] && generation[slot] == number
    :: else
    fi;
    if
    :: ours -> pins[slot]++
    :: else
    fi
  }
}

inline unpin(slot, ours) {
  atomic {
    assert(kind[slot] == IN_PLACE && pins[slot] > 0);
    pins[slot]--;
#ifdef BROKEN_PINS_IGNORED
    ours = false
#else
    ours = pins[slot] == 0 && released[slot]
#endif
  }
  if
  :: ours -> scrub_and_free(slot)
  :: else
  fi
}

/* OwnedSlots::reset() */
inline release(slot, ours) {
  atomic {
    assert(kind[slot] == IN_PLACE && !released[slot]);
    released[slot] = true;
#ifdef BROKEN_PINS_IGNORED
    ours = true
#else
    ours = pins[slot] == 0
#endif
  }
  if
  :: ours -> scrub_and_free(slot)
  :: else
  fi
}

/* --- the driver's queue ---------------------------------------------------------------------- */

/* Puts a part with a slot of its own, or one in the application's buffer, into the ring. */
inline issue(part) {
  if
  :: take(MAPPED, QUEUE, slot, number);
    ours = slot != NONE;
    part_pinned[part] = false
#ifdef WITH_BUFFER
  :: atomic { slot = buffer_slot; number = buffer_generation }
    pin(slot, number, ours);
    part_pinned[part] = true
#endif
  fi;
  if
  :: ours ->
    atomic { /* submit(), publish() */
      part_slot[part] = slot;
      part_generation[part] = number;
      live[part] = true;
      in_ring[part] = true;
      returnable[part] = true;
      granted[slot]++;
      issued++
    }
  :: else -> part_pinned[part] = false
  fi;
  atomic { slot = NONE; number = 0; ours = false }
}

inline release_part(part) {
  if
  :: part_pinned[part] -> unpin(part_slot[part], ours)
  :: else ->
    unmap(part_slot[part], part_generation[part], QUEUE, ours);
    assert(ours) /* MUST() */
  fi;
  atomic { /* a finished part holds nothing that a state could differ in */
    live[part] = false;
    part_pinned[part] = false;
    part_slot[part] = 0;
    part_generation[part] = 0;
    ours = false
  }
}

/* The device has the descriptor no more. */
inline take_back(part) {
  if
  :: returnable[part] ->
    returnable[part] = false;
    granted[part_slot[part]]--
  :: else
  fi
}

/* Takes what the device says; a lie breaks the queue. */
inline finish_part() {
  used ? part;
#ifdef BROKEN_DUPLICATE_BELIEVED
  ours = true;
#else
  ours = in_ring[part];
#endif
  if
  :: ours ->
    atomic {
      completed_twice = !live[part]; /* CHECK() in finish_part() */
      assert(!completed_twice);
      in_ring[part] = false;
      take_back(part) /* said twice, and said early: said is said */
    }
    release_part(part)
  :: else -> broken = true
  fi;
  part = 0
}

inline detach() {
  part = 0;
  do
  :: part < PARTS && live[part] -> release_part(part)
  :: part < PARTS && !live[part] -> part++
  :: part == PARTS -> break
  od
}

/* VirtioDevice::quiesce(): the device has said that the reset is complete. */
inline quiesce() {
  atomic {
    if
    :: used ? part
    :: empty(used)
    fi;
    part = 0;
    do
    :: part < PARTS ->
      take_back(part);
      part++
    :: else -> break
    od;
    part = 0
  }
}

/* stop() completes the requests, and leaves the slots; then Blk::reset(). */
inline reset() {
  broken = true;
#ifdef BROKEN_FREED_AT_STOP
  detach();
#endif
  skip; /* the application sees the errors, and may do anything, before the reset */
#ifdef BROKEN_DETACHED_BEFORE_RESET
  detach();
  quiesce();
#else
  quiesce();
  detach();
#endif
  atomic {
    in_ring[0] = false;
    in_ring[1] = false;
    part = 0;
    broken = false
  }
}

active proctype queue() {
  byte part, slot = NONE, number, issued;
  bool ours, broken;

  do
  :: !broken && issued < REQUESTS && !live[0] -> issue(0)
  :: !broken && issued < REQUESTS && !live[1] -> issue(1)
  :: !broken && nempty(used) -> finish_part()
  :: broken || live[0] || live[1] -> reset() /* broken, timed out, or the caller wants it */
  :: issued == REQUESTS && !live[0] && !live[1] -> break
  :: issued == REQUESTS -> reset()
  od
}

/* --- the others ------------------------------------------------------------------------------ */

/* Returns what it has, when it likes; twice, or what it never had, when it likes. */
active proctype device() {
  byte part;
end:
  do
  :: atomic {
      nfull(used);
      if
      :: part = 0
      :: part = 1
      fi;
      take_back(part);
      used ! part;
      part = 0
    }
  od
}

#ifdef WITH_BUFFER
/* Pool::allocate(), and the buffer's end, whatever is going on with it. */
active proctype application() {
  byte slot = NONE, number;
  bool ours;

  take(IN_PLACE, BUFFER, slot, number);
  if
  :: slot != NONE ->
    atomic { buffer_slot = slot; buffer_generation = number }
    release(slot, ours)
  :: else
  fi
}

#endif

#ifdef WITH_STRANGER
/* One mapping of another queue, and its handle in two hands: each gives it back. */
byte stranger_slot = NONE;
byte stranger_generation;

active proctype stranger() {
  bool ours;

  take(MAPPED, STRANGER, stranger_slot, stranger_generation);
  if
  :: stranger_slot != NONE -> unmap(stranger_slot, stranger_generation, STRANGER, ours)
  :: else
  fi
}

active proctype other_hand() {
  bool ours;

  if
  :: stranger_slot != NONE && stranger_generation != 0 ->
    unmap(stranger_slot, stranger_generation, STRANGER, ours)
  :: timeout
  fi
}
#endif
