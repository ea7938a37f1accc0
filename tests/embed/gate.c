/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hypervisor's gate around src/core, as small as it gets: what to call at each message, and a
 * device that tries what it may not. Needs nothing of the project but the headers of src/core;
 * docs/EMBEDDING.md explains it. Prints each decision, with its errno; ends with status 1 if one is
 * wrong.
 */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "core/guard_memory.h"
#include "core/guard_message.h"

#define MAPS_MAX 8u
#define LIVE_MAX 64u
#define MESSAGE_MAX 256u

/* A message as the socket gave it: all of its bytes, and what is known of its fd if it has one. */
struct message {
  uint8_t bytes[MESSAGE_MAX];
  uint32_t size, fds;
  struct airlock_guard_file file;
};

/* All state that there is, for one device. */
struct gate {
  struct airlock_guard_rules rules;
  struct airlock_guard_map maps[MAPS_MAX];
  uint32_t map_count;
  struct airlock_snoop queue;
  struct airlock_snoop_live live[LIVE_MAX];
  uint32_t vectors[5];
};

static struct airlock_guard_memory memory_of(const struct gate* gate) {
  const struct airlock_guard_memory memory = {gate->maps, &gate->queue, gate->map_count, 1};

  return memory;
}

/* DMA_MAP, behind its header: u32 argsz, flags; u64 offset, address, size. */
static enum airlock_guard_reason on_dma_map(struct gate* gate, const struct message* message,
                                            struct airlock_guard_share* share) {
  const struct airlock_guard_memory memory = memory_of(gate);
  struct airlock_guard_map map;
  enum airlock_guard_reason reason;
  uint64_t offset;

  memcpy(&map.flags, message->bytes + 20, 4);
  memcpy(&offset, message->bytes + 24, 8);
  memcpy(&map.address, message->bytes + 32, 8);
  memcpy(&map.size, message->bytes + 40, 8);
  reason = airlock_guard_dma_map(&gate->rules, &memory, &map, offset, &message->file, share);
  if (reason != AIRLOCK_GUARD_PASS) return reason;
  if (gate->map_count == MAPS_MAX) return AIRLOCK_GUARD_TABLE_FULL;
  gate->maps[gate->map_count++] = map;
  /* The device is told of `share` only, and the fd is closed unless share->with_fd. */
  return share->tell ? AIRLOCK_GUARD_PASS : AIRLOCK_GUARD_OWN_ANSWER;
}

/* A message of the VM. */
static enum airlock_guard_reason from_vm(struct gate* gate, const struct message* message,
                                         struct airlock_guard_share* share) {
  struct airlock_guard_header header;
  struct airlock_guard_irq_set set;
  enum airlock_guard_reason reason;

  memset(share, 0, sizeof *share);
  memcpy(&header, message->bytes, sizeof header);
  reason = airlock_guard_command(&gate->rules, false, &header, message->fds);
  /* What passed has the size of its command: the copies below are inside the message. */
  if (header.command == 2 && reason <= AIRLOCK_GUARD_OWN_ANSWER)
    return on_dma_map(gate, message, share);
  if (header.command == 8 && reason == AIRLOCK_GUARD_PASS) {
    memcpy(&set, message->bytes + 16, sizeof set);
    return airlock_guard_set_irqs(&set, message->size - 36, message->fds, gate->vectors);
  }
  return reason;
}

/* A command of the device: DMA_READ, DMA_WRITE; behind the header: u64 address, count; data. */
static enum airlock_guard_reason from_device(struct gate* gate, const struct message* message) {
  const struct airlock_guard_memory memory = memory_of(gate);
  struct airlock_guard_header header;
  enum airlock_guard_reason reason;
  uint64_t access[2];

  memcpy(&header, message->bytes, sizeof header);
  reason = airlock_guard_command(&gate->rules, true, &header, message->fds);
  if (reason != AIRLOCK_GUARD_PASS) return reason;
  memcpy(access, message->bytes + 16, sizeof access);
  return airlock_guard_dma(&gate->rules, &memory, header.command == 12, access[0], access[1],
                           message->size - 32);
}

