// SPDX-License-Identifier: Apache-2.0
//
// Goal: whenever a device's process is killed, the next one returns each request once, in order,
// and loses none; docs/RESTART.md. Method: a driver's half that lives on, and a device's half that
// is killed before each access to shared memory in turn; at random; and at places chosen by hand.
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <string>
#include <tuple>

#include "testing/address_modes.h"
#include "testing/killed_device.h"

namespace airlock::ring {
namespace {

using testing::KilledDevice;

struct Kind {
  const char* name;
  Features features;
  std::vector<std::uint32_t> sizes;
};

const Kind kKinds[] = {
    {.name = "Split", .features = {}, .sizes = {1, 2, 4, 8}},
    {.name = "SplitAll",
     .features = {.indirect = true, .event_idx = true, .in_order = true},
     .sizes = {1, 2, 8}},
    {.name = "Packed", .features = {.format = Format::kPacked}, .sizes = {1, 2, 3, 4, 7}},
    {.name = "PackedIndirect",
     .features = {.format = Format::kPacked, .indirect = true, .event_idx = true},
     .sizes = {1, 2, 3}},
    {.name = "PackedAll",
     .features = {.format = Format::kPacked, .indirect = true, .event_idx = true, .in_order = true},
     .sizes = {1, 2, 5}},
};

class Restart : public ::testing::TestWithParam<Kind> {
 protected:
  [[nodiscard]] KilledDevice make(std::uint32_t slots) {
    return {region_,
            {.size = MUST(QueueSize::from(slots, GetParam().features.format)),
             .features = GetParam().features}};
  }
  testing::TestRegion region_{{.size = std::uint64_t{1} << 18}};
};

INSTANTIATE_TEST_SUITE_P(Rings, Restart, ::testing::ValuesIn(kKinds),
                         [](const auto& kind) { return std::string(kind.param.name); });

// Fixed work over a few laps of the ring: chains of each length, ended last first, some kept for
// the next round. False if a request was lost, or returned twice or with a wrong answer.
bool live_through(KilledDevice& queue, std::uint32_t requests) {
  std::uint32_t submitted = 0;
  for (std::uint32_t round = 0; round < 20 * requests; ++round) {
    while (submitted < requests && queue.submit(1 + submitted % 3))
      ++submitted;
    if (submitted < requests && queue.outstanding() == 0 && queue.submit(1)) ++submitted;
    queue.work(3, round % 2, [](std::size_t count) { return count - 1; });
    if (!queue.collect()) return false;
    if (submitted == requests && queue.outstanding() == 0) return true;
  }
  return false;
}

// After pop, after execution, after write-ahead, after publish, before the interrupt: all of them.
TEST_P(Restart, ReturnsEachRequestOnceWhereverItIsKilled) {
  for (const std::uint32_t slots : GetParam().sizes) {
    const std::uint32_t requests = 4 * slots + 5;
    KilledDevice whole = make(slots);
    ASSERT_TRUE(live_through(whole, requests));
    EXPECT_EQ(whole.executed(), requests);
    std::uint64_t again = 0;
    for (std::uint64_t at = 0; at < whole.accesses(); ++at) {
      KilledDevice queue = make(slots);
      queue.kill_after(at);
      ASSERT_TRUE(live_through(queue, requests)) << slots << " slots, killed before access " << at;
      ASSERT_EQ(queue.kills(), 1U);
      again += queue.executed() - requests;
    }
    EXPECT_GT(again, 0U) << "no kill came between a request and its return";
  }
}

// Killed a second time before each access that the next process makes.
TEST_P(Restart, ReturnsEachRequestOnceWhenTheNextProcessIsKilledToo) {
  const std::uint32_t slots = GetParam().sizes.back();
  const std::uint32_t requests = 2 * slots + 3;
  KilledDevice whole = make(slots);
  ASSERT_TRUE(live_through(whole, requests));
  for (std::uint64_t first = 0; first < whole.accesses(); first += 5) {
    for (std::uint64_t second = 0; second < 40; ++second) {
      KilledDevice queue = make(slots);
      queue.kill_after(first);
      std::uint32_t submitted = 0;
      while (queue.kills() == 0 && submitted < requests) {
        if (queue.submit(1)) ++submitted;
        queue.work(3, 1, [](std::size_t) { return 0; });
        ASSERT_TRUE(queue.collect());
      }
      queue.kill_after(second);
      ASSERT_TRUE(live_through(queue, requests)) << first << ", then " << second;
    }
  }
}

TEST_P(Restart, ReturnsEachRequestOnceUnderRandomKills) {
  EXPECT_TRUE(rc::check("nothing is lost, and nothing returned twice", [this] {
    const Features& features = GetParam().features;
    const std::uint32_t slots = features.format == Format::kSplit
                                    ? 1U << *rc::gen::inRange(0, 6)
                                    : *rc::gen::inRange<std::uint32_t>(1, 40);
    KilledDevice queue = make(slots);
    const int rounds = *rc::gen::inRange(1, 60);
    for (int round = 0; round < rounds; ++round) {
      const auto requests = *rc::gen::inRange(0, 8);
      for (int i = 0; i < requests; ++i)
        queue.submit(*rc::gen::inRange<std::uint32_t>(1, 4));
      if (*rc::gen::inRange(0, 3) == 0) queue.kill_after(*rc::gen::inRange<std::uint64_t>(0, 60));
      queue.work(*rc::gen::inRange<std::uint32_t>(0, 10), *rc::gen::inRange<std::size_t>(0, 5),
                 [](std::size_t count) { return *rc::gen::inRange<std::size_t>(0, count); });
      if (*rc::gen::arbitrary<bool>()) RC_ASSERT(queue.collect());
    }
    queue.kill_after(KilledDevice::kNever);
    for (std::uint32_t i = 0; i < 4 * slots + 300 && queue.outstanding() > 0; ++i) {
      queue.work(8, 0, [](std::size_t) { return 0; });
      RC_ASSERT(queue.collect());
    }
    RC_ASSERT(queue.outstanding() == 0U);
  }));
}

}  // namespace
}  // namespace airlock::ring
