// SPDX-License-Identifier: Apache-2.0
//
// Goal: the two halves of a packed queue agree with a naive model of a queue, whatever the calls,
// their order and the features. Method: random sequences over random sizes, not only powers of two;
// and for queues of two and three slots every sequence up to a length.
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <array>
#include <string>

#include "ring/packed_device_queue.h"
#include "ring/packed_driver_queue.h"
#include "testing/address_modes.h"
#include "testing/queue_pair.h"

namespace airlock::ring {
namespace {

using Pair = testing::QueuePair<PackedDriverQueue, PackedDeviceQueue>;

Features any_packed_features() {
  return {.format = Format::kPacked,
          .indirect = *rc::gen::arbitrary<bool>(),
          .event_idx = *rc::gen::arbitrary<bool>(),
          .in_order = *rc::gen::arbitrary<bool>()};
}

class PackedModel : public ::testing::TestWithParam<window::AddressMode> {
 protected:
  [[nodiscard]] Pair make(std::uint32_t slots, const Features& features) {
    return {
      region_, MUST(QueueSize::from(slots, Format::kPacked))
      , window::RegionOffset{4096}, window::RegionOffset{65536}, features,
          {.start = window::RegionOffset{32768}, .entries = 5}
    };
  }

  testing::TestRegion region_{{.size = std::uint64_t{1} << 18, .mode = GetParam()}};
};

INSTANTIATE_TEST_SUITE_P(Modes, PackedModel, testing::address_modes(), testing::mode_name);

Pair::Shape any_packed_shape(std::uint32_t slots) {
  const auto lengths = [&] {
    return *rc::gen::container<std::vector<std::uint32_t>>(
        *rc::gen::inRange<std::size_t>(0, slots / 2 + 2),
        rc::gen::inRange<std::uint32_t>(1, 10'000));
  };
  return {.readable = lengths(), .writable = lengths()};
}

bool any_packed_step(Pair& pair, std::uint32_t slots) {
  switch (*rc::gen::weightedElement<int>(
      {{6, 0}, {3, 1}, {5, 2}, {5, 3}, {3, 4}, {5, 5}, {1, 6}, {1, 7}})) {
    case 0:
      return pair.submit(any_packed_shape(slots));
    case 1:
      return pair.publish();
    case 2:
      return pair.pop();
    case 3:
      return pair.push(*rc::gen::arbitrary<std::size_t>(), *rc::gen::arbitrary<std::uint32_t>());
    case 4:
      return pair.publish_used();
    case 5:
      return pair.poll();
    case 6:
      return pair.want_interrupts(*rc::gen::arbitrary<bool>());
    default:
      return pair.suppress_notifications(*rc::gen::arbitrary<bool>());
  }
}

// VIRTIO 1.3, 2.8; HD-23: nothing is lost, duplicated or changed on its way.
TEST_P(PackedModel, AgreesOnRandomSequences) {
  EXPECT_TRUE(rc::check("both halves and the model agree", [this] {
    const auto slots = *rc::gen::inRange<std::uint32_t>(1, 70);
    Pair pair = make(slots, any_packed_features());
    const int steps = *rc::gen::inRange(0, 200);
    for (int i = 0; i < steps; ++i)
      RC_ASSERT(any_packed_step(pair, slots));
    RC_ASSERT(pair.abandon());
  }));
}

// --- every sequence, for two and three slots ----------------------------------------------------

struct PackedStep {
  const char* name;
  bool (*run)(Pair&);
  bool (*changes)(const Pair&);  // whether anything follows that a shorter sequence does not have
};

constexpr std::array kPackedSteps{
    PackedStep{"submit1", [](Pair& p) { return p.submit({.readable = {8}, .writable = {}}); },
               [](const Pair& p) { return p.free_slots() >= 1; }},
    PackedStep{"submit2", [](Pair& p) { return p.submit({.readable = {8}, .writable = {8}}); },
               [](const Pair& p) { return p.free_slots() >= 2; }},
    PackedStep{"publish", [](Pair& p) { return p.publish(); },
               [](const Pair& p) { return p.can_publish(); }},
    PackedStep{"pop", [](Pair& p) { return p.pop(); }, [](const Pair& p) { return p.can_pop(); }},
    PackedStep{"push-first", [](Pair& p) { return p.push(0, 8); },
               [](const Pair& p) { return p.can_push() >= 1; }},
    PackedStep{"push-second", [](Pair& p) { return p.push(1, 0); },
               [](const Pair& p) { return p.can_push() >= 2; }},
    PackedStep{"publish-used", [](Pair& p) { return p.publish_used(); },
               [](const Pair& p) { return p.can_publish_used(); }},
    PackedStep{"poll", [](Pair& p) { return p.poll(); },
               [](const Pair& p) { return p.can_poll(); }},
};

// Runs the sequences that begin with `path`. A step that changes nothing is run, and what follows
// it is not: that is a sequence without it.
template <class Make>
std::uint64_t explore_packed(const Make& make, std::vector<const PackedStep*>& path, int depth) {
  std::uint64_t count = 0;
  for (const PackedStep& step : kPackedSteps) {
    Pair pair = make();
    for (const PackedStep* done : path)
      CHECK(done->run(pair));
    const bool changes = step.changes(pair);
    path.push_back(&step);
    if (!step.run(pair)) {
      std::string trace;
      for (const PackedStep* taken : path)
        trace.append(taken->name).append(" ");
      ADD_FAILURE() << trace;
    }
    ++count;
    if (changes && depth > 1) count += explore_packed(make, path, depth - 1);
    path.pop_back();
  }
  return count;
}

// Three slots: a chain of two wraps in every way. VIRTIO 1.3, 2.8.1.
TEST_P(PackedModel, AgreesOnEverySequenceOfASmallQueue) {
  for (const auto& [slots, depth] : {std::pair{2U, 13}, std::pair{3U, 10}}) {
    for (const bool in_order : {false, true}) {
      std::vector<const PackedStep*> path;
      const std::uint64_t count = explore_packed(
          [&] { return make(slots, {.format = Format::kPacked, .in_order = in_order}); }, path,
          depth);
      EXPECT_GT(count, 5'000U);
    }
  }
}

}  // namespace
}  // namespace airlock::ring
