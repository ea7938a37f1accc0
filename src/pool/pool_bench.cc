// SPDX-License-Identifier: Apache-2.0
//
// What isolation costs: a map and an unmap of N bytes, by our pool and by what Linux does
// (linux_model.h), in a pool that is nearly empty, half full and nearly full, by one thread and by
// two; beside the copies alone that ours must do. `./dev bench pool` makes tables of it.
//
// A pool is filled with mappings of the size to be measured, from all threads, of which random ones
// are given back until as many are left as wanted: the room is in holes of that size, all over.
// Arguments: bytes, percent full. Processor time counts, so that what else runs disturbs little:
// here nobody waits, each thread has an area of its own, and Linux's locks spin.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <random>
#include <vector>

#include "pool/linux_model.h"
#include "pool/pool.h"
#include "shm/sealed_memfd.h"

namespace airlock::pool {
namespace {

constexpr std::uint64_t kRegionBytes = std::uint64_t{64} << 20;  // as swiotlb has by default
constexpr std::uint32_t kSeed = 6;

struct Region {
  shm::SealedMemfd memfd = MUST(shm::SealedMemfd::create({.size = kRegionBytes}));
  shm::Mapping mapping = MUST(memfd.map());
};

// One for all, whose pages are there from the first fill on.
const shm::SharedBytes& shared_region() {
  static const Region kRegion;
  static const shm::SharedBytes kBytes = kRegion.mapping.bytes();
  return kBytes;
}

// Both sides of the comparison, with the same names.
class Ours {
 public:
  using Handle = Mapped;

  Ours(const shm::SharedBytes& region, std::uint32_t areas, Scrub scrub)
      : pool_(MUST(Pool::create(region, {.areas = areas, .scrub = scrub}))) {}

  bool to_device(std::span<std::byte> bytes, std::uint32_t home, Handle& handle) {
    const auto mapped = pool_->map_to_device(bytes, home);
    if (mapped) handle = *mapped;
    return mapped.has_value();
  }
  bool from_device(std::span<std::byte> bytes, std::uint32_t home, Handle& handle) {
    const auto mapped = pool_->map_from_device(bytes, home);
    if (mapped) handle = *mapped;
    return mapped.has_value();
  }
  void unmap(const Handle& handle, std::span<std::byte> written) {
    CHECK(pool_->unmap(handle, written.size()));
  }

 private:
  std::unique_ptr<Pool> pool_;
};

class Linux {
 public:
  // A mapping of more than fits a segment is several, as the layers above make it.
  struct Handle {
    std::array<std::uint32_t, 4> pieces{};
    std::uint64_t bytes = 0;
  };

  Linux(const shm::SharedBytes& region, std::uint32_t areas, Scrub) : model_(region, areas) {}

  bool to_device(std::span<std::byte> bytes, std::uint32_t home, Handle& handle) {
    handle.bytes = 0;
    for (std::uint32_t& piece : handle.pieces) {
      const auto part = bytes.subspan(handle.bytes);
      if (part.empty()) break;
      const auto first = model_.map(part.first(std::min(part.size(), most())), home);
      if (!first) {
        unmap(handle, {});
        return false;
      }
      piece = *first;
      handle.bytes += std::min(part.size(), most());
    }
    return true;
  }
  bool from_device(std::span<std::byte> bytes, std::uint32_t home, Handle& handle) {
    return to_device(bytes, home, handle);
  }
  void unmap(const Handle& handle, std::span<std::byte> written) {
    for (std::size_t i = 0; i * most() < handle.bytes; i++) {
      model_.unmap(handle.pieces.at(i), std::min(handle.bytes - (i * most()), most()),
                   !written.empty());
    }
  }

 private:
  static std::size_t most() { return LinuxModel::kLargest; }
  LinuxModel model_;
};

// One pool for all threads of a benchmark, as full as asked for.
template <class Side, Direction kDirection, Scrub kScrub>
class Case {
 public:
  static void set_up(const benchmark::State& state) {
    const auto threads = static_cast<std::uint32_t>(state.threads());
    side = std::make_unique<Side>(shared_region(), threads, kScrub);
    std::vector<std::byte> bytes(static_cast<std::size_t>(state.range(0)), std::byte{1});
    std::vector<typename Side::Handle> live;
    typename Side::Handle handle;
    while (side->to_device(bytes, static_cast<std::uint32_t>(live.size()) % threads, handle))
      live.push_back(handle);
    std::shuffle(live.begin(), live.end(), std::minstd_rand(kSeed));
    for (std::size_t i = live.size() * static_cast<std::size_t>(state.range(1)) / 100;
         i < live.size(); i++)
      side->unmap(live[i], {});
  }

