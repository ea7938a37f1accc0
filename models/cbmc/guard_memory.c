/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core/guard_memory.h: for every range, file and message of the device, and every policy, also one
 * that is none: the device is told of no memory and given no file that the policy keeps from it,
 * and none of its messages touches such memory. VFIO_USER 1.4, 1.5, 1.7, 1.13.
 */
#include "core/guard.h"
#include "core/range.h"
#include "proof.h"

/*
 * Whether [address, address + length) lies inside [base, base + size). range.c proves that this is
 * what core/range.h answers; here it is asked for.
 */
static bool inside(uint64_t address, uint64_t length, uint64_t base, uint64_t size) {
  return airlock_range_inside(address, length, base, size);
}

/* Twins that take one check out of the header. */
#ifdef BROKEN_POLICY_UNCHECKED
#define airlock_guard_gives(rules) true
#endif
#ifdef BROKEN_SUM_WRAPS
#define airlock_range_inside(address, length, base, size) \
  ((address) >= (base) && (address) + (length) <= (base) + (size))
#endif
#ifdef BROKEN_OVERLAP_UNCHECKED
#define airlock_ranges_overlap(a, a_length, b, b_length) true
#endif
#include "core/snoop.h"
#define airlock_snoop_invites ask
static bool ask(const struct airlock_snoop* queue, bool write, uint64_t address, uint64_t count);
#include "core/guard_memory.h"

#define MAPS_MAX 2u
#define QUEUES_MAX 2u

static struct airlock_guard_rules any_rules(void) {
  const struct airlock_guard_rules rules = {.policy = (enum airlock_guard_policy)nondet_u32(),
                                            .window_first = nondet_u64(),
                                            .window_bytes = nondet_u64(),
                                            .data_max = nondet_u32()};
  return rules;
}

/* Whatever a mapping is: the ranges may even overlap or wrap around. */
static uint32_t any_maps(struct airlock_guard_map maps[MAPS_MAX], uint32_t most) {
  const uint32_t count = nondet_u32();

  for (uint32_t i = 0; i < MAPS_MAX; i++) {
    maps[i].address = nondet_u64();
    maps[i].size = nondet_u64();
    maps[i].flags = nondet_u32();
  }
  ASSUME(count <= most);
  return count;
}

static struct airlock_guard_file any_file(void) {
  const struct airlock_guard_file file = {.present = nondet_bool(),
                                          .memfd = nondet_bool(),
                                          .huge = nondet_bool(),
                                          .of_vm = nondet_bool(),
                                          .seals = nondet_u32(),
                                          .bytes = nondet_u64()};
  return file;
}

/*
 * proof: guard_region_file
 * twin: guard_region_file BROKEN_SEALS_UNREAD: it can never shrink, grow or lose its seals
 * twin: guard_region_file BROKEN_VM_UNKNOWN: it is no file of the VM's
 */
void guard_region_file(void) {
  const struct airlock_guard_file file = any_file();
  const uint64_t size = nondet_u64();
  struct airlock_guard_file seen = file;
#ifdef BROKEN_SEALS_UNREAD
  seen.seals = 7;
#endif
#ifdef BROKEN_VM_UNKNOWN
  seen.of_vm = false;
#endif

  if (airlock_guard_region_file(&seen, size) != AIRLOCK_GUARD_PASS) {
    REACHED("a refused file");
    return;
  }
  PROVE(file.present && file.memfd && !file.huge, "it is memory, of small pages");
  PROVE((file.seals & 1) != 0 && (file.seals & 2) != 0 && (file.seals & 4) != 0,
        "it can never shrink, grow or lose its seals");
  PROVE(!file.of_vm, "it is no file of the VM's");
  PROVE(file.bytes == size && size != 0, "it is the region and nothing else");
  REACHED("a file for a region");
}

/*
 * proof: guard_clip
 * twin: guard_clip BROKEN_POLICY_UNCHECKED: a policy that gives nothing tells nothing
 * twin: guard_clip BROKEN_OVERLAP_UNCHECKED: what is told is in the range and in the window
 */
