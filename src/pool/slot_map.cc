// SPDX-License-Identifier: Apache-2.0
#include "pool/slot_map.h"

#include <bit>

#include "base/check.h"
#include "core/range.h"

namespace airlock::pool {

SlotMap::SlotMap(std::uint32_t origin, std::uint32_t slots) : origin_(origin), slots_(slots) {
  heads_.fill(kNone);
  parked_.fill(kNone);
  CHECK(slots > 0);
  insert(0, slots);
}

std::uint32_t SlotMap::take(std::uint32_t count, std::uint32_t alignment) {
  CHECK(count > 0 && airlock_is_power_of_two(alignment));
  if (count < kExact && alignment == 1 && parked_[count] != kNone) [[likely]] {
    const std::uint32_t first = parked_[count];
    parked_[count] = slots_[first].next;
    parked_slots_ -= count;
    slots_[first].state = State::kTaken;
    return first;
  }
  const std::uint32_t start = take_merged(count, alignment);
  if (start != kNone || parked_slots_ == 0) return start;
  settle();
  return take_merged(count, alignment);
}

void SlotMap::give(std::uint32_t first, std::uint32_t count) {
  CHECK(airlock_range_within(first, count, size()));
  Slot& slot = slots_[first];
  CHECK(slot.state == State::kTaken && slot.count == count);
  if (count >= kExact) return merge(first, count);
  slot.state = State::kParked;
  slot.next = parked_[count];
  parked_[count] = first;
  parked_slots_ += count;
  if (parked_slots_ > kParkedMost) settle();
}

void SlotMap::settle() {
  for (std::uint32_t count = 1; count < kExact && parked_slots_ > 0; count++) {
    while (parked_[count] != kNone) {
      const std::uint32_t first = parked_[count];
      parked_[count] = slots_[first].next;
      parked_slots_ -= count;
      merge(first, count);
    }
  }
}

std::uint32_t SlotMap::take_merged(std::uint32_t count, std::uint32_t alignment) {
  if (count > size()) return kNone;
  std::uint32_t block = kNone;
  const auto start = find(count, alignment, block);
  if (!start) return kNone;
  const std::uint32_t before = *start - block;
  const std::uint32_t after = slots_[block].count - before - count;
  remove(block);
  // The rest behind goes in first: what is left before it is the smaller and hotter piece.
  if (after > 0) insert(*start + count, after);
  if (before > 0) insert(block, before);
  slots_[*start].state = State::kTaken;
  slots_[*start].count = count;
  return *start;
}

// Adds what is taken, or was parked, to the free blocks beside it.
void SlotMap::merge(std::uint32_t first, std::uint32_t count) {
  slots_[first].state = State::kInside;
  const std::uint32_t end = first + count;
  if (end < size() && slots_[end].state == State::kFree) {
    count += slots_[end].count;
    remove(end);
  }
  if (first > 0) {
    const Slot& before = slots_[first - 1];
    const bool single = before.state == State::kFree && before.count == 1;
    if (single || before.state == State::kFreeTail) {
      const std::uint32_t merged = before.count;
      remove(first - merged);
      first -= merged;
      count += merged;
    }
  }
  insert(first, count);
}

std::uint32_t SlotMap::list_of(std::uint32_t count) {
  if (count < kExact) return count;
  const auto power = static_cast<std::uint32_t>(std::bit_width(count)) - 1;  // 6 to 31
  return kExact + ((power - 6) * 8) + ((count >> (power - 3)) & 7);
}

// The first list in which every block has `count` slots.
std::uint32_t SlotMap::first_sure_list(std::uint32_t count) {
  const std::uint32_t list = list_of(count);
  if (count < kExact) return list;
  const auto power = static_cast<std::uint32_t>(std::bit_width(count)) - 1;
  const std::uint32_t step = std::uint32_t{1} << (power - 3);
  return airlock_is_aligned(count, step) ? list : list + 1;
}

std::uint32_t SlotMap::next_list(std::uint32_t from) const {
  if (from >= kLists) return kNone;
  std::uint64_t word = occupied_[from / 64] & (~std::uint64_t{0} << (from % 64));
  for (std::uint32_t i = from / 64;;) {
    if (word != 0) return (i * 64) + static_cast<std::uint32_t>(std::countr_zero(word));
    if (++i == occupied_.size()) return kNone;
    word = occupied_[i];
  }
}

// Where in the free block `count` aligned slots begin.
std::optional<std::uint32_t> SlotMap::fit(std::uint32_t block, std::uint32_t count,
                                          std::uint32_t alignment) const {
  const std::uint64_t number = std::uint64_t{origin_} + block;
  const std::uint64_t aligned = (number + alignment - 1) & ~(std::uint64_t{alignment} - 1);
  const std::uint64_t skip = aligned - number;
  if (!airlock_range_within(skip, count, slots_[block].count)) return std::nullopt;
  return block + static_cast<std::uint32_t>(skip);
}

std::optional<std::uint32_t> SlotMap::find(std::uint32_t count, std::uint32_t alignment,
                                           std::uint32_t& block) const {
  // A hot block of this very size, if it happens to fit.
  const std::uint32_t own = list_of(count);
  if (heads_[own] != kNone) {
    block = heads_[own];
    if (const auto start = fit(block, count, alignment)) return start;
  }
  // A block that must fit.
  const std::uint64_t padded = std::uint64_t{count} + alignment - 1;
  if (padded <= size()) {
    const std::uint32_t list = next_list(first_sure_list(static_cast<std::uint32_t>(padded)));
    if (list != kNone) {
      block = heads_[list];
      return fit(block, count, alignment);
    }
  }
  if (alignment == 1 && count < kExact) return std::nullopt;  // the lists are exact: no room
  for (std::uint32_t list = next_list(own); list != kNone; list = next_list(list + 1)) {
    for (block = heads_[list]; block != kNone; block = slots_[block].next) {
      if (const auto start = fit(block, count, alignment)) return start;
    }
  }
  return std::nullopt;
}

void SlotMap::insert(std::uint32_t first, std::uint32_t count) {
  const std::uint32_t list = list_of(count);
  const std::uint32_t tail = first + count - 1;
  slots_[tail].state = State::kFreeTail;
  slots_[tail].count = count;
  slots_[first] = {.count = count, .next = heads_[list], .previous = kNone, .state = State::kFree};
  if (heads_[list] != kNone) slots_[heads_[list]].previous = first;
  heads_[list] = first;
  occupied_[list / 64] |= std::uint64_t{1} << (list % 64);
  free_blocks_++;
}

void SlotMap::remove(std::uint32_t first) {
  Slot& slot = slots_[first];
  const std::uint32_t list = list_of(slot.count);
  if (slot.previous == kNone) {
    heads_[list] = slot.next;
  } else {
    slots_[slot.previous].next = slot.next;
  }
  if (slot.next != kNone) slots_[slot.next].previous = slot.previous;
  if (heads_[list] == kNone) occupied_[list / 64] &= ~(std::uint64_t{1} << (list % 64));
  slots_[first + slot.count - 1].state = State::kInside;
  slot.state = State::kInside;
  free_blocks_--;
}

}  // namespace airlock::pool
