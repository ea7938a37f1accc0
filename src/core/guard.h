/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * What may pass between a VM and a device process that nobody trusts. Every function judges private
 * copies, in native byte order, keeps nothing, and says a reason; airlock_guard_explain() says what
 * to do then. Pass on what was judged, never the bytes that came. docs/EMBEDDING.md has a table of
 * what to call at each message, and a program that does.
 */
#ifndef AIRLOCK_CORE_GUARD_H
#define AIRLOCK_CORE_GUARD_H

#include "core/types.h"

enum airlock_guard_policy {
  AIRLOCK_GUARD_BOUNCE, /* no guest memory at all */
  AIRLOCK_GUARD_WINDOW, /* that of one range */
  AIRLOCK_GUARD_SNOOP,  /* what descriptors invite while they are in flight */
  AIRLOCK_GUARD_OPEN,   /* whatever the VM maps */
};

struct airlock_guard_rules {
  enum airlock_guard_policy policy;
  uint64_t window_first, window_bytes; /* AIRLOCK_GUARD_WINDOW: guest addresses */
  uint32_t data_max;                   /* bytes of data in a message, either way; below 2 GiB */
  uint32_t fds_max;                    /* in one SET_IRQS */
  uint64_t region_max;                 /* bytes of one BAR */
  uint64_t page_bytes;                 /* of the host, a power of two */
};

/* Whether the policy gives any guest memory. */
static inline bool airlock_guard_gives(const struct airlock_guard_rules* rules) {
  return rules->policy == AIRLOCK_GUARD_WINDOW || rules->policy == AIRLOCK_GUARD_SNOOP ||
         rules->policy == AIRLOCK_GUARD_OPEN;
}

enum airlock_guard_action {
  AIRLOCK_GUARD_FORWARD, /* it may pass, once its contents are judged too */
  AIRLOCK_GUARD_ANSWER,  /* the guard's own affair: the other side never sees it */
  AIRLOCK_GUARD_REFUSE,  /* close its fds, and answer the errno unless NO_REPLY is set */
  AIRLOCK_GUARD_LOST,    /* close its fds and the stream: its sender does not speak the protocol */
};

/* What is decided: the reason, its action, the errno of the refusal as in Linux, for a log. */
#define AIRLOCK_GUARD_REASONS(X)                                                  \
  X(PASS, FORWARD, 0, "may pass")                                                 \
  X(OWN_ANSWER, ANSWER, 0, "the guard's own affair")                              \
  X(IRQ_KEPT, ANSWER, 0, "an interrupt that stops the VM or takes the device")    \
  X(BAD_HEADER, LOST, 22, "a size or type that no message has")                   \
  X(BAD_REPLY, LOST, 22, "a reply that does not answer what was asked")           \
  X(UNKNOWN_COMMAND, REFUSE, 38, "no such command")                               \
  X(OPTIONAL_COMMAND, REFUSE, 25, "a command that the guard does not offer")      \
  X(WRONG_SIDE, REFUSE, 1, "a command that this side may not send")               \
  X(BAD_FLAGS, REFUSE, 22, "flags that no such message has")                      \
  X(BAD_SIZE, REFUSE, 22, "a size that no such message has")                      \
  X(BAD_FDS, REFUSE, 22, "file descriptors that no such message carries")         \
  X(BAD_RANGE, REFUSE, 22, "a range that is empty, too long, wraps or cuts")      \
  X(BAD_IRQ, REFUSE, 22, "interrupts that the device does not have")              \
  X(MAPPED_TWICE, REFUSE, 17, "a range that overlaps a mapped one")               \
  X(NO_MEMORY, REFUSE, 1, "the policy gives no guest memory")                     \
  X(OUTSIDE_WINDOW, REFUSE, 1, "guest memory outside the window")                 \
  X(NOT_MAPPED, REFUSE, 1, "guest memory that is not mapped for this direction")  \
  X(NOT_INVITED, REFUSE, 1, "guest memory that no descriptor in flight invites")  \
  X(BAD_REGION, REFUSE, 22, "a region with impossible bounds")                    \
  X(NOT_SEALED, REFUSE, 1, "a region that is no memfd sealed against any change") \
  X(HUGE_PAGES, REFUSE, 1, "a region of huge pages, which can be taken back")     \
  X(FILE_SIZE, REFUSE, 1, "a file that is not exactly the region")                \
  X(FILE_OF_VM, REFUSE, 1, "a file that is one of the VM's own")                  \
  X(NO_SNOOP, REFUSE, 95, "a ring that is packed, in order, or out of bounds")    \
  X(BAD_CHAIN, REFUSE, 22, "a descriptor chain that breaks a rule of VIRTIO")     \
  X(TABLE_FULL, REFUSE, 12, "more buffers in flight than the guard follows")

#define AIRLOCK_GUARD_AS_ENUM(reason, action, error, words) AIRLOCK_GUARD_##reason,
#define AIRLOCK_GUARD_AS_ROW(reason, action, error, words) {AIRLOCK_GUARD_##action, error, words},
enum airlock_guard_reason {
  AIRLOCK_GUARD_REASONS(AIRLOCK_GUARD_AS_ENUM) AIRLOCK_GUARD_REASON_COUNT
};

struct airlock_guard_meaning {
  enum airlock_guard_action action;
  uint32_t error;
  const char* words;
};

static inline struct airlock_guard_meaning airlock_guard_explain(enum airlock_guard_reason reason) {
  static const struct airlock_guard_meaning all[] = {AIRLOCK_GUARD_REASONS(AIRLOCK_GUARD_AS_ROW)};

  return all[(uint32_t)reason < AIRLOCK_GUARD_REASON_COUNT ? reason : AIRLOCK_GUARD_BAD_HEADER];
}

#endif
