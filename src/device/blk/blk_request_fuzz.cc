// SPDX-License-Identifier: Apache-2.0
// Requests of a driver that is mostly right and now and then wrong, in any framing, through a queue
// to a disk. The disk checks that nothing leaves it; here: every chain that can be answered is,
// exactly, and only one without a status byte, or a ring without sense, breaks the queue.
#include <fuzzer/FuzzedDataProvider.h>

#include <cstdint>
#include <map>
#include <memory>

#include "device/blk/blk_device.h"
#include "testing/blk_driver.h"
#include "testing/fake_backend.h"

namespace airlock::device {
namespace {

using testing::BlkDriver;
using testing::BuiltChain;
using testing::ChainBuilder;

constexpr std::uint16_t kSlots = 64;
constexpr std::uint32_t kTypes[] = {
    spec::VIRTIO_BLK_T_IN,     spec::VIRTIO_BLK_T_OUT,     spec::VIRTIO_BLK_T_FLUSH,
    spec::VIRTIO_BLK_T_GET_ID, spec::VIRTIO_BLK_T_DISCARD, spec::VIRTIO_BLK_T_WRITE_ZEROES,
};

bool rarely(FuzzedDataProvider& input) {
  return input.ConsumeIntegralInRange(0, 31) == 31;
}

std::uint64_t sector(FuzzedDataProvider& input) {
  return rarely(input) ? input.ConsumeIntegral<std::uint64_t>()
                       : input.ConsumeIntegralInRange<std::uint64_t>(0, 66);
}

/// What the device may read: a header and data.
std::vector<std::byte> readable_part(FuzzedDataProvider& input) {
  const std::uint32_t type =
      rarely(input) ? input.ConsumeIntegral<std::uint32_t>() : input.PickValueInArray(kTypes);
  const auto header = BlkDriver::header(type, sector(input));
  const auto head = std::as_bytes(std::span(&header, 1));
  std::vector<std::byte> bytes(head.begin(), head.end());
  if (type == spec::VIRTIO_BLK_T_OUT) {
    bytes.resize(bytes.size() + 512 * input.ConsumeIntegralInRange<std::size_t>(0, 4));
  } else if (type == spec::VIRTIO_BLK_T_DISCARD || type == spec::VIRTIO_BLK_T_WRITE_ZEROES) {
    for (int i = input.ConsumeIntegralInRange(0, 4); i > 0; --i) {
      const auto range =
          BlkDriver::range(sector(input), input.ConsumeIntegralInRange<std::uint32_t>(0, 70),
                           input.ConsumeIntegralInRange<std::uint32_t>(0, 2));
      const auto raw = std::as_bytes(std::span(&range, 1));
      bytes.insert(bytes.end(), raw.begin(), raw.end());
    }
  }
  if (rarely(input)) bytes.resize(input.ConsumeIntegralInRange<std::size_t>(0, 64));
  return bytes;
}

/// Cuts `total` bytes into pieces and hands their lengths to `piece`.
template <class Piece>
void cut(FuzzedDataProvider& input, std::size_t total, const Piece& piece) {
  for (int pieces = 0; total > 0; ++pieces) {
    const bool last = pieces == 3;
    const auto length = last ? total : input.ConsumeIntegralInRange<std::size_t>(1, total);
    piece(length);
    total -= length;
  }
}

BuiltChain build(FuzzedDataProvider& input, BlkDriver& driver) {
  const std::vector<std::byte> bytes = readable_part(input);
  std::size_t writable = 1 + 512 * input.ConsumeIntegralInRange<std::size_t>(0, 4);
  if (rarely(input)) writable = input.ConsumeIntegralInRange<std::size_t>(bytes.empty(), 600);
  ChainBuilder builder(driver.ring());
  std::size_t at = 0;
  cut(input, bytes.size(), [&](std::size_t length) {
    builder.readable(std::span(bytes).subspan(at, length));
    at += length;
  });
  cut(input, writable,
      [&](std::size_t length) { builder.writable(static_cast<std::uint32_t>(length)); });
  return builder.submit();
}

void serve(FuzzedDataProvider& input) {
  BlkDriver driver(kSlots);
  auto disk = std::make_shared<testing::FakeStorage>();
  disk->room = input.ConsumeIntegralInRange<std::uint32_t>(1, 4);
  disk->reversed = input.ConsumeBool();
  for (int i = input.ConsumeIntegralInRange(0, 4); i > 0; --i) {
    disk->errors.push_back(input.ConsumeBool() ? EIO : 0);
  }
  auto device = MUST(BlkDevice::create({.backend = std::make_unique<testing::FakeBackend>(disk),
                                        .shape = {.queues = 1, .queue_size = kSlots},
                                        .ring_features = 0}));
  const ring::QueueAreas& areas = driver.ring().config().areas;
  QueueContext context;
  context.negotiated.features = device->features();
  context.negotiated.reach = window::Reach::kRegion;
  context.setup = {.index = 0,
                   .size = kSlots,
                   .descriptor_area = areas.descriptors,
                   .driver_area = areas.driver,
                   .device_area = areas.device};
  context.window = &driver.region().window();
  auto task = MUST(device->make_queue(context));

  std::map<std::uint32_t, BuiltChain> chains;
  bool answerable = true;
  for (int i = input.ConsumeIntegralInRange(1, 6); i > 0; --i) {
    const BuiltChain chain = build(input, driver);
    answerable &= !chain.written().empty();
    chains.emplace(chain.head(), chain);
  }
  for (;;) {
    const auto progress = task->poll();
    CHECK(progress.has_value() || !answerable);
    if (!progress) {
      task->drain(true);
      CHECK(task->in_flight() == 0);
      return;
    }
    if (!*progress) break;
  }
  CHECK(answerable && task->in_flight() == 0);
  while (const auto used = driver.ring().take_used()) {
    const auto found = chains.find(used->id);
    CHECK(found != chains.end());
    CHECK(used->length == found->second.written().size());
    CHECK(BlkDriver::status(found->second) <= spec::VIRTIO_BLK_S_UNSUPP);
    chains.erase(found);
  }
  CHECK(chains.empty());
}

}  // namespace
}  // namespace airlock::device

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  airlock::set_log_level(airlock::LogLevel::kError);
  FuzzedDataProvider input(data, size);
  airlock::device::serve(input);
  return 0;
}
