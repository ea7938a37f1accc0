// SPDX-License-Identifier: Apache-2.0
//
// Writes what a network card receives to a disk, one frame's payload behind the other, in whole
// sectors; both have one region (region = "shared:NAME" in airlock serve --config):
//     net_to_disk vfio-user:/run/net.sock vfio-user:/run/disk.sock FRAMES
// No byte is copied: the disk writes from the buffer that the card put the frame into.
#include <charconv>
#include <chrono>
#include <cstring>
#include <string>

#include <fmt/core.h>

#include "driver/net.h"
#include "driver/open_by_name.h"

namespace {

using namespace airlock;
using namespace std::chrono_literals;

// Neither can take the other's room, however many frames wait for the disk.
constexpr std::uint64_t kShareBytes = std::uint64_t{2} << 20;
enum Share : std::uint32_t { kNet, kDisk };

Result<void> check_written(driver::BlkQueue& writes) {
  while (const auto done = writes.poll())
    if (done->error) return fail(*done->error);
  return {};
}

/// Returns the number of bytes.
Result<std::uint64_t> store_frames(driver::Net& net, driver::Blk& disk, unsigned frames) {
  driver::NetInPlaceReceiver& receiver = net.in_place_receiver(0);
  driver::BlkQueue& writes = disk.queue(0);
  std::uint64_t at = 0;
  while (frames > 0) {
    TRY(check_written(writes));
    const auto received = TRY(receiver.poll());
    if (!received) {
      // A frame's buffer is free for the next when it is written.
      TRY(writes.inside() > 0 ? writes.wait(30s) : receiver.wait(1h));
      continue;
    }
    --frames;
    const std::span<std::byte> payload = received->frame.subspan(driver::kEthernetBytes);
    const std::size_t length = payload.size() / disk.info().block_bytes * disk.info().block_bytes;
    if (length == 0) continue;
    // We give the buffer up; it stays until the disk has written it.
    TRY(writes.submit(
        {.op = driver::BlkOp::kWrite, .offset = at, .source = payload.first(length)}));
    at += length;
  }
  while (writes.inside() > 0) {
    TRY(writes.wait(30s));
    TRY(check_written(writes));
  }
  TRY(disk.flush());
  return at;
}

int fail_with(const std::string& what, const std::string& why) {
  fmt::print(stderr, "{}: {}\n", what, why);
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  unsigned frames = 0;
  const char* const text = argc == 4 ? argv[3] : "";
  const auto parsed = std::from_chars(text, text + std::strlen(text), frames);
  if (parsed.ec != std::errc() || *parsed.ptr != '\0') {
    fmt::print(stderr, "usage: {} NET DISK FRAMES\n", argv[0]);
    return 2;
  }
  const auto region = std::make_shared<driver::SharedPool>(
      driver::SharedPool::Options{.share_bytes = {kShareBytes, kShareBytes}});
  auto found = driver::open_by_name(argv[1]);
  if (!found) return fail_with(found.error().what, found.error().why);
  const auto net =
      driver::Net::open(std::move(found->transport),
                        {.receive_in_place = true, .device = {.shared = region, .share = kNet}});
  if (!net) return fail_with(argv[1], describe(net.error()));
  const auto disk =
      driver::open_disk_by_name(argv[2], {.device = {.shared = region, .share = kDisk}});
  if (!disk) return fail_with(disk.error().what, disk.error().why);
  fmt::print(stderr, "listening\n");
  const auto stored = store_frames(**net, *disk->blk, frames);
  if (!stored) return fail_with("net_to_disk", describe(stored.error()));
  const std::uint64_t copied =
      disk->blk->stats().bytes_copied + region->pool(kNet).stats().bytes_from_device;
  fmt::print("{} frames, {} bytes stored, {} copied\n", frames, *stored, copied);
  return 0;
}
