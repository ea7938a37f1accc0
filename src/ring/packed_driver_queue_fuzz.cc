// SPDX-License-Identifier: Apache-2.0
//
// Whatever a device writes into a packed ring, and over its event: see DriverQueueMachine.
#include "ring/packed_driver_queue.h"

#include "core/packed.h"
#include "testing/driver_queue_machine.h"
#include "testing/fake_packed_device.h"

namespace airlock::ring {
namespace {

class PackedPeer {
 public:
  static constexpr Format kFormat = Format::kPacked;
  static std::uint32_t size(FuzzedDataProvider& data) {
    return data.ConsumeIntegralInRange(1U, 64U);
  }

  PackedPeer(const shm::SharedBytes& region, QueueSize size, const AreaOffsets& areas)
      : size_(size), device_(region, size, areas) {}

  // In order, all up to the chosen one.
  void use(FuzzedDataProvider& data, const Features& features,
           std::vector<testing::FuzzedRequest>& unused) {
    const auto at = data.ConsumeIntegralInRange<std::size_t>(0, unused.size() - 1);
    const auto chosen = unused.begin() + static_cast<std::ptrdiff_t>(at);
    const auto first = features.in_order ? unused.begin() : chosen;
    const std::uint16_t id = chosen->id;
    std::uint32_t slots = 0;
    for (auto request = first; request <= chosen; ++request)
      slots += request->slots;
    unused.erase(first, chosen + 1);
    device_.use(id, data.ConsumeIntegralInRange<std::uint32_t>(0, 64), slots);
  }

  void lie(FuzzedDataProvider& data) {
    switch (data.ConsumeIntegralInRange(0, 3)) {
      case 0:
        return device_.set_device_event({.off_wrap = data.ConsumeIntegral<std::uint16_t>(),
                                         .flags = data.ConsumeIntegral<std::uint16_t>()});
      case 1:
        return device_.use(data.ConsumeIntegral<std::uint16_t>(),
                           data.ConsumeIntegral<std::uint32_t>(),
                           data.ConsumeIntegralInRange(0U, size_.value()));
      case 2:
        return scribble(data, airlock_packed_used_flags(data.ConsumeBool()));
      default:
        return scribble(data, data.ConsumeIntegral<std::uint16_t>());
    }
  }

 private:
  void scribble(FuzzedDataProvider& data, std::uint16_t flags) {
    device_.put_descriptor(data.ConsumeIntegralInRange(0U, size_.value() - 1),
                           {.address = data.ConsumeIntegral<std::uint64_t>(),
                            .length = data.ConsumeIntegralInRange<std::uint32_t>(0, 8192),
                            .flags = flags,
                            .next = data.ConsumeIntegralInRange<std::uint16_t>(
                                0, static_cast<std::uint16_t>(size_.value()))});
  }

  QueueSize size_;
  testing::FakePackedDevice device_;
};

}  // namespace
}  // namespace airlock::ring

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  using namespace airlock;
  FuzzedDataProvider data(bytes, size);
  testing::DriverQueueMachine<ring::PackedDriverQueue, ring::PackedPeer>(data).run();
  return 0;
}
