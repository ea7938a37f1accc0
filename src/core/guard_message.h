/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * Which messages either side may send, of which size, with how many file descriptors; and what may
 * be announced as a region. What is not named here does not pass. VFIO_USER 1.1 to 1.14.
 */
#ifndef AIRLOCK_CORE_GUARD_MESSAGE_H
#define AIRLOCK_CORE_GUARD_MESSAGE_H

#include "core/guard.h"
#include "core/range.h"

/* As on the wire. flags: the type in 4 bits (0 command, 1 reply), 0x10 NO_REPLY, 0x20 ERROR. */
struct airlock_guard_header {
  uint16_t id, command;
  uint32_t size, flags, error;
};

/* A command: what of the VM's; bytes behind its header; fds; bytes of its reply. */
struct airlock_guard_shape {
  enum airlock_guard_reason of_vm;
  uint8_t least, most, fds, reply_least, reply_most;
};

#define AIRLOCK_GUARD_ALL 255 /* as much as the rules, or whoever asked, have room for */
static inline struct airlock_guard_shape airlock_guard_shape_of(uint16_t command) {
  static const struct airlock_guard_shape shapes[] = {
      {AIRLOCK_GUARD_UNKNOWN_COMMAND, 0, 0, 0, 0, 0},
      {AIRLOCK_GUARD_OWN_ANSWER, 4, AIRLOCK_GUARD_ALL, 0, 4, AIRLOCK_GUARD_ALL},   /* 1 VERSION */
      {AIRLOCK_GUARD_PASS, 32, 32, 1, 0, 0},                                       /* 2 DMA_MAP */
      {AIRLOCK_GUARD_PASS, 24, 24, 0, 24, 24},                                     /* 3 DMA_UNMAP */
      {AIRLOCK_GUARD_OWN_ANSWER, 16, AIRLOCK_GUARD_ALL, 0, 16, 16},                /* 4 GET_INFO */
      {AIRLOCK_GUARD_OWN_ANSWER, 32, AIRLOCK_GUARD_ALL, 0, 32, AIRLOCK_GUARD_ALL}, /* 5 _REGION_ */
      {AIRLOCK_GUARD_OPTIONAL_COMMAND, 0, 0, 0, 0, 0},
      {AIRLOCK_GUARD_OWN_ANSWER, 16, AIRLOCK_GUARD_ALL, 0, 16, 16},         /* 7 _IRQ_INFO */
      {AIRLOCK_GUARD_PASS, 20, AIRLOCK_GUARD_ALL, AIRLOCK_GUARD_ALL, 0, 0}, /* 8 SET_IRQS */
      {AIRLOCK_GUARD_PASS, 16, 16, 0, 16, 16},                     /* 9 REGION_READ, and data */
      {AIRLOCK_GUARD_PASS, 17, AIRLOCK_GUARD_ALL, 0, 16, 16},      /* 10 REGION_WRITE */
      {AIRLOCK_GUARD_WRONG_SIDE, 16, 16, 0, 16, 16},               /* 11 DMA_READ, and data */
      {AIRLOCK_GUARD_WRONG_SIDE, 17, AIRLOCK_GUARD_ALL, 0, 0, 16}, /* 12 DMA_WRITE; QEMU's: 0 */
      {AIRLOCK_GUARD_PASS, 0, 0, 0, 0, 0},                         /* 13 DEVICE_RESET */
      {AIRLOCK_GUARD_OPTIONAL_COMMAND, 0, 0, 0, 0, 0},             /* to 18 */
  };

  return shapes[command <= 13 ? command : command <= 18 ? 14 : 0];
}

/*
 * A command of the VM or of the device, with `fds` file descriptors. That VERSION comes first, and
 * once, is for the caller to see to. Of a device only DMA_READ and DMA_WRITE may pass.
 */
static inline enum airlock_guard_reason airlock_guard_command(
    const struct airlock_guard_rules* rules, bool of_device,
    const struct airlock_guard_header* header, uint32_t fds) {
  const struct airlock_guard_shape shape = airlock_guard_shape_of(header->command);
  const uint32_t all = rules->data_max + 16u;
  enum airlock_guard_reason reason = shape.of_vm;
  uint32_t bytes = 0;

  if (header->size < 16 || header->size - 16 > all || (header->flags & 0xfu) != 0)
    return AIRLOCK_GUARD_BAD_HEADER;
  bytes = header->size - 16;
  if (of_device && reason == AIRLOCK_GUARD_WRONG_SIDE)
    reason = airlock_guard_gives(rules) ? AIRLOCK_GUARD_PASS : AIRLOCK_GUARD_NO_MEMORY;
  else if (of_device && reason != AIRLOCK_GUARD_UNKNOWN_COMMAND)
    reason = AIRLOCK_GUARD_WRONG_SIDE;
  else if ((header->command == 2 || header->command == 3) && !airlock_guard_gives(rules))
    reason = AIRLOCK_GUARD_OWN_ANSWER;
  if (reason > AIRLOCK_GUARD_OWN_ANSWER) return reason;
  if ((header->flags & ~0x10u) != 0) return AIRLOCK_GUARD_BAD_FLAGS;
  if (bytes < shape.least || bytes > (shape.most == AIRLOCK_GUARD_ALL ? all : shape.most))
    return AIRLOCK_GUARD_BAD_SIZE;
  if (fds > (shape.fds == AIRLOCK_GUARD_ALL ? rules->fds_max : shape.fds))
    return AIRLOCK_GUARD_BAD_FDS;
  return reason;
}

