/* SPDX-License-Identifier: Apache-2.0 */
/*
 * No wakeup is lost: driver and device each go to sleep when they see nothing to do, and each is
 * told of new work only where it asked to be. All interleavings of a queue of 2 slots and 5
 * requests, enough for every index and wrap counter to go round.
 *
 * proof: split_event -DSPLIT -DEVENT_IDX
 * proof: split_flags -DSPLIT
 * proof: packed_event -DPACKED -DEVENT_IDX
 * proof: packed_flags_only -DPACKED
 *
 * Without any one of the four barriers, and without either second look, somebody sleeps for ever:
 *
 * twin: split_event BROKEN_PUBLISH_BARRIER: !(wakeup_lost)
 * twin: split_event BROKEN_ASK_NOTIFICATION_BARRIER: !(wakeup_lost)
 * twin: split_event BROKEN_WANTS_INTERRUPT_BARRIER: !(wakeup_lost)
 * twin: split_event BROKEN_ASK_INTERRUPT_BARRIER: !(wakeup_lost)
 * twin: split_event BROKEN_WORKER_LOOKS_ONCE: !(wakeup_lost)
 * twin: split_event BROKEN_DRIVER_LOOKS_ONCE: !(wakeup_lost)
 * twin: split_event BROKEN_DRIVER_ASKS_ONCE: !(wakeup_lost)
 * twin: split_event BROKEN_LAST_ENTRY_ONLY: !(wakeup_lost)
 * twin: split_flags BROKEN_PUBLISH_BARRIER: !(wakeup_lost)
 * twin: split_flags BROKEN_WANTS_INTERRUPT_BARRIER: !(wakeup_lost)
 * twin: packed_event BROKEN_PUBLISH_BARRIER: !(wakeup_lost)
 * twin: packed_event BROKEN_ASK_NOTIFICATION_BARRIER: !(wakeup_lost)
 * twin: packed_event BROKEN_WANTS_INTERRUPT_BARRIER: !(wakeup_lost)
 * twin: packed_event BROKEN_ASK_INTERRUPT_BARRIER: !(wakeup_lost)
 * twin: packed_event BROKEN_WORKER_LOOKS_ONCE: !(wakeup_lost)
 * twin: packed_event BROKEN_DRIVER_LOOKS_ONCE: !(wakeup_lost)
 * twin: packed_event BROKEN_WRAP_IGNORED: !(wakeup_lost)
 * twin: packed_flags_only BROKEN_ASK_NOTIFICATION_BARRIER: !(wakeup_lost)
 * twin: packed_flags_only BROKEN_ASK_INTERRUPT_BARRIER: !(wakeup_lost)
 *
 * Memory: each side's stores go through a buffer of its own, first in first out, and reach memory
 * at any later time (x86 does that; release stores and acquire loads keep their order otherwise). A
 * barrier waits until the buffer is empty. No side needs to see its own stores before: it loads
 * none of its words, but for the slots of a packed ring, where its own last store and what stood
 * there before mean the same to it: not yet.
 *
 * What is modelled, Split... and Packed...:
 *   submit, publish       DriverQueue::submit(), publish()
 *   look_used, reap       DriverQueue::find_used(), poll(); driver/blk_queue.cc, BlkQueue::reap()
 *   want_interrupts, want_no_interrupts, ask_for_interrupt
 *                         DriverQueue::want_interrupts(true), (false), ask_for_interrupt()
 *   driver_sleeps         BlkQueue::sleep(), arm() and disarm()
 *   look_available        DeviceQueue::find_available()
 *   take_new              DeviceQueue::pop(); device/blk/blk_queue.cc, BlkQueue::take_new()
 *   push_used             DeviceQueue::push_used()
 *   show_driver           DeviceQueue::publish(), driver_wants_interrupt()
 *   suppress, allow       DeviceQueue::suppress_notifications(true), (false)
 *   ask_for_notification  DeviceQueue, the same
 *   poll_once, device     device/queue_worker.cc, QueueWorker::poll_once(), work()
 *   wants                 core/event.h, ring/packed_event.h
 *   doorbell, interrupt   the eventfds: a signal stays until it is taken
 *
 * Not covered: chains of several slots; processors that reorder more than a store and a later load;
 * a peer that breaks the rules (it only wakes nobody, or somebody for nothing); VIRTIO_F_IN_ORDER;
 * that a busy loop ends; what carries a doorbell (vfio-user messages, KVM).
 */

#define SIZE 2
#define MODULO 4 /* of an index: twice the size, as 65536 is of 32768. Packed: slot and wrap */
#define REQUESTS 5
#define BUFFERED 2 /* stores that may be on their way */