/* The device's answer about BAR 2: u32 argsz, flags, index, cap_offset; u64 size, offset. */
static enum airlock_guard_reason region_reply(struct gate* gate, const struct message* message) {
  const struct airlock_guard_asked asked = {.id = 1, .command = 5, .room = 32};
  struct airlock_guard_header header;
  enum airlock_guard_reason reason;
  uint64_t place[2];
  uint32_t flags;

  memcpy(&header, message->bytes, sizeof header);
  reason = airlock_guard_reply(&asked, &header, message->fds, NULL);
  if (reason != AIRLOCK_GUARD_PASS || (header.flags & 0x20u) != 0) return reason;
  memcpy(&flags, message->bytes + 20, sizeof flags);
  memcpy(place, message->bytes + 32, sizeof place);
  reason = airlock_guard_region(&gate->rules, 2, flags, place[0], place[1]);
  if (reason != AIRLOCK_GUARD_PASS || message->fds == 0) return reason;
  return airlock_guard_region_file(&message->file, place[0]);
}

/* Guest memory at address 0, of which the gate reads a ring: each descriptor once, as a copy. */
static uint8_t guest[4096];

static enum airlock_guard_reason follow(struct gate* gate, uint32_t head) {
  struct airlock_chain chain;
  enum airlock_guard_reason reason = airlock_snoop_begin(&gate->queue, &chain, head);

  while (reason == AIRLOCK_GUARD_PASS && chain.more) {
    const uint64_t at = airlock_snoop_next(&gate->queue, &chain);
    struct airlock_descriptor descriptor;

    if (!airlock_range_within(at, sizeof descriptor, sizeof guest)) return AIRLOCK_GUARD_NOT_MAPPED;
    memcpy(&descriptor, guest + at, sizeof descriptor);
    reason = airlock_snoop_step(&gate->queue, &chain, head, &descriptor);
  }
  return reason;
}

/* ---- and now somebody tries it ------------------------------------------------------------- */

static int wrong;

static void expect(const char* what, enum airlock_guard_reason reason,
                   enum airlock_guard_reason expected) {
  const struct airlock_guard_meaning meaning = airlock_guard_explain(reason);

  printf("%-43s %2u  %s\n", what, (unsigned)meaning.error, meaning.words);
  if (reason == expected) return;
  printf("  but should be: %s\n", airlock_guard_explain(expected).words);
  wrong = 1;
}

/* `type` 0 is a command, 1 a reply; the 32-bit words behind the header. */
static struct message make(uint16_t command, uint32_t type, const uint32_t* words, uint32_t count,
                           uint32_t fds) {
  struct message message = {.size = 16 + count * 4, .fds = fds};
  const struct airlock_guard_header header = {
      .id = 1, .command = command, .size = message.size, .flags = type};

  memcpy(message.bytes, &header, sizeof header);
  if (count != 0) memcpy(message.bytes + sizeof header, words, count * 4);
  message.file.present = message.file.memfd = fds != 0;
  message.file.seals = 7;
  message.file.bytes = 4096;
  return message;
}

static void try_memory(struct gate* gate) {
  const uint32_t map[] = {32, 3, 0, 0, 0, 0, 4096, 0}; /* 4096 bytes at address 0 */
  const uint32_t read[] = {256, 0, 16, 0};             /* 16 bytes at 256 */
  const struct message dma_map = make(2, 0, map, 8, 1);
  const struct message dma_read = make(11, 0, read, 4, 0);
  struct airlock_guard_share share;

  expect("bounce: the VM maps its memory", from_vm(gate, &dma_map, &share),
         AIRLOCK_GUARD_OWN_ANSWER);
  expect("bounce: the device reads it", from_device(gate, &dma_read), AIRLOCK_GUARD_NO_MEMORY);

  gate->map_count = 0;
  gate->rules.policy = AIRLOCK_GUARD_WINDOW;
  gate->rules.window_first = 256;
  gate->rules.window_bytes = 16;
  expect("window: the VM maps its memory", from_vm(gate, &dma_map, &share), AIRLOCK_GUARD_PASS);
  if (share.with_fd || share.address != 256 || share.size != 16) wrong = 1;
  expect("window: the device reads in it", from_device(gate, &dma_read), AIRLOCK_GUARD_PASS);
  gate->rules.window_bytes = 15;
  expect("window: the device reads beyond it", from_device(gate, &dma_read),
         AIRLOCK_GUARD_OUTSIDE_WINDOW);
}

