/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core/guard_message.h: for every header, every number of file descriptors and every policy, also
 * one that is none, what passes is what this file says again, message by message. VFIO_USER 1.1 to
 * 1.14, 2.5.
 */
#include "core/guard.h"
#include "core/range.h"
#include "proof.h"

/* Twins that take one check out of the header. */
#ifdef BROKEN_POLICY_UNCHECKED
#define airlock_guard_gives(rules) true
#endif
#ifdef BROKEN_SUM_WRAPS
#define airlock_range_within(start, count, limit) ((uint32_t)((start) + (count)) <= (limit))
#endif
#include "core/guard_message.h"

typedef unsigned __CPROVER_bitvector[66] wide;

static struct airlock_guard_rules any_rules(void) {
  const struct airlock_guard_rules rules = {.policy = (enum airlock_guard_policy)nondet_u32(),
                                            .data_max = nondet_u32(),
                                            .fds_max = nondet_u32(),
                                            .region_max = nondet_u64(),
                                            .page_bytes = nondet_bool() ? 4096 : 65536};

  ASSUME(rules.data_max >= 4096 && rules.data_max < 1u << 31);
  return rules;
}

static struct airlock_guard_header any_header(void) {
  const struct airlock_guard_header header = {.id = nondet_u16(),
                                              .command = nondet_u16(),
                                              .size = nondet_u32(),
                                              .flags = nondet_u32(),
                                              .error = nondet_u32()};
  return header;
}

/* The sizes of the messages that may pass or be answered, as VFIO_USER has them, with the header.
 */
static bool has_its_size(const struct airlock_guard_header* header, uint32_t data_max) {
  const uint64_t size = header->size;
  const uint64_t most = (uint64_t)data_max + 32;

  switch (header->command) {
    case 1: /* VERSION */
      return size >= 20 && size <= most;
    case 2: /* DMA_MAP */
      return size == 48;
    case 3: /* DMA_UNMAP */
      return size == 40;
    case 4: /* DEVICE_GET_INFO */
    case 7: /* DEVICE_GET_IRQ_INFO */
      return size >= 32 && size <= most;
    case 5: /* DEVICE_GET_REGION_INFO */
      return size >= 48 && size <= most;
    case 8: /* DEVICE_SET_IRQS */
      return size >= 36 && size <= most;
    case 9:  /* REGION_READ */
    case 11: /* DMA_READ */
      return size == 32;
    case 10: /* REGION_WRITE */
    case 12: /* DMA_WRITE */
      return size > 32 && size <= most;
    case 13: /* DEVICE_RESET */
      return size == 16;
    default:
      return false;
  }
}

static bool may_forward(uint16_t command, bool of_device, bool memory) {
  if (of_device) return memory && (command == 11 || command == 12);
  if (command == 2 || command == 3) return memory;
  return command == 8 || command == 9 || command == 10 || command == 13;
}

static uint32_t fds_of(uint16_t command, const struct airlock_guard_rules* rules) {
  return command == 2 ? 1 : command == 8 ? rules->fds_max : 0;
}

/*
 * proof: guard_command
 * twin: guard_command BROKEN_POLICY_UNCHECKED: only what the direction and the policy allow passes
 * twin: guard_command BROKEN_DIRECTION_LOST: only what the direction and the policy allow passes
 * twin: guard_command BROKEN_FDS_UNCOUNTED: no fd passes but with DMA_MAP and SET_IRQS of the VM
 * twin: guard_command BROKEN_REPLY_TAKEN: what passes is a command
 */
