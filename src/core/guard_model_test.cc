// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//
// Goal: what a device is told of guest memory, what it is given and what it may touch is what the
// policy says, byte by byte. Method: random ranges in a small memory against a table of its bytes;
// and random messages against rules that are written down in another way.
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <array>
#include <cstdint>
#include <vector>

#include "core/guard_memory.h"
#include "core/guard_message.h"

namespace airlock {
namespace {

constexpr std::size_t kBytes = 64;

using Taken = std::array<bool, kBytes + 1>;  // bytes that are part of some range

airlock_guard_rules any_rules() {
  return {.policy = static_cast<airlock_guard_policy>(*rc::gen::inRange(0, 4)),
          .window_first = *rc::gen::inRange<std::uint64_t>(0, kBytes),
          .window_bytes = *rc::gen::inRange<std::uint64_t>(0, kBytes),
          .data_max = 40,
          .fds_max = 4,
          .region_max = 1 << 20,
          .page_bytes = 4096};
}

airlock_guard_map any_map() {
  const auto address = *rc::gen::inRange<std::uint64_t>(0, kBytes);
  return {.address = address,
          .size = *rc::gen::inRange<std::uint64_t>(0, kBytes - address + 1),
          .flags = *rc::gen::inRange<std::uint32_t>(0, 5)};
}

bool overlaps(const Taken& taken, const airlock_guard_map& map) {
  for (std::uint64_t i = map.address; i < map.address + map.size; ++i)
    if (taken[i]) return true;
  return false;
}

struct Mapped {
  std::vector<airlock_guard_map> maps;
  Taken taken = {};

