// SPDX-License-Identifier: Apache-2.0
//
// Goal: a user of a queue cannot tell which format it has. Method: one seeded sequence of random
// operations is done to a split and to a packed queue, each beside the same naive model, with every
// combination of the other features; all three must agree at each step.
#include <gtest/gtest.h>

#include <random>

#include "ring/packed_device_queue.h"
#include "ring/packed_driver_queue.h"
#include "ring/split_device_queue.h"
#include "ring/split_driver_queue.h"
#include "testing/queue_pair.h"

namespace airlock::ring {
namespace {

using SplitPair = testing::QueuePair<SplitDriverQueue, SplitDeviceQueue>;
using PackedPair = testing::QueuePair<PackedDriverQueue, PackedDeviceQueue>;

constexpr std::uint64_t kStepsOfAll = 1'000'000;
constexpr std::uint64_t kStepsOfAQueue = 2'500;
constexpr std::uint64_t kSeed = 20261;

// One operation, chosen before it is done, so that it is the same for both.
struct Operation {
  unsigned kind = 0;
  std::vector<std::uint32_t> readable;
  std::vector<std::uint32_t> writable;
  std::uint32_t number = 0;
};

class DifferentialScript {
 public:
  explicit DifferentialScript(std::uint64_t seed) : random_(seed) {}

  std::uint32_t below(std::uint32_t limit) { return static_cast<std::uint32_t>(random_() % limit); }
  Operation next(std::uint32_t slots) {
    // submit, publish, pop, push, publish_used, poll, want_interrupts, suppress_notifications
    static constexpr std::array<unsigned, 24> kKinds{0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 2,
                                                     3, 3, 3, 3, 4, 4, 5, 5, 5, 5, 6, 7};
    Operation operation{.kind = kKinds[below(kKinds.size())],
                        .readable = {},
                        .writable = {},
                        .number = static_cast<std::uint32_t>(random_())};
    if (operation.kind == 0) {
      // Mostly short; now and then as long as the queue, and longer.
      const std::uint32_t most = below(8) == 0 ? slots : std::min(slots, 3U);
      operation.readable.resize(below(most + 1));
      operation.writable.resize(below(most + 1));
      for (auto* lengths : {&operation.readable, &operation.writable}) {
        for (std::uint32_t& length : *lengths)
          length = 1 + below(10'000);
      }
    }
    return operation;
  }

 private:
  std::mt19937_64 random_;
};

template <class Pair>
bool perform(Pair& pair, const Operation& operation) {
  switch (operation.kind) {
    case 0:
      return pair.submit({.readable = operation.readable, .writable = operation.writable});
    case 1:
      return pair.publish();
    case 2:
      return pair.pop();
    case 3:
      return pair.push(operation.number, operation.number >> 8);
    case 4:
      return pair.publish_used();
    case 5:
      return pair.poll();
    case 6:
      return pair.want_interrupts(operation.number % 3 != 0);
    default:
      return pair.suppress_notifications(operation.number % 3 == 0);
  }
}

class RingDifferential : public ::testing::TestWithParam<unsigned> {
 protected:
  static Features features(Format format) {
    return {.format = format,
            .indirect = (GetParam() & 1U) != 0,
            .event_idx = (GetParam() & 2U) != 0,
            .in_order = (GetParam() & 4U) != 0};
  }
  template <class Pair>
  static Pair make(testing::TestRegion& region, std::uint32_t slots, Format format) {
    return {
      region, MUST(QueueSize::from(slots, format))
      , window::RegionOffset{4096}, window::RegionOffset{65536}, features(format),
          {.start = window::RegionOffset{32768}, .entries = 4}
    };
  }
  // Fails with what it takes to see it again.
  static void run_queue(std::uint64_t seed) {
    static testing::TestRegion split_region({.size = std::uint64_t{1} << 18});
    static testing::TestRegion packed_region({.size = std::uint64_t{1} << 18});
    DifferentialScript script(seed);
    const std::uint32_t slots = 1U << script.below(7);
    auto split = make<SplitPair>(split_region, slots, Format::kSplit);
    auto packed = make<PackedPair>(packed_region, slots, Format::kPacked);
    for (std::uint64_t step = 0; step < kStepsOfAQueue; ++step) {
      const Operation operation = script.next(slots);
      ASSERT_TRUE(perform(split, operation)) << "split: seed " << seed << ", step " << step;
      ASSERT_TRUE(perform(packed, operation)) << "packed: seed " << seed << ", step " << step;
      ASSERT_EQ(split.free_slots(), packed.free_slots()) << "seed " << seed << ", step " << step;
    }
    ASSERT_TRUE(split.abandon());
    ASSERT_TRUE(packed.abandon());
  }
};

INSTANTIATE_TEST_SUITE_P(Features, RingDifferential, ::testing::Range(0U, 8U),
                         [](const auto& features) {
                           std::string name;
                           if ((features.param & 1U) != 0) name += "Indirect";
                           if ((features.param & 2U) != 0) name += "EventIdx";
                           if ((features.param & 4U) != 0) name += "InOrder";
                           return name.empty() ? std::string("None") : name;
                         });

// VIRTIO 1.3, 2.7 and 2.8.
TEST_P(RingDifferential, SplitAndPackedQueuesAndTheModelAgree) {
  constexpr std::uint64_t kQueues = kStepsOfAll / 8 / kStepsOfAQueue;
  for (std::uint64_t i = 0; i < kQueues && !HasFatalFailure(); ++i)
    run_queue(kSeed + GetParam() * kQueues + i);
}

}  // namespace
}  // namespace airlock::ring
