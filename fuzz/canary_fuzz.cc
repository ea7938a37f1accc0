// SPDX-License-Identifier: Apache-2.0
//
// The fuzz target that must crash. It reads one byte past a heap buffer, behind three comparisons
// of single input bytes: found only if coverage guides the fuzzer (a blind one needs 2^24 tries on
// average), and reported only if AddressSanitizer watches. `dev fuzz smoke` fails when it survives.
#include <cstddef>
#include <cstdint>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 3 || data[0] != 'a' || data[1] != 'i' || data[2] != 'r') {
    return 0;
  }
  const std::vector<std::uint8_t> copy(data, data + size);
  // Volatile, so that the load of the bad byte is not optimised away.
  // tidy: allow volatile because the access itself is the point
  const volatile std::uint8_t* past_the_end = copy.data() + size;
  static_cast<void>(*past_the_end);
  return 0;
}