static void try_ring(struct gate* gate) {
  const struct airlock_descriptor descriptor = {.address = 256, .length = 16};
  const uint32_t read[] = {256, 0, 16, 0};
  const uint32_t write[] = {256, 0, 4, 0, 0x12345678};
  const struct message dma_read = make(11, 0, read, 4, 0);
  const struct message dma_write = make(12, 0, write, 5, 0);

  gate->rules.policy = AIRLOCK_GUARD_SNOOP;
  memcpy(guest + 16, &descriptor, sizeof descriptor); /* entry 1 of the table at 0 */
  gate->queue.descriptors = 0;
  gate->queue.driver_area = 128;
  gate->queue.device_area = 192;
  gate->queue.rules.queue_size = 4;
  expect("snoop: a ring", airlock_snoop_open(&gate->queue, 0), AIRLOCK_GUARD_PASS);
  expect("snoop: the device reads too early", from_device(gate, &dma_read),
         AIRLOCK_GUARD_NOT_INVITED);
  expect("snoop: a chain is available", follow(gate, 1), AIRLOCK_GUARD_PASS);
  expect("snoop: the device reads", from_device(gate, &dma_read), AIRLOCK_GUARD_PASS);
  expect("snoop: the device writes where it may read", from_device(gate, &dma_write),
         AIRLOCK_GUARD_NOT_INVITED);
  expect("snoop: the chain is used", airlock_snoop_retire(&gate->queue, 1), AIRLOCK_GUARD_PASS);
  expect("snoop: the device reads too late", from_device(gate, &dma_read),
         AIRLOCK_GUARD_NOT_INVITED);
}

static void try_the_rest(struct gate* gate) {
  const uint32_t irqs[] = {20, 0x24, 2, 0, 1}; /* one eventfd for vector 0 of MSI-X */
  const uint32_t err[] = {20, 0x24, 3, 0, 1};  /* and for ERR */
  const uint32_t region[] = {32, 7, 2, 0, 4096, 0, 0, 0};
  const struct message set_irqs = make(8, 0, irqs, 5, 1);
  const struct message set_err = make(8, 0, err, 5, 1);
  const struct message reset = make(13, 0, NULL, 0, 0);
  struct message bar = make(5, 1, region, 8, 1);
  struct airlock_guard_share share;

  expect("the VM sets an interrupt", from_vm(gate, &set_irqs, &share), AIRLOCK_GUARD_PASS);
  expect("the VM sets ERR", from_vm(gate, &set_err, &share), AIRLOCK_GUARD_IRQ_KEPT);
  expect("the VM resets the device", from_vm(gate, &reset, &share), AIRLOCK_GUARD_PASS);
  expect("the device resets the VM", from_device(gate, &reset), AIRLOCK_GUARD_WRONG_SIDE);
  expect("the device's BAR", region_reply(gate, &bar), AIRLOCK_GUARD_PASS);
  bar.file.seals = 3;
  expect("the same, but it can grow", region_reply(gate, &bar), AIRLOCK_GUARD_NOT_SEALED);
}

int main(void) {
  static struct gate gate = {.rules = {.policy = AIRLOCK_GUARD_BOUNCE,
                                       .data_max = 1 << 20,
                                       .fds_max = 16,
                                       .region_max = (uint64_t)1 << 32,
                                       .page_bytes = 4096},
                             .vectors = {0, 0, 4, 1, 0}};

  gate.queue.live = gate.live;
  gate.queue.capacity = LIVE_MAX;
  try_memory(&gate);
  try_ring(&gate);
  try_the_rest(&gate);
  return wrong;
}
