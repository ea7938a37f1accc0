// SPDX-License-Identifier: Apache-2.0
//
// What a ring costs: submit, pop, push and poll of one request of N buffers, both halves on one
// thread, published in batches. Both formats, with and without indirect tables.
#include <benchmark/benchmark.h>

#include <vector>

#include "ring/packed_device_queue.h"
#include "ring/packed_driver_queue.h"
#include "ring/split_device_queue.h"
#include "ring/split_driver_queue.h"
#include "testing/test_region.h"

namespace airlock::ring {
namespace {

template <class Driver, class Device>
void round_trip(benchmark::State& state, Features features) {
  const auto buffers = static_cast<std::size_t>(state.range(0));
  const std::int64_t batch = state.range(1);
  constexpr std::uint16_t kTableEntries = 16;
  testing::TestRegion region;
  const QueueSize size = MUST(QueueSize::from(256));
  const Layout layout(size, features.format);
  const IndirectTables tables = {
      .start = region.allocate(IndirectTables::bytes(size, kTableEntries), 64),
      .entries = kTableEntries};
  auto driver =
      MUST(Driver::create({.size = size,
                           .areas = layout.block_at(region.allocate(layout.block_bytes(), 64)),
                           .publisher = region.publisher(),
                           .features = features,
                           .tables = tables},
                          region.bytes()));
  auto device = MUST(Device::create(
      {.size = size, .areas = driver.published_areas(), .features = features}, region.window()));
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

void split(benchmark::State& state) {
  round_trip<SplitDriverQueue, SplitDeviceQueue>(state, {.event_idx = true});
}
void split_indirect(benchmark::State& state) {
  round_trip<SplitDriverQueue, SplitDeviceQueue>(state, {.indirect = true, .event_idx = true});
}
void packed(benchmark::State& state) {
  round_trip<PackedDriverQueue, PackedDeviceQueue>(state,
                                                   {.format = Format::kPacked, .event_idx = true});
}
void packed_indirect(benchmark::State& state) {
  round_trip<PackedDriverQueue, PackedDeviceQueue>(
      state, {.format = Format::kPacked, .indirect = true, .event_idx = true});
}

void buffers_and_batch(benchmark::internal::Benchmark* bench) {
  bench->ArgNames({"buffers", "batch"});
  for (const auto& [buffers, batch] : {std::pair{1, 1}, {3, 1}, {3, 32}, {8, 16}})
    bench->Args({buffers, batch});
}

BENCHMARK(split)->Apply(buffers_and_batch);
BENCHMARK(packed)->Apply(buffers_and_batch);
BENCHMARK(split_indirect)->Apply(buffers_and_batch);
BENCHMARK(packed_indirect)->Apply(buffers_and_batch);

}  // namespace
}  // namespace airlock::ring
