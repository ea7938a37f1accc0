// SPDX-License-Identifier: Apache-2.0
//
// What isolation costs: a map and an unmap of N bytes, beside one plain memcpy of them.
#include <benchmark/benchmark.h>

#include <cstring>
#include <vector>

#include "pool/pool.h"
#include "shm/sealed_memfd.h"

namespace airlock::pool {
namespace {

struct Fixture {
  explicit Fixture(Scrub scrub) : pool(MUST(Pool::create(mapping.bytes(), {.scrub = scrub}))) {}

  shm::SealedMemfd memfd = MUST(shm::SealedMemfd::create({.size = 64 << 20}));
  shm::Mapping mapping = MUST(memfd.map());
  std::unique_ptr<Pool> pool;
};

void to_device(benchmark::State& state, Scrub scrub) {
  const Fixture fixture(scrub);
  std::vector<std::byte> buffer(static_cast<std::size_t>(state.range(0)), std::byte{1});
  for (auto _ : state) {
    const auto mapped = fixture.pool->map_to_device(buffer);
    CHECK(mapped && fixture.pool->unmap(*mapped, 0));
  }
  state.SetBytesProcessed(state.iterations() * state.range(0));
}

void from_device(benchmark::State& state, Scrub scrub) {
  const Fixture fixture(scrub);
  std::vector<std::byte> buffer(static_cast<std::size_t>(state.range(0)), std::byte{1});
  for (auto _ : state) {
    const auto mapped = fixture.pool->map_from_device(buffer);
    CHECK(mapped && fixture.pool->unmap(*mapped, buffer.size()));
  }
  state.SetBytesProcessed(state.iterations() * state.range(0));
}

void in_place(benchmark::State& state) {
  const Fixture fixture(Scrub::kOnUnmap);
  auto buffer = MUST(fixture.pool->allocate(static_cast<std::uint64_t>(state.range(0))));
  for (auto _ : state) {
    const Pinned pinned = MUST(fixture.pool->pin(buffer.span()));
    MUST(fixture.pool->unpin(pinned));
  }
}

void plain_memcpy(benchmark::State& state) {
  std::vector<std::byte> source(static_cast<std::size_t>(state.range(0)), std::byte{1});
  std::vector<std::byte> target(source.size());
  for (auto _ : state) {
    std::memcpy(target.data(), source.data(), source.size());
    benchmark::DoNotOptimize(target.data());
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() * state.range(0));
}

// NOLINTBEGIN(cert-err58-cpp): the benchmark library registers that way
BENCHMARK_CAPTURE(to_device, scrub_on_unmap, Scrub::kOnUnmap)
    ->Arg(512)
    ->Arg(4096)
    ->Arg(65536)
    ->Arg(1 << 20);
BENCHMARK_CAPTURE(to_device, scrub_on_map, Scrub::kOnMap)
    ->Arg(512)
    ->Arg(4096)
    ->Arg(65536)
    ->Arg(1 << 20);
BENCHMARK_CAPTURE(from_device, scrub_on_unmap, Scrub::kOnUnmap)
    ->Arg(512)
    ->Arg(4096)
    ->Arg(65536)
    ->Arg(1 << 20);
BENCHMARK_CAPTURE(from_device, scrub_on_map, Scrub::kOnMap)
    ->Arg(512)
    ->Arg(4096)
    ->Arg(65536)
    ->Arg(1 << 20);
BENCHMARK(in_place)->Arg(4096)->Arg(1 << 20);
BENCHMARK(plain_memcpy)->Arg(512)->Arg(4096)->Arg(65536)->Arg(1 << 20);
// NOLINTEND(cert-err58-cpp)

}  // namespace
}  // namespace airlock::pool