  static void run(benchmark::State& state) {
    std::vector<std::byte> bytes(static_cast<std::size_t>(state.range(0)), std::byte{1});
    const auto home = static_cast<std::uint32_t>(state.thread_index());
    typename Side::Handle handle;
    for (auto _ : state) {
      if constexpr (kDirection == Direction::kToDevice) {
        CHECK(side->to_device(bytes, home, handle));
        side->unmap(handle, {});
      } else {
        CHECK(side->from_device(bytes, home, handle));
        side->unmap(handle, bytes);
      }
    }
  }

  static void tear_down(const benchmark::State&) { side.reset(); }

 private:
  static inline std::unique_ptr<Side> side;
};

// What nobody can leave out, by the C library: bytes go into the region or come out of it, and what
// was there is zeroed.
template <Direction kDirection, bool kScrub>
void copies(benchmark::State& state) {
  const Region region;
  std::byte* const shared = region.mapping.bytes().in_place().data() + kPageBytes;
  std::vector<std::byte> bytes(static_cast<std::size_t>(state.range(0)), std::byte{1});
  std::memset(shared, 0, bytes.size());
  for (auto _ : state) {
    if constexpr (kDirection == Direction::kToDevice) {
      std::memcpy(shared, bytes.data(), bytes.size());
    } else {
      std::memcpy(bytes.data(), shared, bytes.size());
    }
    benchmark::ClobberMemory();
    if constexpr (kScrub) std::memset(shared, 0, bytes.size());
    benchmark::ClobberMemory();
  }
}

void pin_unpin(benchmark::State& state) {
  const Region region;
  const auto pool = MUST(Pool::create(region.mapping.bytes(), {}));
  const auto buffer = MUST(pool->allocate(static_cast<std::uint64_t>(state.range(0))));
  for (auto _ : state) {
    const auto pinned = pool->pin(buffer.span());
    CHECK(pinned && pool->unpin(*pinned));
  }
}

void sizes(benchmark::internal::Benchmark* bench) {
  for (const std::int64_t bytes : {512, 4096, 65536, 1 << 20})
    bench->Args({bytes, 0});
  bench->Threads(1)->Threads(2);
}

void grid(benchmark::internal::Benchmark* bench) {
  bench->ArgsProduct({{512, 4096, 65536, 1 << 20}, {0, 10, 50, 90}});
  bench->Threads(1)->Threads(2);
}

template <class Side, Direction kDirection, Scrub kScrub = Scrub::kOnUnmap>
bool add(const char* name) {
  using Each = Case<Side, kDirection, kScrub>;
  grid(benchmark::RegisterBenchmark(name, Each::run)
           ->Setup(Each::set_up)
           ->Teardown(Each::tear_down));
  return true;
}

// NOLINTBEGIN(cert-err58-cpp): the benchmark library registers that way
const bool kAdded =
    add<Ours, Direction::kToDevice>("ours/to_device") &&
    add<Ours, Direction::kFromDevice>("ours/from_device") &&
    add<Ours, Direction::kToDevice, Scrub::kOnMap>("ours_scrub_on_map/to_device") &&
    add<Ours, Direction::kFromDevice, Scrub::kOnMap>("ours_scrub_on_map/from_device") &&
    add<Linux, Direction::kToDevice>("linux/to_device") &&
    add<Linux, Direction::kFromDevice>("linux/from_device");
BENCHMARK(copies<Direction::kToDevice, true>)->Name("copies/to_device")->Apply(sizes);
BENCHMARK(copies<Direction::kFromDevice, true>)->Name("copies/from_device")->Apply(sizes);
BENCHMARK(copies<Direction::kToDevice, false>)->Name("memcpy/to_device")->Apply(sizes);
BENCHMARK(copies<Direction::kFromDevice, false>)->Name("memcpy/from_device")->Apply(sizes);
BENCHMARK(pin_unpin)->Arg(4096)->Arg(1 << 20);
// NOLINTEND(cert-err58-cpp)

}  // namespace
}  // namespace airlock::pool
