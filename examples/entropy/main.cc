// SPDX-License-Identifier: Apache-2.0
//
// Prints random bytes of a virtio device, in hexadecimal:
//     entropy vfio-user:/run/rng.sock 32
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "base/size.h"
#include "driver/open_by_name.h"
#include "driver/rng.h"

namespace {

using namespace airlock;

int fail_with(const std::string& text) {
  std::fprintf(stderr, "entropy: %s\n", text.c_str());
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  const auto count = argc == 3 ? parse_size(argv[2]) : std::nullopt;
  if (!count || *count > std::uint64_t{1} << 20) {
    std::fprintf(stderr, "usage: entropy DEVICE BYTES\n");
    return 2;
  }
  auto opened = driver::open_by_name(argv[1]);
  if (!opened) return fail_with(opened.error().what + ": " + opened.error().why);
  const auto rng = driver::Rng::open(std::move(opened->transport), {});
  if (!rng) return fail_with(describe(rng.error()));

  std::vector<std::byte> bytes(*count);
  if (const auto read = (*rng)->read(bytes); !read) return fail_with(describe(read.error()));
  for (const std::byte byte : bytes)
    std::printf("%02x", std::to_integer<unsigned>(byte));
  std::printf("\n");
  return 0;
}
