// SPDX-License-Identifier: Apache-2.0
//
// Whatever stands in a ring and in an indirect table, split or packed, with any features: pop()
// ends, hands out only chains that keep the rules, and reaches nothing outside the region. Most
// descriptors are made plausible, so that the walk gets far; the rest are raw bytes.
#include <fuzzer/FuzzedDataProvider.h>

#include <vector>

#include "core/packed.h"
#include "ring/packed_device_queue.h"
#include "ring/split_device_queue.h"
#include "testing/fake_driver.h"
#include "testing/fake_packed_driver.h"

namespace airlock::ring {
namespace {

constexpr std::uint64_t kRegionBytes = 65536;
constexpr std::uint64_t kTableAt = 49152;  // behind the areas

// Kept from run to run: mapping memory anew each time would be all that the fuzzer does.
testing::TestRegion& region() {
  static testing::TestRegion instance({.size = kRegionBytes});
  return instance;
}

Features any_features(FuzzedDataProvider& data, Format format) {
  return {.format = format,
          .indirect = data.ConsumeBool(),
          .event_idx = data.ConsumeBool(),
          .in_order = data.ConsumeBool()};
}

airlock_descriptor any_descriptor(FuzzedDataProvider& data, std::uint32_t slots) {
  if (data.ConsumeIntegralInRange(0, 15) == 0) {
    return {.address = data.ConsumeIntegral<std::uint64_t>(),
            .length = data.ConsumeIntegral<std::uint32_t>(),
            .flags = data.ConsumeIntegral<std::uint16_t>(),
            .next = data.ConsumeIntegral<std::uint16_t>()};
  }
  const auto flags = data.ConsumeIntegralInRange<std::uint16_t>(0, 3);
  const auto next = static_cast<std::uint16_t>(data.ConsumeIntegralInRange(0U, slots - 1));
  const auto address = [](std::uint64_t offset) {
    return std::to_underlying(region().address(window::RegionOffset{offset}));
  };
  if (data.ConsumeIntegralInRange(0, 7) == 0) {
    return {
        .address = address(kTableAt),
        .length = data.ConsumeIntegralInRange(0U, slots + 1) * AIRLOCK_DESC_BYTES,
        .flags = static_cast<std::uint16_t>((flags & ~AIRLOCK_DESC_NEXT) | AIRLOCK_DESC_INDIRECT),
        .next = next};
  }
  return {.address = address(data.ConsumeIntegralInRange<std::uint64_t>(1, kRegionBytes)),
          .length = data.ConsumeIntegralInRange<std::uint32_t>(0, 8192),
          .flags = flags,
          .next = next};
}

// Entries of the table that descriptors name.
void fill_table(FuzzedDataProvider& data, Format format, std::uint32_t slots) {
  const auto count = data.ConsumeIntegralInRange(0U, slots);
  for (std::uint32_t i = 0; i < count; ++i) {
    const airlock_descriptor entry = any_descriptor(data, slots);
    const std::uint64_t at = kTableAt + std::uint64_t{i} * AIRLOCK_DESC_BYTES;
    region().bytes().store_relaxed<Le64>(at, Le64(entry.address));
    region().bytes().store_relaxed<Le64>(at + 8, Le64(encode_descriptor_rest(entry, format)));
  }
}

void check_chain(const Chain& chain, QueueSize size) {
  const auto region_bytes = region().bytes().in_place();
  CHECK(std::to_underlying(chain.head()) < size.value());
  const std::size_t count = chain.readable().size() + chain.writable().size();
  CHECK(count >= 1 && count <= size.value());
  std::uint64_t sums[2] = {};
  for (const bool writable : {false, true}) {
    for (const window::SharedSpan& span : writable ? chain.writable() : chain.readable()) {
      const auto bytes = span.in_place();
      CHECK(!bytes.empty());
      CHECK(bytes.data() >= region_bytes.data());
      CHECK(bytes.data() + bytes.size() <= region_bytes.data() + region_bytes.size());
      sums[writable ? 1 : 0] += bytes.size();
    }
  }
  CHECK(sums[0] == chain.readable_bytes() && sums[1] == chain.writable_bytes());
}

// Pops what there is, returns some of it; false once the queue is broken.
template <class Queue>
bool serve(FuzzedDataProvider& data, Queue& queue, std::vector<Chain>& in_flight) {
  for (std::uint32_t i = 0; i <= queue.size().value(); ++i) {
    Chain chain;
    const auto head = queue.pop(chain);
    if (!head) {
      CHECK(queue.broken() == head.error());
      CHECK(queue.pop(chain).error().code == Errc::kQueueBroken);
      return false;
    }
    if (!*head) break;
    check_chain(chain, queue.size());
    in_flight.push_back(std::move(chain));
    CHECK(in_flight.size() <= queue.size().value());
  }
  while (!in_flight.empty() && data.ConsumeBool()) {
    const Chain& chain = in_flight.back();
    const auto written = data.ConsumeIntegralInRange<std::uint32_t>(0, chain.writable_bytes());
    const std::vector<std::byte> bytes(written, std::byte{0x5a});
    MUST(chain.write(0, bytes));
    MUST(queue.push_used(chain.head(), written));
    in_flight.pop_back();
  }
  queue.publish();
  static_cast<void>(queue.driver_wants_interrupt());
  queue.suppress_notifications(data.ConsumeBool());
  CHECK(queue.in_flight() == in_flight.size());
  return true;
}

void run_split(FuzzedDataProvider& data) {
  testing::FakeDriver driver(region(), 1U << data.ConsumeIntegralInRange(0, 6));
  driver.config().features = any_features(data, Format::kSplit);
  auto queue = MUST(SplitDeviceQueue::create(driver.config(), region().window()));
  std::vector<Chain> in_flight;
  const std::uint32_t slots = driver.size().value();
  while (data.remaining_bytes() > 0) {
    for (std::uint32_t i = 0; i < slots; ++i)
      driver.put_descriptor(i, any_descriptor(data, slots));
    fill_table(data, Format::kSplit, slots);
    const bool lies = data.ConsumeIntegralInRange(0, 15) == 0;
    const auto count = data.ConsumeIntegralInRange<std::uint32_t>(0, slots);
    for (std::uint32_t i = 0; i < count; ++i) {
      const auto entry = static_cast<std::uint16_t>(driver.avail_index() + i);
      driver.put_available(entry, data.ConsumeIntegralInRange<std::uint16_t>(
                                      0, lies ? 0xffff : driver.size().mask()));
    }
    driver.set_avail_index(lies ? data.ConsumeIntegral<std::uint16_t>()
                                : static_cast<std::uint16_t>(driver.avail_index() + count));
    driver.set_avail_flags(data.ConsumeIntegral<std::uint16_t>());
    driver.set_used_event(data.ConsumeIntegral<std::uint16_t>());
    if (!serve(data, queue, in_flight)) return;
  }
}

// Half of the descriptors are marked for the lap that the driver would be in; some for the other.
void run_packed(FuzzedDataProvider& data) {
  const auto slots = data.ConsumeIntegralInRange(1U, 64U);
  testing::FakePackedDriver driver(
      region(), {.slots = slots, .features = any_features(data, Format::kPacked)});
  auto queue = MUST(PackedDeviceQueue::create(driver.config(), region().window()));
  std::vector<Chain> in_flight;
  while (data.remaining_bytes() > 0) {
    fill_table(data, Format::kPacked, slots);
    const auto first = data.ConsumeIntegralInRange(0U, slots - 1);
    const auto count = data.ConsumeIntegralInRange(0U, slots);
    const bool wrap = data.ConsumeBool();
    for (std::uint32_t i = 0; i < count; ++i) {
      airlock_descriptor descriptor = any_descriptor(data, slots);
      const bool same_lap = (first + i < slots) == wrap;
      descriptor.flags =
          static_cast<std::uint16_t>(descriptor.flags | airlock_packed_available_flags(same_lap));
      driver.put_descriptor(first + i, descriptor);
    }
    driver.set_driver_event({.off_wrap = data.ConsumeIntegral<std::uint16_t>(),
                             .flags = data.ConsumeIntegral<std::uint16_t>()});
    if (!serve(data, queue, in_flight)) return;
  }
}

void run(FuzzedDataProvider& data) {
  region().free_to(4096);
  region().window().configure(
      data.ConsumeBool() ? window::AddressMode::kBus : window::AddressMode::kOffset,
      window::Reach::kRegion);
  data.ConsumeBool() ? run_packed(data) : run_split(data);
}

}  // namespace
}  // namespace airlock::ring

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  FuzzedDataProvider data(bytes, size);
  airlock::ring::run(data);
  return 0;
}
