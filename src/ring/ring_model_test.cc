// SPDX-License-Identifier: Apache-2.0
//
// Goal: the two halves of a queue agree with a naive model of a queue, in either format, whatever
// the calls, their order and the features. Method: random sequences over random sizes; and for
// small queues every sequence up to a length.
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <array>
#include <string>
#include <tuple>

#include "ring/device_queue.h"
#include "ring/driver_queue.h"
#include "testing/address_modes.h"
#include "testing/queue_pair.h"

namespace airlock::ring {
namespace {

using Pair = testing::QueuePair<DriverQueue, DeviceQueue>;

class RingModel : public ::testing::TestWithParam<std::tuple<window::AddressMode, Format>> {
 protected:
  [[nodiscard]] static Format format() { return std::get<1>(GetParam()); }
  [[nodiscard]] Pair make(std::uint32_t slots, Features features) {
    features.format = format();
    const IndirectTables tables = {.start = window::RegionOffset{32768}, .entries = 5};
    const QueueSize size = MUST(QueueSize::from(slots, format()));
    return {region_,  size,  window::RegionOffset{4096}, window::RegionOffset{65536},
            features, tables};
  }

  testing::TestRegion region_{{.size = std::uint64_t{1} << 18, .mode = std::get<0>(GetParam())}};
};

INSTANTIATE_TEST_SUITE_P(Rings, RingModel,
                         ::testing::Combine(testing::address_modes(),
                                            ::testing::Values(Format::kSplit, Format::kPacked)),
                         [](const auto& ring) {
                           const bool bus = std::get<0>(ring.param) == window::AddressMode::kBus;
                           const bool split = std::get<1>(ring.param) == Format::kSplit;
                           return std::string(split ? "Split" : "Packed") +
                                  (bus ? "Bus" : "Offset");
                         });

Features any_features() {
  return {.indirect = *rc::gen::arbitrary<bool>(),
          .event_idx = *rc::gen::arbitrary<bool>(),
          .in_order = *rc::gen::arbitrary<bool>()};
}

// A size that the format can have.
std::uint32_t any_slots(Format format) {
  if (format == Format::kSplit) return 1U << *rc::gen::inRange(0, 7);
  return *rc::gen::inRange<std::uint32_t>(1, 70);
}

Pair::Shape any_shape(std::uint32_t slots) {
  const auto lengths = [&] {
    return *rc::gen::container<std::vector<std::uint32_t>>(
        *rc::gen::inRange<std::size_t>(0, slots / 2 + 2),
        rc::gen::inRange<std::uint32_t>(1, 10'000));
  };
  return {.readable = lengths(), .writable = lengths()};
}

bool any_step(Pair& pair, std::uint32_t slots) {
  switch (*rc::gen::weightedElement<int>(
      {{6, 0}, {3, 1}, {5, 2}, {5, 3}, {3, 4}, {5, 5}, {1, 6}, {1, 7}})) {
    case 0:
      return pair.submit(any_shape(slots));
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

// VIRTIO 1.3, 2.7, 2.8; HD-23: nothing is lost, duplicated or changed on its way.
TEST_P(RingModel, AgreesOnRandomSequences) {
  EXPECT_TRUE(rc::check("both halves and the model agree", [this] {
    const std::uint32_t slots = any_slots(format());
    Pair pair = make(slots, any_features());
    const int steps = *rc::gen::inRange(0, 200);
    for (int i = 0; i < steps; ++i)
      RC_ASSERT(any_step(pair, slots));
    RC_ASSERT(pair.abandon());
  }));
}

// --- every sequence, for small queues ---------------------------------------------------------

struct Step {
  const char* name;
  bool (*run)(Pair&);
  bool (*changes)(const Pair&);  // whether anything follows that a shorter sequence does not have
};

constexpr std::array kAllSteps{
    Step{"submit1", [](Pair& p) { return p.submit({.readable = {8}, .writable = {}}); },
         [](const Pair& p) { return p.free_slots() >= 1; }},
    Step{"submit2", [](Pair& p) { return p.submit({.readable = {8}, .writable = {8}}); },
         [](const Pair& p) { return p.free_slots() >= 2; }},
    Step{"publish", [](Pair& p) { return p.publish(); },
         [](const Pair& p) { return p.can_publish(); }},
    Step{"pop", [](Pair& p) { return p.pop(); }, [](const Pair& p) { return p.can_pop(); }},
    Step{"push-first", [](Pair& p) { return p.push(0, 8); },
         [](const Pair& p) { return p.can_push() >= 1; }},
    Step{"push-second", [](Pair& p) { return p.push(1, 0); },
         [](const Pair& p) { return p.can_push() >= 2; }},
    Step{"publish-used", [](Pair& p) { return p.publish_used(); },
         [](const Pair& p) { return p.can_publish_used(); }},
    Step{"poll", [](Pair& p) { return p.poll(); }, [](const Pair& p) { return p.can_poll(); }},
};

// Runs the sequences that begin with `path`. A step that changes nothing is run, and what follows
// it is not: that is a sequence without it.
template <class Make>
std::uint64_t explore(const Make& make, std::vector<const Step*>& path, int depth) {
  std::uint64_t count = 0;
  for (const Step& step : kAllSteps) {
    Pair pair = make();
    for (const Step* done : path)
      CHECK(done->run(pair));
    const bool changes = step.changes(pair);
    path.push_back(&step);
    if (!step.run(pair)) {
      std::string trace;
      for (const Step* taken : path)
        trace.append(taken->name).append(" ");
      ADD_FAILURE() << trace;
    }
    ++count;
    if (changes && depth > 1) count += explore(make, path, depth - 1);
    path.pop_back();
  }
  return count;
}

TEST_P(RingModel, AgreesOnEverySequenceOfATwoSlotQueue) {
  for (const Features& features :
       {Features{}, Features{.event_idx = true}, Features{.in_order = true},
        Features{.indirect = true, .event_idx = true, .in_order = true}}) {
    std::vector<const Step*> path;
    EXPECT_GT(explore([&] { return make(2, features); }, path, 13), 5'000U);
  }
}

// In a packed ring of three slots a chain of two wraps in every way. VIRTIO 1.3, 2.8.1.
TEST_P(RingModel, AgreesOnEverySequenceOfASmallQueue) {
  const std::uint32_t slots = format() == Format::kSplit ? 4 : 3;
  for (const bool in_order : {false, true}) {
    std::vector<const Step*> path;
    EXPECT_GT(explore([&] { return make(slots, {.in_order = in_order}); }, path, 10), 5'000U);
  }
}

}  // namespace
}  // namespace airlock::ring