/* A command that waits for its reply. */
struct airlock_guard_asked {
  uint16_t id, command;
  uint32_t room;    /* GET_REGION_INFO, VERSION: bytes at most. REGION_READ, DMA_READ: the count */
  uint64_t echo[2]; /* REGION_READ, REGION_WRITE: the 16 bytes behind the header */
};

/*
 * The reply to `asked`; echo: the same bytes of it, if it has any. What passes is an error reply
 * (flag ERROR) with an errno, or has the size of the answer; GET_REGION_INFO's may carry one fd.
 */
static inline enum airlock_guard_reason airlock_guard_reply(
    const struct airlock_guard_asked* asked, const struct airlock_guard_header* header,
    uint32_t fds, const uint64_t echo[2]) {
  const struct airlock_guard_shape shape = airlock_guard_shape_of(asked->command);
  const bool error = header->flags == 0x21u;
  const uint64_t data = asked->command == 9 || asked->command == 11 ? asked->room : 0;
  const uint64_t least = error ? 0 : shape.reply_least + data;
  const uint64_t most = error                                   ? 0
                        : shape.reply_most == AIRLOCK_GUARD_ALL ? asked->room
                                                                : shape.reply_most + data;

  if (header->id != asked->id || header->command != asked->command ||
      (!error && header->flags != 1u) || (error && (header->error == 0 || header->error > 4095)) ||
      header->size < least + 16 || header->size > most + 16)
    return AIRLOCK_GUARD_BAD_REPLY;
  if (!error && (asked->command == 9 || asked->command == 10) &&
      (echo[0] != asked->echo[0] || echo[1] != asked->echo[1]))
    return AIRLOCK_GUARD_BAD_REPLY;
  return fds > (asked->command == 5 && !error ? 1u : 0u) ? AIRLOCK_GUARD_BAD_FDS
                                                         : AIRLOCK_GUARD_PASS;
}

struct airlock_guard_irq_set {
  uint32_t argsz, flags, index, start, count;
};

/*
 * SET_IRQS of the VM with `bytes` of data; counts: the vectors of INTx, MSI, MSI-X, ERR and REQ, as
 * the VM was told. The device never learns of the last two: QEMU stops the VM when ERR fires, and
 * unplugs the device at REQ. Eventfds are for firing, `count` of them or none. VFIO_USER 1.10.
 */
static inline enum airlock_guard_reason airlock_guard_set_irqs(
    const struct airlock_guard_irq_set* set, uint64_t bytes, uint32_t fds,
    const uint32_t counts[5]) {
  const uint32_t data = set->flags & 7u;      /* 1 none, 2 bool, 4 eventfd */
  const uint32_t action = set->flags & 0x38u; /* 8 mask, 0x10 unmask, 0x20 trigger */

  if (set->index >= 5 || !airlock_range_within(set->start, set->count, counts[set->index]))
    return AIRLOCK_GUARD_BAD_IRQ;
  if (set->flags != (data | action) || !airlock_is_power_of_two(data) ||
      !airlock_is_power_of_two(action) || (data == 4 && action != 0x20))
    return AIRLOCK_GUARD_BAD_FLAGS;
  if (bytes != (data == 2 ? set->count : 0)) return AIRLOCK_GUARD_BAD_SIZE;
  if (fds != 0 && (data != 4 || fds != set->count)) return AIRLOCK_GUARD_BAD_FDS;
  return set->index >= 3 ? AIRLOCK_GUARD_IRQ_KEPT : AIRLOCK_GUARD_PASS;
}

/*
 * What the device answered about region `index`: flags (1 read, 2 write, 4 mappable, 8 with areas),
 * size, offset in its file. BARs and the ROM are a power of two, at any other size QEMU ends; the
 * configuration space is there, VGA is not. What can be mapped is a BAR, from its file's start on.
 */
static inline enum airlock_guard_reason airlock_guard_region(
    const struct airlock_guard_rules* rules, uint32_t index, uint32_t flags, uint64_t size,
    uint64_t offset) {
  const bool possible =
      index == 7  ? size == 256 || size == 4096
      : index < 7 ? size == 0 || (airlock_is_power_of_two(size) && size <= rules->region_max)
                  : size == 0;

  if ((flags & ~0xfu) != 0) return AIRLOCK_GUARD_BAD_FLAGS;
  if (!possible || ((flags & 4u) != 0 && (index >= 6 || size == 0 || offset != 0 ||
                                          !airlock_is_aligned(size, rules->page_bytes))))
    return AIRLOCK_GUARD_BAD_REGION;
  return AIRLOCK_GUARD_PASS;
}

/* Whether the VM may map this area of such a region. */
static inline bool airlock_guard_area(const struct airlock_guard_rules* rules, uint64_t size,
                                      uint64_t offset, uint64_t bytes) {
  return bytes != 0 && airlock_range_within(offset, bytes, size) &&
         airlock_is_aligned(offset | bytes, rules->page_bytes);
}

#endif