void guard_command(void) {
  const struct airlock_guard_rules rules = any_rules();
  const struct airlock_guard_header header = any_header();
  const bool of_device = nondet_bool();
  const uint32_t fds = nondet_u32();
  const bool memory = rules.policy >= AIRLOCK_GUARD_WINDOW && rules.policy <= AIRLOCK_GUARD_OPEN;
  struct airlock_guard_header seen = header;
  bool direction = of_device;
  uint32_t counted = fds;
#ifdef BROKEN_DIRECTION_LOST
  direction = false;
#endif
#ifdef BROKEN_FDS_UNCOUNTED
  counted = 0;
#endif
#ifdef BROKEN_REPLY_TAKEN
  seen.flags &= ~1u;
#endif
  const enum airlock_guard_reason reason = airlock_guard_command(&rules, direction, &seen, counted);
  const enum airlock_guard_action action = airlock_guard_explain(reason).action;

  if (action == AIRLOCK_GUARD_FORWARD || action == AIRLOCK_GUARD_ANSWER) {
    PROVE((header.flags & ~0x10u) == 0, "what passes is a command");
    PROVE(has_its_size(&header, rules.data_max), "what passes has the size of its command");
    PROVE(fds <= (of_device ? 0 : fds_of(header.command, &rules)),
          "no fd passes but with DMA_MAP and SET_IRQS of the VM");
    PROVE(!of_device || action == AIRLOCK_GUARD_FORWARD, "the guard answers the VM only");
  }
  PROVE((action != AIRLOCK_GUARD_FORWARD) || may_forward(header.command, of_device, memory),
        "only what the direction and the policy allow passes");
  if (may_forward(header.command, of_device, memory) && (header.flags & ~0x10u) == 0 &&
      has_its_size(&header, rules.data_max) && fds == 0)
    PROVE(reason == AIRLOCK_GUARD_PASS, "all that is right passes");
  PROVE(action != AIRLOCK_GUARD_REFUSE || airlock_guard_explain(reason).error != 0,
        "a refusal has an errno");
  if (action == AIRLOCK_GUARD_FORWARD && of_device) REACHED("a message of the device that passes");
  if (action == AIRLOCK_GUARD_FORWARD && fds != 0) REACHED("an fd that passes");
  if (action == AIRLOCK_GUARD_ANSWER) REACHED("a message that the guard answers");
  if (action == AIRLOCK_GUARD_REFUSE) REACHED("a refused message");
  if (action == AIRLOCK_GUARD_LOST) REACHED("a lost stream");
}

/* The size that the reply must have, with the header. */
static bool reply_has_its_size(uint16_t command, uint64_t size, uint64_t room) {
  switch (command) {
    case 1: /* VERSION */
      return size >= 20 && size <= room + 16;
    case 3: /* DMA_UNMAP */
      return size == 40;
    case 5: /* DEVICE_GET_REGION_INFO */
      return size >= 48 && size <= room + 16;
    case 4:  /* DEVICE_GET_INFO */
    case 7:  /* DEVICE_GET_IRQ_INFO */
    case 10: /* REGION_WRITE */
      return size == 32;
    case 9:  /* REGION_READ */
    case 11: /* DMA_READ */
      return size == room + 32;
    case 12: /* DMA_WRITE */
      return size >= 16 && size <= 32;
    default:
      return size == 16;
  }
}

/*
 * proof: guard_reply
 * twin: guard_reply BROKEN_FDS_UNCOUNTED: no fd passes but with the answer about a region
 * twin: guard_reply BROKEN_ECHO_UNREAD: a reply speaks of the access that was asked for
 * twin: guard_reply BROKEN_ID_UNREAD: a reply is to what was asked
 * twin: guard_reply BROKEN_ROOM: an answer has its size
 */
void guard_reply(void) {
  const struct airlock_guard_asked asked = {.id = nondet_u16(),
                                            .command = nondet_u16(),
                                            .room = nondet_u32(),
                                            .echo = {nondet_u64(), nondet_u64()}};
  const struct airlock_guard_header header = any_header();
  const uint64_t echo[2] = {nondet_u64(), nondet_u64()};
  const uint32_t fds = nondet_u32();
  struct airlock_guard_asked known = asked;
  const uint64_t* read = echo;
  uint32_t counted = fds;
#ifdef BROKEN_FDS_UNCOUNTED
  counted = 0;
#endif
#ifdef BROKEN_ECHO_UNREAD
  read = asked.echo;
#endif
#ifdef BROKEN_ID_UNREAD
  known.id = header.id;
#endif
#ifdef BROKEN_ROOM
  known.room = header.size;
#endif

  if (airlock_guard_reply(&known, &header, counted, read) != AIRLOCK_GUARD_PASS) {
    REACHED("a refused reply");
    return;
  }
  PROVE(header.id == asked.id && header.command == asked.command, "a reply is to what was asked");
  if ((header.flags & 0x20) != 0) {
    PROVE(header.flags == 0x21 && header.size == 16 && fds == 0, "an error is a header alone");
    PROVE(header.error >= 1 && header.error <= 4095, "an error has an errno");
    REACHED("an error reply");
    return;
  }
  PROVE(header.flags == 1, "an answer is a reply and nothing else");
  PROVE(reply_has_its_size(asked.command, header.size, asked.room), "an answer has its size");
  PROVE(fds == 0 || (asked.command == 5 && fds == 1),
        "no fd passes but with the answer about a region");
  if (asked.command == 9 || asked.command == 10)
    PROVE(echo[0] == asked.echo[0] && echo[1] == asked.echo[1],
          "a reply speaks of the access that was asked for");
  if (fds == 1) REACHED("an answer with an fd");
  if (asked.command == 9) REACHED("an answer to a read");
}