#define next(position) (((position) + 1) % MODULO)
#define previous(position) (((position) + MODULO - 1) % MODULO)
#define distance(from, to) (((to) + MODULO - (from)) % MODULO)

/* Words of shared memory. */
#ifdef SPLIT
#define AVAIL_IDX 0
#define USED_IDX 1
#endif
#ifdef PACKED
#define RING(position) ((position) % SIZE) /* words 0 and 1: the flags of the slots */
#define WRAP(position) ((position) < SIZE) /* the wrap counter starts with 1 */
#define AVAILABLE(position) (WRAP(position) -> 1 : 2) /* AVAIL is 1, USED is 2 */
#define USED(position) (WRAP(position) -> 3 : 0)
#endif
#define DEVICE_ASKS 2 /* used.flags, avail_event, or the device's event suppression structure */
#define DRIVER_ASKS 3 /* avail.flags, used_event, or the driver's */

byte memory[4];
chan driver_stores = [BUFFERED] of { byte, byte };
chan device_stores = [BUFFERED] of { byte, byte };

/* What the words DEVICE_ASKS and DRIVER_ASKS say; below MODULO: at that position. */
#define ALWAYS 10
#define NEVER 11
#ifdef EVENT_IDX
#define ask_at(position) (position)
#ifdef SPLIT
#define never_at(position) previous(position)
#else
#define never_at(position) NEVER
#endif
#else
#define ask_at(position) ALWAYS
#define never_at(position) NEVER
#endif

#ifdef SPLIT
#ifdef BROKEN_LAST_ENTRY_ONLY
#define need_event(event, now, moved) ((event) == previous(now))
#else
#define need_event(event, now, moved) (distance((event) + 1, (now) + MODULO) % MODULO < (moved))
#endif
#else
#ifdef BROKEN_WRAP_IGNORED
#define event_slot(event, now) ((event) % SIZE)
#else
#define event_slot(event, now) ((event) % SIZE - (WRAP(event) == WRAP(now) -> 0 : SIZE))
#endif
#define need_event(event, now, moved) \
  ((((now) % SIZE - event_slot(event, now) - 1) & 65535) < (moved))
#endif
#define wants(said, now, moved) \
  (said == ALWAYS || (said != NEVER && said < MODULO && need_event(said, now, moved)))

/* The four barriers. */
#define barrier(stores) empty(stores)
#ifdef BROKEN_PUBLISH_BARRIER
#define publish_barrier skip
#else
#define publish_barrier barrier(driver_stores)
#endif
#ifdef BROKEN_ASK_INTERRUPT_BARRIER
#define ask_interrupt_barrier skip
#else
#define ask_interrupt_barrier barrier(driver_stores)
#endif
#ifdef BROKEN_WANTS_INTERRUPT_BARRIER
#define wants_interrupt_barrier skip
#else
#define wants_interrupt_barrier barrier(device_stores)
#endif
#ifdef BROKEN_ASK_NOTIFICATION_BARRIER
#define ask_notification_barrier skip
#else
#define ask_notification_barrier barrier(device_stores)
#endif

bit doorbell;
bit interrupt;
byte completed;
bool wakeup_lost;

active proctype driver_store_buffer() {
  byte word, value;
end:
  do
  :: atomic { driver_stores ? word, value; memory[word] = value; word = 0; value = 0 }
  od
}

active proctype device_store_buffer() {
  byte word, value;
end:
  do
  :: atomic { device_stores ? word, value; memory[word] = value; word = 0; value = 0 }
  od
}

/* --- the driver ------------------------------------------------------------------------------ */

inline submit() {
  atomic {
    submitted++;
    outstanding++;
#ifdef PACKED
    /* All but the first descriptor that is not published yet are made available at once. */
    if
    :: next_avail != published -> driver_stores ! RING(next_avail), AVAILABLE(next_avail)
    :: else
    fi;
#endif
    next_avail = next(next_avail)
  }
}

inline publish() {
#ifdef SPLIT
  driver_stores ! AVAIL_IDX, next_avail;
#else
  driver_stores ! RING(published), AVAILABLE(published);
#endif
  publish_barrier;
  atomic {
    said = memory[DEVICE_ASKS];
    if
    :: wants(said, next_avail, distance(published, next_avail)) -> doorbell = 1
    :: else
    fi;
    published = next_avail;
    said = 0
  }
}

inline ask_for_interrupt() {
  atomic {
    asked = next_used;
    driver_stores ! DRIVER_ASKS, ask_at(next_used)
  }
  ask_interrupt_barrier
}

inline want_interrupts() {
  wanted = true;
  ask_for_interrupt()
}

inline want_no_interrupts() {
  atomic {
    wanted = false;
    driver_stores ! DRIVER_ASKS, never_at(next_used)
  }
}

