// SPDX-License-Identifier: Apache-2.0
//
// What the ring costs: submit, pop, push and poll of one request of N buffers, both halves on one
// thread, published in batches.
#include <benchmark/benchmark.h>

#include <vector>

#include "ring/split_device_queue.h"
#include "ring/split_driver_queue.h"
#include "testing/test_region.h"

namespace airlock::ring {
namespace {

void round_trip(benchmark::State& state) {
  const auto buffers = static_cast<std::size_t>(state.range(0));
  const std::int64_t batch = state.range(1);
  testing::TestRegion region;
  const QueueSize size = MUST(QueueSize::from(256));
  const Layout layout(size);
  auto driver = MUST(
      SplitDriverQueue::create({.size = size,
                                .areas = layout.block_at(region.allocate(layout.block_bytes(), 64)),
                                .publisher = region.publisher()},
                               region.bytes()));
  auto device = MUST(
      SplitDeviceQueue::create({.size = size, .areas = driver.published_areas()}, region.window()));
  const Buffer buffer = {.offset = region.allocate(4096), .length = 4096};
  const std::vector<Buffer> readable(buffers - 1, buffer);
  const std::vector<Buffer> writable(1, buffer);
  Chain chain(size.value());
  for (auto _ : state) {
    for (std::int64_t i = 0; i < batch; ++i)
      MUST(driver.submit(readable, writable, 1));
    benchmark::DoNotOptimize(driver.publish());
    while (const auto head = MUST(device.pop(chain)))
      MUST(device.push_used(*head, 4096));
    device.publish();
    benchmark::DoNotOptimize(device.driver_wants_interrupt());
    while (const auto done = MUST(driver.poll()))
      benchmark::DoNotOptimize(done->cookie);
  }
  state.SetItemsProcessed(state.iterations() * batch);
}

BENCHMARK(round_trip)
    ->ArgNames({"buffers", "batch"})
    ->Args({1, 1})
    ->Args({3, 1})
    ->Args({3, 32})
    ->Args({8, 32});

}  // namespace
}  // namespace airlock::ring