/*
 * proof: guard_set_irqs
 * twin: guard_set_irqs BROKEN_SUM_WRAPS: the vectors are those of the device
 * twin: guard_set_irqs BROKEN_FDS_UNCOUNTED: eventfds are to be fired, one a vector
 * twin: guard_set_irqs BROKEN_KEPT_PASSES: ERR and REQ never reach the device
 */
void guard_set_irqs(void) {
  const struct airlock_guard_irq_set set = {.argsz = nondet_u32(),
                                            .flags = nondet_u32(),
                                            .index = nondet_u32(),
                                            .start = nondet_u32(),
                                            .count = nondet_u32()};
  const uint32_t counts[5] = {nondet_u32(), nondet_u32(), nondet_u32(), nondet_u32(), nondet_u32()};
  const uint64_t bytes = nondet_u64();
  const uint32_t fds = nondet_u32();
  uint32_t counted = fds;
#ifdef BROKEN_FDS_UNCOUNTED
  counted = 0;
#endif
  const enum airlock_guard_reason reason = airlock_guard_set_irqs(&set, bytes, counted, counts);
  bool passes = reason == AIRLOCK_GUARD_PASS;
#ifdef BROKEN_KEPT_PASSES
  passes = passes || reason == AIRLOCK_GUARD_IRQ_KEPT;
#endif

  if (!passes) {
    if (reason == AIRLOCK_GUARD_IRQ_KEPT) REACHED("an interrupt that is kept");
    if (reason == AIRLOCK_GUARD_BAD_IRQ) REACHED("vectors that are not there");
    return;
  }
  PROVE(set.index < 3, "ERR and REQ never reach the device");
  if (set.index < 5)
    PROVE((wide)set.start + set.count <= counts[set.index], "the vectors are those of the device");
  PROVE(fds == 0 || (set.flags == (4 | 0x20) && fds == set.count),
        "eventfds are to be fired, one a vector");
  PROVE(bytes == ((set.flags & 2) != 0 ? set.count : 0), "one byte a vector, or none");
  if (fds != 0) REACHED("eventfds that pass");
}

/*
 * proof: guard_region
 * twin: guard_region BROKEN_ANY_SIZE: a BAR is a power of two, and not too large
 * twin: guard_region BROKEN_OFFSET_UNREAD: mapped is a BAR, in whole pages, from the file's start
 */
void guard_region(void) {
  const struct airlock_guard_rules rules = any_rules();
  const uint32_t index = nondet_u32();
  const uint32_t flags = nondet_u32();
  const uint64_t size = nondet_u64();
  const uint64_t offset = nondet_u64();
  uint64_t read = offset;
  uint64_t seen = size;
#ifdef BROKEN_OFFSET_UNREAD
  read = 0;
#endif
#ifdef BROKEN_ANY_SIZE
  if (index < 7) seen = 4096;
#endif

  if (airlock_guard_region(&rules, index, flags, seen, read) != AIRLOCK_GUARD_PASS) {
    REACHED("a refused region");
    return;
  }
  if (index < 7 && size != 0)
    PROVE((size & (size - 1)) == 0 && size <= rules.region_max,
          "a BAR is a power of two, and not too large");
  if (index == 7) PROVE(size == 256 || size == 4096, "there is a configuration space");
  if (index > 7) PROVE(size == 0, "there is nothing else");
  if ((flags & 4) != 0) {
    const uint64_t area = nondet_u64();
    const uint64_t bytes = nondet_u64();

    PROVE(index < 6 && size != 0 && size % rules.page_bytes == 0 && offset == 0,
          "mapped is a BAR, in whole pages, from the file's start");
    if (airlock_guard_area(&rules, size, area, bytes)) {
      PROVE((wide)area + bytes <= size && bytes != 0, "an area is inside its region");
      PROVE(area % rules.page_bytes == 0 && bytes % rules.page_bytes == 0,
            "an area is whole pages");
      REACHED("an area");
    }
    REACHED("a region to map");
  }
}
