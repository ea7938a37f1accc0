// SPDX-License-Identifier: Apache-2.0
//
// Goal: no accesses of a driver's make the device leave the pool, start a queue outside it, or stop
// the process. Method: random registers and values, mostly those that there are, under a policy.
#include <fuzzer/FuzzedDataProvider.h>

#include <cstddef>
#include <cstdint>

#include "base/check.h"
#include "base/log.h"
#include "mmio/virtio_mmio_device.h"
#include "pci/test_device.h"
#include "spec/virtio_mmio.h"

namespace {

using namespace airlock;

constexpr std::uint64_t kPoolBase = 0x50000000;
constexpr std::uint64_t kPoolBytes = 0x10000;
constexpr std::size_t kStepsMax = 400;

bool in_pool(window::DriverAddress address) {
  const std::uint64_t value = std::to_underlying(address);
  return value >= kPoolBase && value < kPoolBase + kPoolBytes;
}

// A status, a feature word, an address in or near the pool, or anything.
std::uint32_t value_of(FuzzedDataProvider& input) {
  switch (input.ConsumeIntegralInRange(0, 4)) {
    case 0:
      return input.ConsumeIntegralInRange<std::uint32_t>(0, 16);
    case 1:
      return input.PickValueInArray<std::uint32_t>({1, 3, 11, 15, 0x80, 1U << 27, 0x100});
    case 2:
      return static_cast<std::uint32_t>(kPoolBase) +
             (input.ConsumeIntegralInRange<std::uint32_t>(0, 20) << 12);
    default:
      return input.ConsumeIntegral<std::uint32_t>();
  }
}

void step(FuzzedDataProvider& input, mmio::VirtioMmioDevice& device, pci::RecordingModel& model) {
  const auto offset = input.ConsumeBool()
                          ? input.ConsumeIntegralInRange<std::uint64_t>(0, 0x40) * 4
                          : input.ConsumeIntegralInRange<std::uint64_t>(0, mmio::kDeviceBytes + 8);
  std::array<std::byte, 8> bytes{};
  const std::size_t size =
      input.ConsumeBool() ? 4 : input.ConsumeIntegralInRange<std::size_t>(0, 8);
  if (input.ConsumeIntegralInRange(0, 7) == 0) {
    model.stop_later = input.ConsumeBool();
    if (model.stopping()) model.finish_stop();
  }
  if (input.ConsumeBool()) {
    (void)device.read(offset, std::span(bytes).first(size));
    return;
  }
  const Le32 value(value_of(input));
  std::memcpy(bytes.data(), &value, sizeof value);
  (void)device.write(offset, std::span(bytes).first(size));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  set_log_level(LogLevel::kError);
  FuzzedDataProvider input(data, size);
  const auto policy = input.PickValueInArray(
      {mmio::PoolPolicy::kRequire, mmio::PoolPolicy::kTolerate, mmio::PoolPolicy::kNotOffered});
  static const auto memfd = MUST(shm::SealedMemfd::create({.size = kPoolBytes}));
  static const auto mapping = MUST(shm::Mapping::map(memfd.fd(), {.length = kPoolBytes}));
  window::Window window(mapping.bytes());
  pci::RecordingModel model;
  const auto device = MUST(mmio::VirtioMmioDevice::create(
      {.policy = policy, .pool_base = window::BusAddress{kPoolBase}}, model, window, memfd.fd()));
  for (std::size_t i = 0; i < kStepsMax && input.remaining_bytes() > 0; ++i)
    step(input, *device, model);
  for (const pci::QueueSetup& queue : model.queues) {
    CHECK(in_pool(queue.descriptor_area) && in_pool(queue.driver_area) &&
          in_pool(queue.device_area));
  }
  const auto touched = window.touched();
  CHECK(touched.end == 0 || (touched.first >= kPoolBase && touched.end <= kPoolBase + kPoolBytes));
  if (policy == mmio::PoolPolicy::kRequire) {
    for (const pci::Negotiated& agreed : model.starts)
      CHECK(agreed.reach == window::Reach::kRegion);
  }
  return 0;
}