void guard_clip(void) {
  const struct airlock_guard_rules rules = any_rules();
  const uint64_t address = nondet_u64();
  const uint64_t size = nondet_u64();
  ASSUME(airlock_is_range(address, size));
  const struct airlock_guard_share share = airlock_guard_clip(&rules, address, size);

  PROVE(!share.with_fd, "a range is no file");
  if (!share.tell) {
    REACHED("a range that the device does not learn of");
    return;
  }
  PROVE(rules.policy == AIRLOCK_GUARD_WINDOW || rules.policy == AIRLOCK_GUARD_SNOOP ||
            rules.policy == AIRLOCK_GUARD_OPEN,
        "a policy that gives nothing tells nothing");
  if (rules.policy != AIRLOCK_GUARD_WINDOW) {
    PROVE(share.address == address && share.size == size, "the range is told as it is");
    REACHED("all of a range");
    return;
  }
  const uint64_t first = rules.window_first;
  const uint64_t bytes = rules.window_bytes;

  if (address < first) {
    PROVE(share.address == first && first - address < size &&
              share.size <= size - (first - address) && share.size <= bytes,
          "what is told is in the range and in the window");
    REACHED("a range that begins before the window");
  } else {
    PROVE(share.address == address && address - first < bytes && share.size <= size &&
              share.size <= bytes - (address - first),
          "what is told is in the range and in the window");
    REACHED("a range that begins in the window");
  }
  if (share.size < size) REACHED("a part of a range");
}

/*
 * proof: guard_dma_map --unwind 3
 * twin: guard_dma_map BROKEN_POLICY_UNCHECKED: a policy that gives nothing tells nothing
 * twin: guard_dma_map BROKEN_SEALS_UNREAD: a file in a window can never be taken back
 * twin: guard_dma_map BROKEN_OFFSET_UNREAD: a file in a window is all of it
 */
void guard_dma_map(void) {
  const struct airlock_guard_rules rules = any_rules();
  const struct airlock_guard_file file = any_file();
  const struct airlock_guard_map map = {
      .address = nondet_u64(), .size = nondet_u64(), .flags = nondet_u32()};
  const uint64_t offset = nondet_u64();
  struct airlock_guard_map maps[MAPS_MAX];
  const struct airlock_guard_memory memory = {.maps = maps, .map_count = any_maps(maps, MAPS_MAX)};
  struct airlock_guard_share share;
  struct airlock_guard_file seen = file;
  uint64_t read = offset;
#ifdef BROKEN_OFFSET_UNREAD
  read = 0;
#endif
#ifdef BROKEN_SEALS_UNREAD
  seen.seals = 7;
#endif

  if (airlock_guard_dma_map(&rules, &memory, &map, read, &seen, &share) != AIRLOCK_GUARD_PASS) {
    REACHED("a refused map");
    return;
  }
  PROVE(airlock_is_range(map.address, map.size) && map.flags <= 3, "what is mapped can be");
  PROVE(!share.tell || (rules.policy >= AIRLOCK_GUARD_WINDOW && rules.policy <= AIRLOCK_GUARD_OPEN),
        "a policy that gives nothing tells nothing");
  if (!share.with_fd) {
    REACHED("a range without its file");
    return;
  }
  PROVE(file.present && share.tell, "a file goes with its range");
  if (rules.policy == AIRLOCK_GUARD_OPEN) {
    REACHED("a file by the open policy");
    return;
  }
  PROVE(rules.policy == AIRLOCK_GUARD_WINDOW, "no other policy gives files");
  PROVE(offset == 0 && file.bytes == map.size, "a file in a window is all of it");
  PROVE(share.address == map.address && share.size == map.size, "a file in a window is in it");
  PROVE(map.flags == 3, "a file in a window is for reading and writing");
  PROVE(file.memfd && !file.huge && (file.seals & 7) == 7,
        "a file in a window can never be taken back");
  REACHED("a file in a window");
}

/*
 * Each range is judged by itself, so one is enough.
 *
 * proof: guard_dma_unmap --unwind 3
 * twin: guard_dma_unmap BROKEN_SUM_WRAPS: no range is cut
 */
