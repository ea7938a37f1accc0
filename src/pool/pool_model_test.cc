// SPDX-License-Identifier: Apache-2.0
//
// Goal: whatever sequence of calls, live mappings never overlap, bytes arrive where they belong,
// the device never sees an earlier mapping's bytes, and everything is free in the end. Method:
// random sequences against a model that keeps each mapping in a list; the device's side is a second
// mapping of the same memory.
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <vector>

#include "core/range.h"
#include "pool/pool.h"
#include "shm/sealed_memfd.h"

namespace airlock::pool {
namespace {

constexpr std::uint64_t kRegionBytes = 98304;
constexpr std::byte kSecret{0x5a};  // every byte that the driver ever sends
constexpr std::byte kAnswer{0xa5};  // every byte that the device ever writes
constexpr std::byte kUntouched{0x11};

struct Live {
  Mapped mapped;
  Direction direction;
  std::vector<std::byte> buffer;
};

class Machine {
 public:
  Machine()
      : pool_(MUST(Pool::create(mapping_.bytes(),
                                {.areas = *rc::gen::inRange<std::uint32_t>(1, 4),
                                 .scrub = *rc::gen::element(Scrub::kOnUnmap, Scrub::kOnMap)}))) {}

  void map() {
    Live live{.mapped = {},
              .direction = *rc::gen::element(Direction::kToDevice, Direction::kFromDevice,
                                             Direction::kBidirectional),
              .buffer = {}};
    const auto size =
        *rc::gen::inRange<std::size_t>(1, *rc::gen::element<std::size_t>(600, 5000, 30000));
    const bool sends = live.direction != Direction::kFromDevice;
    live.buffer.assign(size, sends ? kSecret : kUntouched);
    const auto mapped = live.direction == Direction::kToDevice ? pool_->map_to_device(live.buffer)
                        : sends ? pool_->map_bidirectional(live.buffer)
                                : pool_->map_from_device(live.buffer);
    if (!mapped) {
      const Errc expected = size > pool_->max_mapping_bytes() ? Errc::kTooLarge : Errc::kPoolFull;
      RC_ASSERT(mapped.error().code == expected);
      return;
    }
    live.mapped = *mapped;
    check_placed(live.mapped);
    const auto seen = slots(live.mapped);
    for (std::size_t i = 0; i < seen.size(); i++) {
      RC_ASSERT(seen[i] == (sends && i < size ? kSecret : std::byte{0}));
    }
    live_.push_back(std::move(live));
  }

  void unmap() {
    if (live_.empty()) return;
    const auto which = *rc::gen::inRange<std::size_t>(0, live_.size());
    Live& live = live_[which];
    const std::uint64_t bytes = live.mapped.bytes;
    const bool receives = live.direction != Direction::kToDevice;
    device_.copy_in(std::to_underlying(live.mapped.offset), std::vector<std::byte>(bytes, kAnswer));
    const auto written = receives ? *rc::gen::inRange<std::uint64_t>(0, bytes + 1) : 0;
    const std::byte before = live.buffer[0];
    RC_ASSERT(pool_->unmap(live.mapped, written).has_value());
    for (std::size_t i = 0; i < bytes; i++) {
      RC_ASSERT(live.buffer[i] == (i < written ? kAnswer : before));
    }
    RC_ASSERT(!pool_->unmap(live.mapped, 0).has_value());
    live_.erase(live_.begin() + static_cast<std::ptrdiff_t>(which));
  }

  void finish() {
    while (!live_.empty())
      unmap();
    RC_ASSERT(pool_->stats().used == 0U);
    const std::vector<std::byte> all(pool_->max_mapping_bytes());
    RC_ASSERT(pool_->map_to_device(all).has_value());
  }

 private:
  void check_placed(const Mapped& mapped) const {
    const std::uint64_t offset = std::to_underlying(mapped.offset);
    RC_ASSERT(offset >= kPageBytes);
    RC_ASSERT(offset % kSlotBytes == 0U);
    RC_ASSERT(airlock_range_within(offset, mapped.bytes, kRegionBytes));
    for (const Live& other : live_) {
      RC_ASSERT(!airlock_ranges_overlap(offset, slots(mapped).size(),
                                        std::to_underlying(other.mapped.offset),
                                        slots(other.mapped).size()));
    }
  }
  [[nodiscard]] std::vector<std::byte> slots(const Mapped& mapped) const {
    std::vector<std::byte> bytes((mapped.bytes + kSlotBytes - 1) / kSlotBytes * kSlotBytes);
    device_.copy_out(std::to_underlying(mapped.offset), bytes);
    return bytes;
  }

  shm::SealedMemfd memfd_ = MUST(shm::SealedMemfd::create({.size = kRegionBytes}));
  shm::Mapping device_mapping_ = MUST(memfd_.map());
  shm::SharedBytes device_ = device_mapping_.bytes();
  shm::Mapping mapping_ = MUST(memfd_.map());
  std::unique_ptr<Pool> pool_;
  std::vector<Live> live_;
};

TEST(PoolModel, HoldsUnderAnySequenceOfCalls) {
  EXPECT_TRUE(rc::check([] {
    Machine machine;
    const auto steps = *rc::gen::inRange(1, 60);
    for (int i = 0; i < steps; i++) {
      if (*rc::gen::inRange(0, 100) < 60) {
        machine.map();
      } else {
        machine.unmap();
      }
    }
    machine.finish();
  }));
}

}  // namespace
}  // namespace airlock::pool
