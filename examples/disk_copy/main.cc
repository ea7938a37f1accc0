// SPDX-License-Identifier: Apache-2.0
//
// Copies one virtio disk to another, as large or larger, with several requests in flight:
//     disk_copy vfio-user:/run/from.sock vfio-user:/run/to.sock
// The bytes are in buffers of the target's own region, so that writing copies nothing.
#include <algorithm>
#include <cstdio>
#include <vector>

#include "driver/blk.h"
#include "driver/open_by_name.h"

namespace {

using namespace airlock;
using driver::BlkOp;

constexpr std::uint64_t kPieceBytes = std::uint64_t{256} << 10;
constexpr std::size_t kInFlight = 8;

/// Copies all of `from`: reads a piece into each free buffer, writes it, and waits for the oldest.
Result<void> copy_disk(driver::Blk& from, driver::Blk& to) {
  std::vector<pool::InPlaceBuffer> buffers;
  std::vector<std::size_t> free;
  while (buffers.size() < kInFlight) {
    free.push_back(buffers.size());
    buffers.push_back(TRY(to.allocate(kPieceBytes)));
  }
  driver::BlkQueue& writes = to.queue(0);
  for (std::uint64_t at = 0; at < from.info().capacity_bytes;) {
    while (free.empty()) {
      TRY(writes.wait(std::chrono::seconds(30)));
      while (const auto done = writes.poll()) {
        if (done->error) return fail(*done->error);
        free.push_back(done->cookie);
      }
    }
    const std::size_t buffer = free.back();
    free.pop_back();
    const std::uint64_t length = std::min(kPieceBytes, from.info().capacity_bytes - at);
    const auto piece = buffers[buffer].span().first(length);
    TRY(from.read(at, piece));
    TRY(writes.submit({.op = BlkOp::kWrite, .offset = at, .source = piece, .cookie = buffer}));
    writes.kick();
    at += length;
  }
  while (free.size() < buffers.size()) {
    TRY(writes.wait(std::chrono::seconds(30)));
    while (const auto done = writes.poll()) {
      if (done->error) return fail(*done->error);
      free.push_back(done->cookie);
    }
  }
  return to.flush();
}

int fail_with(const std::string& text) {
  std::fprintf(stderr, "disk_copy: %s\n", text.c_str());
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: disk_copy FROM TO\n");
    return 2;
  }
  const auto from = driver::open_disk_by_name(argv[1], {});
  if (!from) return fail_with(from.error().what + ": " + from.error().why);
  const auto to = driver::open_disk_by_name(argv[2], {});
  if (!to) return fail_with(to.error().what + ": " + to.error().why);
  const std::uint64_t bytes = from->blk->info().capacity_bytes;
  if (bytes > to->blk->info().capacity_bytes) return fail_with("the target is too small");
  if (const auto copied = copy_disk(*from->blk, *to->blk); !copied) {
    return fail_with(describe(copied.error()));
  }
  std::printf("%llu bytes\n", static_cast<unsigned long long>(bytes));
  return 0;
}