/* Sets `found` if there is something to take. */
inline look_used() {
#ifdef SPLIT
  atomic {
    assert(distance(next_used, memory[USED_IDX]) <= outstanding); /* or it would break the queue */
    found = memory[USED_IDX] != next_used
  }
#else
  atomic {
    found = memory[RING(next_used)] == USED(next_used);
    assert(!found || outstanding > 0)
  }
#endif
}

inline reap() {
  do
  :: look_used();
#ifdef EVENT_IDX
#ifndef BROKEN_DRIVER_ASKS_ONCE
    if
    :: !found && wanted && asked != next_used ->
      ask_for_interrupt();
      look_used()
    :: else
    fi;
#endif
#endif
    if
    :: found ->
      atomic {
        next_used = next(next_used);
        outstanding--;
        completed++;
        progress = true
      }
    :: else -> break
    fi
  od
}

inline driver_sleeps() {
  progress = false;
#ifdef BROKEN_DRIVER_LOOKS_ONCE
  reap();
  want_interrupts();
#else
  want_interrupts();
  reap();
#endif
  if
  :: progress || outstanding == 0 /* a request is done: the caller may have it */
  :: outstanding > 0 -> /* none is: what progress there was, was a part of one */
    atomic { interrupt -> interrupt = 0 }
    want_no_interrupts()
  fi;
  progress = false
}

active proctype driver() {
  byte submitted, outstanding, published, next_avail, next_used, asked, said;
  bool wanted, found, progress;

  want_no_interrupts();
  do
  :: submitted < REQUESTS && outstanding < SIZE -> submit()
  :: published != next_avail -> publish()
  :: published == next_avail && outstanding > 0 -> reap(); progress = false
  :: published == next_avail && outstanding > 0 -> driver_sleeps()
  :: completed == REQUESTS -> break
  od
}

/* --- the device ------------------------------------------------------------------------------ */

inline ask_for_notification() {
  atomic {
    asked = next_avail;
    device_stores ! DEVICE_ASKS, ask_at(next_avail)
  }
  ask_notification_barrier
}

inline suppress() {
  atomic {
    suppressed = true;
    device_stores ! DEVICE_ASKS, never_at(next_avail)
  }
}

inline allow() {
  suppressed = false;
  ask_for_notification()
}

inline look_available() {
#ifdef SPLIT
  atomic {
    assert(distance(next_avail, memory[AVAIL_IDX]) <= SIZE);
    found = memory[AVAIL_IDX] != next_avail
  }
#else
  found = memory[RING(next_avail)] == AVAILABLE(next_avail)
#endif
}

inline take_new() {
  do
  :: look_available();
#ifdef EVENT_IDX
    if
    :: !found && !suppressed && asked != next_avail ->
      ask_for_notification();
      look_available()
    :: else
    fi;
#endif
    if
    :: found ->
      atomic {
        next_avail = next(next_avail);
        in_flight++;
        progress = true
      }
    :: else -> break
    fi
  od
}

/* The backend may be done with any of them, at any time. */
inline push_used() {
  do
  :: in_flight > 0 ->
    atomic {
#ifdef PACKED
      if
      :: next_used != published -> device_stores ! RING(next_used), USED(next_used)
      :: else
      fi;
#endif
      next_used = next(next_used);
      in_flight--;
      progress = true
    }
  :: break
  od
}

inline show_driver() {
  if
  :: published != next_used ->
#ifdef SPLIT
    device_stores ! USED_IDX, next_used;
#else
    device_stores ! RING(published), USED(published);
#endif
    wants_interrupt_barrier;
    atomic {
      said = memory[DRIVER_ASKS];
      if
      :: wants(said, next_used, distance(published, next_used)) -> interrupt = 1
      :: else
      fi;
      published = next_used;
      said = 0
    }
  :: else
  fi
}

inline poll_once() {
  progress = false;
  take_new();
  push_used();
  show_driver()
}

active proctype device() {
  byte in_flight, published, next_avail, next_used, asked, said;
  bool suppressed, found, progress;

  suppress();
  do
  :: poll_once();
    if
    :: progress
    :: !progress -> /* the worker has polled in vain for long enough */
      allow();
#ifndef BROKEN_WORKER_LOOKS_ONCE
      poll_once();
#endif
      if
      :: !progress ->
end_asleep:
        atomic {
          doorbell || in_flight > 0; /* the backend wakes it too */
          doorbell = 0
        }
      :: else
      fi;
      suppress()
    fi
  od
}

/* When nobody can go on, everything must be done. */
active proctype watch() {
end:
  timeout;
  wakeup_lost = completed != REQUESTS;
  assert(!wakeup_lost)
}