void guard_dma_unmap(void) {
  const uint64_t address = nondet_u64();
  const uint64_t size = nondet_u64();
  struct airlock_guard_map maps[MAPS_MAX];
  const struct airlock_guard_memory memory = {.maps = maps, .map_count = any_maps(maps, 1)};
  const uint32_t i = nondet_u32();

  if (airlock_guard_dma_unmap(&memory, address, size) != AIRLOCK_GUARD_PASS) {
    REACHED("a refused unmap");
    return;
  }
  ASSUME(i < memory.map_count && airlock_is_range(maps[i].address, maps[i].size));
  const bool touched = airlock_ranges_overlap(address, size, maps[i].address, maps[i].size);

  PROVE(!touched || inside(maps[i].address, maps[i].size, address, size), "no range is cut");
  if (touched) REACHED("a range that goes");
}

/* What was asked of a queue last, and its answer: guard_snoop.c proves what a yes means. */
static struct {
  const struct airlock_snoop* queue;
  uint64_t address, count;
  bool write, yes;
} asked;

static bool ask(const struct airlock_snoop* queue, bool write, uint64_t address, uint64_t count) {
  asked.queue = queue;
  asked.write = write;
  asked.address = address;
  asked.count = count;
  asked.yes = nondet_bool();
#ifdef BROKEN_UNINVITED
  return true;
#endif
  return asked.yes;
}

/*
 * proof: guard_dma --unwind 3
 * twin: guard_dma BROKEN_POLICY_UNCHECKED: a policy that gives nothing gives nothing
 * twin: guard_dma BROKEN_SUM_WRAPS: only memory that is mapped for this direction is touched
 * twin: guard_dma BROKEN_DIRECTION: only memory that is mapped for this direction is touched
 * twin: guard_dma BROKEN_COUNT_UNREAD: only memory of the window is touched
 * twin: guard_dma BROKEN_UNINVITED: only memory that a queue invites is touched
 */
void guard_dma(void) {
  const struct airlock_guard_rules rules = any_rules();
  struct airlock_guard_map maps[MAPS_MAX];
  const struct airlock_snoop queues[QUEUES_MAX] = {{0}};
  const struct airlock_guard_memory memory = {.maps = maps,
                                              .queues = queues,
                                              .map_count = any_maps(maps, MAPS_MAX),
                                              .queue_count = nondet_u32()};
  const bool write = nondet_bool();
  const uint64_t address = nondet_u64();
  const uint64_t count = nondet_u64();
  const uint64_t bytes = nondet_u64();
  bool mapped = false;
  bool direction = write;
  uint64_t counted = count;
  ASSUME(memory.queue_count <= QUEUES_MAX);
#ifdef BROKEN_DIRECTION
  direction = false;
#endif
#ifdef BROKEN_COUNT_UNREAD
  counted = 1;
#endif

  if (airlock_guard_dma(&rules, &memory, direction, address, counted, bytes) !=
      AIRLOCK_GUARD_PASS) {
    REACHED("a refused access");
    return;
  }
  for (uint32_t i = 0; i < memory.map_count; i++)
    mapped = mapped || ((maps[i].flags & (write ? 2 : 1)) != 0 &&
                        inside(address, count, maps[i].address, maps[i].size));
  PROVE(mapped, "only memory that is mapped for this direction is touched");
  PROVE(rules.policy == AIRLOCK_GUARD_WINDOW || rules.policy == AIRLOCK_GUARD_SNOOP ||
            rules.policy == AIRLOCK_GUARD_OPEN,
        "a policy that gives nothing gives nothing");
  PROVE(bytes == (write ? count : 0) && count != 0 && count <= rules.data_max,
        "all the data is there");
  if (rules.policy == AIRLOCK_GUARD_WINDOW) {
    PROVE(inside(address, count, rules.window_first, rules.window_bytes),
          "only memory of the window is touched");
    REACHED("an access in the window");
  }
  if (rules.policy == AIRLOCK_GUARD_SNOOP) {
    PROVE(asked.yes && asked.address == address && asked.count == count && asked.write == write &&
              __CPROVER_same_object(asked.queue, queues),
          "only memory that a queue invites is touched");
    REACHED("an access that is invited");
  }
  if (rules.policy == AIRLOCK_GUARD_OPEN) REACHED("an access by the open policy");
}
