// SPDX-License-Identifier: Apache-2.0
#include "shm/bulk.h"

#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace airlock::shm {

namespace {

#if defined(__x86_64__)

// From 2 KiB on the C library takes `rep movsb` and `rep stosb`, which take a while to get going:
// up to kLoopMost, a page above all, a plain loop takes half the time. For more bytes the library's
// way is as fast, and for fewer it has a loop too. Stores past the cache (`movntdq`) lose at any
// length up to 1 MiB, by half and more: the other side reads the bytes right away, and finds them
// in the shared cache where they were not sent to memory. bulk_bench.cc measures all three.
constexpr std::size_t kLoopLeast = 2048;
constexpr std::size_t kLoopMost = 16384;
constexpr std::size_t kStep = 4 * sizeof(__m256i);

bool loop_pays(std::size_t length) {
  return length >= kLoopLeast && length <= kLoopMost && __builtin_cpu_supports("avx2") != 0;
}

// Both do whole steps and return how many bytes that was.
[[gnu::target("avx2")]] std::size_t copy_steps(std::byte* target, const std::byte* source,
                                               std::size_t length) {
  std::size_t done = 0;
  for (; length - done >= kStep; done += kStep) {
    const auto* const from = reinterpret_cast<const __m256i*>(source + done);
    auto* const to = reinterpret_cast<__m256i*>(target + done);
    const __m256i first = _mm256_loadu_si256(from);
    const __m256i second = _mm256_loadu_si256(from + 1);
    const __m256i third = _mm256_loadu_si256(from + 2);
    const __m256i fourth = _mm256_loadu_si256(from + 3);
    _mm256_storeu_si256(to, first);
    _mm256_storeu_si256(to + 1, second);
    _mm256_storeu_si256(to + 2, third);
    _mm256_storeu_si256(to + 3, fourth);
  }
  return done;
}

[[gnu::target("avx2")]] std::size_t zero_steps(std::byte* target, std::size_t length) {
  const __m256i zero = _mm256_setzero_si256();
  std::size_t done = 0;
  for (; length - done >= kStep; done += kStep) {
    auto* const to = reinterpret_cast<__m256i*>(target + done);
    _mm256_storeu_si256(to, zero);
    _mm256_storeu_si256(to + 1, zero);
    _mm256_storeu_si256(to + 2, zero);
    _mm256_storeu_si256(to + 3, zero);
  }
  return done;
}

#else

bool loop_pays(std::size_t) {
  return false;
}
std::size_t copy_steps(std::byte*, const std::byte*, std::size_t) {
  return 0;
}
std::size_t zero_steps(std::byte*, std::size_t) {
  return 0;
}

#endif

}  // namespace

[[gnu::noinline]] void bulk_copy(std::byte* target, const std::byte* source, std::size_t length) {
  const std::size_t done = loop_pays(length) ? copy_steps(target, source, length) : 0;
  if (done < length) std::memcpy(target + done, source + done, length - done);
  asm volatile("" ::: "memory");
}

[[gnu::noinline]] void bulk_zero(std::byte* target, std::size_t length) {
  const std::size_t done = loop_pays(length) ? zero_steps(target, length) : 0;
  if (done < length) std::memset(target + done, 0, length - done);
  asm volatile("" ::: "memory");
}

}  // namespace airlock::shm
