/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * Memory that the two sides could share: the file of the device's region, what the device is told
 * of guest memory, and which of that its messages may touch. VFIO_USER 1.4, 1.5, 1.7, 1.13.
 */
#ifndef AIRLOCK_CORE_GUARD_MEMORY_H
#define AIRLOCK_CORE_GUARD_MEMORY_H

#include "core/guard.h"
#include "core/range.h"
#include "core/snoop.h"

/* What fstat, fstatfs and F_GET_SEALS say of a file descriptor. */
struct airlock_guard_file {
  bool present;   /* there is one */
  bool memfd;     /* memory without a name */
  bool huge;      /* of huge pages */
  bool of_vm;     /* the same file as one that came from the VM */
  uint32_t seals; /* F_SEAL_* */
  uint64_t bytes; /* its size */
};

/* Whether its size is for ever: F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW. */
static inline bool airlock_guard_is_sealed(const struct airlock_guard_file* file) {
  return file->memfd && (file->seals & 7u) == 7u;
}

/*
 * The file of a mappable region of `size` bytes: exactly those, sealed, and memory of its own. Huge
 * pages can be punched out in spite of the seals, and who touches them dies if none are left.
 */
static inline enum airlock_guard_reason airlock_guard_region_file(
    const struct airlock_guard_file* file, uint64_t size) {
  if (!file->present) return AIRLOCK_GUARD_BAD_FDS;
  if (file->of_vm) return AIRLOCK_GUARD_FILE_OF_VM;
  if (!airlock_guard_is_sealed(file)) return AIRLOCK_GUARD_NOT_SEALED;
  if (file->huge) return AIRLOCK_GUARD_HUGE_PAGES;
  return file->bytes == size && size != 0 ? AIRLOCK_GUARD_PASS : AIRLOCK_GUARD_FILE_SIZE;
}

/* A range of guest memory, as DMA_MAP has it. flags: 1 the device may read it, 2 write it. */
struct airlock_guard_map {
  uint64_t address, size;
  uint32_t flags;
};

/* All there is: what is mapped, no two of them overlapping; for AIRLOCK_GUARD_SNOOP, the queues. */
struct airlock_guard_memory {
  const struct airlock_guard_map* maps;
  const struct airlock_snoop* queues;
  uint32_t map_count, queue_count;
};

/* What the device is told of a DMA_MAP or DMA_UNMAP: nothing, or this range of it. */
struct airlock_guard_share {
  bool tell, with_fd;
  uint64_t address, size;
};

/* The part of a sound range that the policy lets the device know of. */
static inline struct airlock_guard_share airlock_guard_clip(const struct airlock_guard_rules* rules,
                                                            uint64_t address, uint64_t size) {
  struct airlock_guard_share share = {airlock_guard_gives(rules), false, address, size};
  const uint64_t first = rules->window_first;
  uint64_t room = 0;

  if (rules->policy != AIRLOCK_GUARD_WINDOW) return share;
  share.tell = airlock_ranges_overlap(address, size, first, rules->window_bytes);
  if (!share.tell) return share;
  share.address = address < first ? first : address;
  share.size = address < first ? size - (first - address) : size;
  room = address < first ? rules->window_bytes : rules->window_bytes - (address - first);
  if (share.size > room) share.size = room;
  return share;
}

/*
 * DMA_MAP of the VM, from `offset` of its file on. Where it passes, `share` is for the device. With
 * the fd if the policy is OPEN; or if all of the file is this range in the window, for reading and
 * writing, and the device cannot take any of it from under the VM.
 */
static inline enum airlock_guard_reason airlock_guard_dma_map(
    const struct airlock_guard_rules* rules, const struct airlock_guard_memory* memory,
    const struct airlock_guard_map* map, uint64_t offset, const struct airlock_guard_file* file,
    struct airlock_guard_share* share) {
  if ((map->flags & ~3u) != 0) return AIRLOCK_GUARD_BAD_FLAGS;
  if (!airlock_is_range(map->address, map->size) || !airlock_is_range(offset, map->size))
    return AIRLOCK_GUARD_BAD_RANGE;
  for (uint32_t i = 0; i < memory->map_count; i++)
    if (airlock_ranges_overlap(map->address, map->size, memory->maps[i].address,
                               memory->maps[i].size))
      return AIRLOCK_GUARD_MAPPED_TWICE;
  *share = airlock_guard_clip(rules, map->address, map->size);
  share->with_fd = file->present && rules->policy == AIRLOCK_GUARD_OPEN;
  if (file->present && rules->policy == AIRLOCK_GUARD_WINDOW && share->tell)
    share->with_fd = share->size == map->size && file->bytes == map->size && offset == 0 &&
                     map->flags == 3 && airlock_guard_is_sealed(file) && !file->huge;
  return AIRLOCK_GUARD_PASS;
}

/* DMA_UNMAP of the VM, of whole ranges; airlock_guard_clip() says what the device is told. */
static inline enum airlock_guard_reason airlock_guard_dma_unmap(
    const struct airlock_guard_memory* memory, uint64_t address, uint64_t size) {
  if (!airlock_is_range(address, size)) return AIRLOCK_GUARD_BAD_RANGE;
  for (uint32_t i = 0; i < memory->map_count; i++)
    if (airlock_ranges_overlap(address, size, memory->maps[i].address, memory->maps[i].size) &&
        !airlock_range_inside(memory->maps[i].address, memory->maps[i].size, address, size))
      return AIRLOCK_GUARD_BAD_RANGE;
  return AIRLOCK_GUARD_PASS;
}

/*
 * DMA_READ or DMA_WRITE of the device, with `bytes` of data. All of it passes or nothing: inside
 * one range that is mapped for that direction, and inside what the policy gives.
 */
static inline enum airlock_guard_reason airlock_guard_dma(const struct airlock_guard_rules* rules,
                                                          const struct airlock_guard_memory* memory,
                                                          bool write, uint64_t address,
                                                          uint64_t count, uint64_t bytes) {
  bool mapped = false, invited = rules->policy != AIRLOCK_GUARD_SNOOP;

  if (!airlock_guard_gives(rules)) return AIRLOCK_GUARD_NO_MEMORY;
  if (bytes != (write ? count : 0)) return AIRLOCK_GUARD_BAD_SIZE;
  if (count == 0 || count > rules->data_max) return AIRLOCK_GUARD_BAD_RANGE;
  if (rules->policy == AIRLOCK_GUARD_WINDOW &&
      !airlock_range_inside(address, count, rules->window_first, rules->window_bytes))
    return AIRLOCK_GUARD_OUTSIDE_WINDOW;
  for (uint32_t i = 0; i < memory->map_count && !mapped; i++)
    mapped = (memory->maps[i].flags & (write ? 2u : 1u)) != 0 &&
             airlock_range_inside(address, count, memory->maps[i].address, memory->maps[i].size);
  if (!mapped) return AIRLOCK_GUARD_NOT_MAPPED;
  for (uint32_t i = 0; i < memory->queue_count && !invited; i++)
    invited = airlock_snoop_invites(&memory->queues[i], write, address, count);
  return invited ? AIRLOCK_GUARD_PASS : AIRLOCK_GUARD_NOT_INVITED;
}

#endif