  // Whether the bytes are all of one range: what borders on another is another.
  [[nodiscard]] bool in_one(std::uint64_t address, std::uint64_t count, std::uint32_t flag) const {
    for (const auto& map : maps) {
      bool all = (map.flags & flag) != 0;
      for (std::uint64_t i = address; i < address + count; ++i)
        all = all && i >= map.address && i < map.address + map.size;
      if (all) return true;
    }
    return false;
  }
  [[nodiscard]] airlock_guard_memory view(const airlock_snoop* queue) const {
    return {.maps = maps.data(),
            .queues = queue,
            .map_count = static_cast<std::uint32_t>(maps.size()),
            .queue_count = queue == nullptr ? 0U : 1U};
  }
};

// T1.
TEST(GuardModel, MemoryIsToldGivenAndTouchedByThePolicy) {
  EXPECT_TRUE(rc::check([] {
    const auto rules = any_rules();
    const auto in_window = [&](std::uint64_t byte) {
      return byte >= rules.window_first && byte < rules.window_first + rules.window_bytes;
    };
    Mapped mapped;
    for (int i = 0; i < 4; ++i) {
      const auto map = any_map();
      const airlock_guard_file file{
          .present = *rc::gen::arbitrary<bool>(),
          .memfd = *rc::gen::weightedElement<bool>({{5, true}, {1, false}}),
          .huge = *rc::gen::weightedElement<bool>({{1, true}, {5, false}}),
          .of_vm = false,
          .seals = *rc::gen::weightedElement<unsigned>({{5, 7}, {1, 3}}),
          .bytes = map.size + *rc::gen::inRange<std::uint64_t>(0, 2)};
      const auto offset = *rc::gen::inRange<std::uint64_t>(0, 2);
      airlock_guard_share share{};
      const auto memory = mapped.view(nullptr);
      const auto reason = airlock_guard_dma_map(&rules, &memory, &map, offset, &file, &share);
      const bool good = map.size != 0 && map.flags <= 3 && !overlaps(mapped.taken, map);
      RC_ASSERT((reason == AIRLOCK_GUARD_PASS) == good);
      if (!good) continue;
      bool whole = true;
      for (std::uint64_t byte = 0; byte < kBytes; ++byte) {
        const bool own = byte >= map.address && byte < map.address + map.size;
        const bool given = (rules.policy == AIRLOCK_GUARD_WINDOW && in_window(byte)) ||
                           rules.policy == AIRLOCK_GUARD_SNOOP ||
                           rules.policy == AIRLOCK_GUARD_OPEN;
        const bool told = share.tell && byte >= share.address && byte < share.address + share.size;
        RC_ASSERT(told == (own && given));
        whole = whole && (!own || given);
        if (own) mapped.taken[byte] = true;
      }
      const bool safe = file.memfd && !file.huge && file.seals == 7 && file.bytes == map.size &&
                        offset == 0 && map.flags == 3;
      RC_ASSERT(share.with_fd ==
                (file.present && (rules.policy == AIRLOCK_GUARD_OPEN ||
                                  (rules.policy == AIRLOCK_GUARD_WINDOW && whole && safe))));
      mapped.maps.push_back(map);
    }

    std::array<airlock_snoop_live, 1> live = {};
    airlock_snoop queue{.descriptors = 0,
                        .driver_area = 0x1000,
                        .device_area = 0x2000,
                        .rules = {.queue_size = 1, .packed = false, .indirect = false},
                        .live = live.data(),
                        .capacity = 1,
                        .count = 0,
                        .chains = 0};
    RC_ASSERT(airlock_snoop_open(&queue, 0) == AIRLOCK_GUARD_PASS);
    const auto memory = mapped.view(&queue);
    for (int i = 0; i < 20; ++i) {
      const auto address = *rc::gen::inRange<std::uint64_t>(0, kBytes);
      const auto count = *rc::gen::inRange<std::uint64_t>(0, kBytes - address + 1);
      const bool write = *rc::gen::arbitrary<bool>();
      bool good = rules.policy != AIRLOCK_GUARD_BOUNCE && count != 0 && count <= rules.data_max &&
                  mapped.in_one(address, count, write ? 2 : 1);
      for (std::uint64_t byte = address; byte < address + count; ++byte) {
        if (rules.policy == AIRLOCK_GUARD_WINDOW) good = good && in_window(byte);
        if (rules.policy == AIRLOCK_GUARD_SNOOP) good = good && !write && byte < 16;
      }
      RC_ASSERT((airlock_guard_dma(&rules, &memory, write, address, count, write ? count : 0) ==
                 AIRLOCK_GUARD_PASS) == good);
    }
  }));
}

// T1: whatever a side sends, no file and no question about memory goes where the policy has none.
TEST(GuardModel, NoMessageCarriesMoreThanItMay) {
  EXPECT_TRUE(rc::check([] {
    const auto rules = any_rules();
    const bool gives = rules.policy != AIRLOCK_GUARD_BOUNCE;
    const bool of_device = *rc::gen::arbitrary<bool>();
    const airlock_guard_header header{
        .id = *rc::gen::arbitrary<std::uint16_t>(),
        .command = *rc::gen::inRange<std::uint16_t>(0, 20),
        .size = *rc::gen::inRange<std::uint32_t>(0, 100),
        .flags = *rc::gen::weightedElement<std::uint32_t>({{8, 0}, {4, 0x10}, {1, 1}, {1, 0x20}}),
        .error = 0};
    const auto fds = *rc::gen::weightedElement<std::uint32_t>({{4, 0}, {3, 1}, {1, 4}, {1, 5}});
    const auto reason = airlock_guard_command(&rules, of_device, &header, fds);
    const auto action = airlock_guard_explain(reason).action;
    const bool memory_of_vm = header.command == 2 || header.command == 3;
    const bool memory_of_device = header.command == 11 || header.command == 12;
    if (action == AIRLOCK_GUARD_FORWARD) {
      RC_ASSERT(of_device == memory_of_device);
      RC_ASSERT(gives || !(memory_of_vm || memory_of_device));
      RC_ASSERT(header.size >= 16 && header.size <= rules.data_max + 32);
      RC_ASSERT(fds == 0 || (header.command == 2 && fds == 1) ||
                (header.command == 8 && fds <= rules.fds_max));
      RC_ASSERT((header.flags & ~0x10U) == 0);
    }
    if (action == AIRLOCK_GUARD_ANSWER) RC_ASSERT(!of_device);
    if (header.size < 16) RC_ASSERT(action == AIRLOCK_GUARD_LOST);
  }));
}

}  // namespace
}  // namespace airlock
