// SPDX-License-Identifier: Apache-2.0
//
// Whatever a device writes into the used ring, and over the other areas: see DriverQueueMachine.
#include "ring/split_driver_queue.h"

#include "testing/driver_queue_machine.h"
#include "testing/fake_device.h"

namespace airlock::ring {
namespace {

using Places = testing::DriverQueuePlaces;

class SplitPeer {
 public:
  static constexpr Format kFormat = Format::kSplit;
  static std::uint32_t size(FuzzedDataProvider& data) {
    return 1U << data.ConsumeIntegralInRange(0, 6);
  }

  SplitPeer(const shm::SharedBytes& region, QueueSize size, const AreaOffsets& areas)
      : region_(region), device_(region, size, areas) {}

  void use(FuzzedDataProvider& data, const Features& features,
           const std::vector<testing::FuzzedRequest>& unused) {
    const auto at = data.ConsumeIntegralInRange<std::size_t>(0, unused.size() - 1);
    // Mostly as the features have it; what was used already is in there still, and would be a lie.
    const bool batch = features.in_order && data.ConsumeBool();
    device_.use_batch(unused[at].id, data.ConsumeIntegralInRange<std::uint32_t>(0, 64),
                      batch ? static_cast<std::uint16_t>(at + 1) : std::uint16_t{1});
  }

  void lie(FuzzedDataProvider& data) {
    switch (data.ConsumeIntegralInRange(0, 7)) {
      case 0:
        return device_.set_used_index(data.ConsumeIntegral<std::uint16_t>());
      case 1:
        return device_.set_used_flags(data.ConsumeIntegral<std::uint16_t>());
      case 2:
        return device_.use(data.ConsumeIntegral<std::uint32_t>(),
                           data.ConsumeIntegral<std::uint32_t>());
      case 3:
        return device_.put_used(data.ConsumeIntegral<std::uint16_t>(),
                                {.id = data.ConsumeIntegral<std::uint32_t>(),
                                 .length = data.ConsumeIntegral<std::uint32_t>()});
      case 4:
        return device_.set_avail_event(data.ConsumeIntegral<std::uint16_t>());
      case 5:
        return device_.use_batch(data.ConsumeIntegral<std::uint32_t>(),
                                 data.ConsumeIntegral<std::uint32_t>(),
                                 data.ConsumeIntegral<std::uint16_t>());
      case 6:
        return region_.store_relaxed<Le64>(
            Places::kTables + 8 * data.ConsumeIntegralInRange<std::uint64_t>(0, 640),
            Le64(data.ConsumeIntegral<std::uint64_t>()));
      default:
        return device_.scribble_descriptor(data.ConsumeIntegral<std::uint32_t>(),
                                           {.address = data.ConsumeIntegral<std::uint64_t>(),
                                            .length = data.ConsumeIntegral<std::uint32_t>(),
                                            .flags = data.ConsumeIntegral<std::uint16_t>(),
                                            .next = data.ConsumeIntegral<std::uint16_t>()});
    }
  }

 private:
  shm::SharedBytes region_;
  testing::FakeDevice device_;
};

}  // namespace
}  // namespace airlock::ring

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  using namespace airlock;
  FuzzedDataProvider data(bytes, size);
  testing::DriverQueueMachine<ring::SplitDriverQueue, ring::SplitPeer>(data).run();
  return 0;
}
