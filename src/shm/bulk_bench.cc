// SPDX-License-Identifier: Apache-2.0
//
// Three ways to move bytes into shared memory and to zero them there again: ours, the C library's,
// and stores past the cache. A round is one copy, one look at each line as the other side would
// take it, and one scrub.
#include <benchmark/benchmark.h>

#include <cstring>
#include <numeric>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "shm/bulk.h"
#include "shm/sealed_memfd.h"

namespace airlock::shm {
namespace {

constexpr std::size_t kLine = 64;

template <class Copy, class Zero>
void rounds(benchmark::State& state, Copy copy, Zero zero) {
  const auto length = static_cast<std::size_t>(state.range(0));
  const SealedMemfd memfd = MUST(SealedMemfd::create({.size = 4 << 20}));
  const Mapping mapping = MUST(memfd.map());
  std::byte* const shared = mapping.bytes().in_place().data();
  const std::vector<std::byte> source(length, std::byte{1});
  for (auto _ : state) {
    copy(shared, source.data(), length);
    unsigned sum = 0;
    for (std::size_t i = 0; i < length; i += kLine)
      sum += std::to_integer<unsigned>(shared[i]);
    benchmark::DoNotOptimize(sum);
    zero(shared, length);
  }
}

void ours(benchmark::State& state) {
  rounds(state, bulk_copy, bulk_zero);
}

void library(benchmark::State& state) {
  rounds(
      state,
      [](std::byte* target, const std::byte* source, std::size_t length) {
        std::memcpy(target, source, length);
        benchmark::ClobberMemory();
      },
      [](std::byte* target, std::size_t length) {
        std::memset(target, 0, length);
        benchmark::ClobberMemory();
      });
}

#if defined(__x86_64__)
void past_the_cache(benchmark::State& state) {
  const auto stream = [](std::byte* target, std::size_t at, __m128i bytes) {
    _mm_stream_si128(reinterpret_cast<__m128i*>(target + at), bytes);
  };
  rounds(
      state,
      [&](std::byte* target, const std::byte* source, std::size_t length) {
        for (std::size_t at = 0; at < length; at += sizeof(__m128i))
          stream(target, at, _mm_loadu_si128(reinterpret_cast<const __m128i_u*>(source + at)));
        _mm_sfence();
      },
      [&](std::byte* target, std::size_t length) {
        for (std::size_t at = 0; at < length; at += sizeof(__m128i))
          stream(target, at, _mm_setzero_si128());
        _mm_sfence();
      });
}
#endif

// NOLINTBEGIN(cert-err58-cpp): the benchmark library registers that way
BENCHMARK(ours)->RangeMultiplier(2)->Range(512, 1 << 20);
BENCHMARK(library)->RangeMultiplier(2)->Range(512, 1 << 20);
#if defined(__x86_64__)
BENCHMARK(past_the_cache)->RangeMultiplier(2)->Range(512, 1 << 20);
#endif
// NOLINTEND(cert-err58-cpp)

}  // namespace
}  // namespace airlock::shm
