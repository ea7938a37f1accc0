// SPDX-License-Identifier: Apache-2.0
//
// Goal: whatever a state says, and whatever a driver wrote over all of the region, used ring and
// flags too, a device's queue that goes on from it breaks at most: it touches nothing else, ends
// every walk, and its own checks (CHECK) hold. Method: both are the input's, and so is when the
// process is killed; between two processes the driver writes on.
#include <fuzzer/FuzzedDataProvider.h>

#include <vector>

#include "ring/device_queue.h"
#include "shm/access_hook.h"
#include "testing/state_page.h"
#include "testing/test_region.h"

namespace airlock::ring {
namespace {

constexpr std::uint64_t kRing = 4096;
constexpr std::uint64_t kRegionBytes = 16384;
constexpr std::uint32_t kSlotsMost = 33;
constexpr int kProcessesMost = 8;

struct Killed {};

class Life final : private shm::AccessObserver {
 public:
  explicit Life(FuzzedDataProvider& data) : data_(data) {}

  void run() {
    const Features features{.format = data_.ConsumeBool() ? Format::kPacked : Format::kSplit,
                            .indirect = data_.ConsumeBool(),
                            .event_idx = data_.ConsumeBool(),
                            .in_order = data_.ConsumeBool()};
    const auto size = QueueSize::from(data_.ConsumeIntegralInRange<std::uint32_t>(1, kSlotsMost),
                                      features.format);
    if (!size) return;
    const AreaOffsets areas = Layout(*size, features.format).block_at(window::RegionOffset{kRing});
    const QueueConfig config{.size = *size,
                             .areas = {.descriptors = region_.address(areas.descriptors),
                                       .driver = region_.address(areas.driver),
                                       .device = region_.address(areas.device)},
                             .features = features,
                             .record = page_.record()};
    for (int process = 0; process < kProcessesMost && data_.remaining_bytes() > 0; ++process) {
      scribble();
      left_ = data_.ConsumeIntegral<std::uint8_t>();
      try {
        const shm::ScopedAccessHook hook(this);
        work(config);
      } catch (const Killed&) {
        continue;
      }
    }
  }

 private:
  void before_access(const shm::Access& /*access*/) override {
    if (left_-- == 0) throw Killed{};
  }

  // The driver writes where it likes; the state, now and then, is not what a process of ours left.
  void scribble() {
    const int words = data_.ConsumeIntegralInRange(0, 24);
    for (int i = 0; i < words; ++i) {
      const auto at = data_.ConsumeIntegralInRange<std::uint64_t>(0, 255);
      region_.bytes().store_relaxed<Le32>(kRing + (4 * at),
                                          Le32(data_.ConsumeIntegral<std::uint32_t>()));
    }
    if (data_.ConsumeIntegralInRange(0, 7) != 0) return;
    page_.put(0, {.live = Le16(data_.ConsumeIntegralInRange<std::uint16_t>(0, 3)),
                  .size = Le16(data_.ConsumeIntegralInRange<std::uint16_t>(0, kSlotsMost)),
                  .position = Le16(data_.ConsumeIntegral<std::uint16_t>()),
                  .next = Le16(data_.ConsumeIntegral<std::uint16_t>())});
  }

  void work(const QueueConfig& config) {
    auto made = DeviceQueue::create(config, region_.window());
    if (!made) {
      page_.record().forget();  // a broken queue's driver resets it
      return;
    }
    DeviceQueue& queue = *made;
    std::vector<Chain> taken;
    for (int step = 0; step < 64 && !queue.broken(); ++step) {
      Chain chain;
      const auto popped = queue.pop(chain);
      if (popped && *popped) taken.push_back(chain);
      CHECK(taken.size() <= config.size.value() && queue.in_flight() == taken.size());
      if (!taken.empty() && data_.ConsumeBool()) {
        const auto at = data_.ConsumeIntegralInRange<std::size_t>(0, taken.size() - 1);
        const Chain done = taken[at];
        taken.erase(taken.begin() + static_cast<std::ptrdiff_t>(at));
        static_cast<void>(queue.push_used(done.head(), done.writable_bytes()));
      }
      queue.publish();
      static_cast<void>(queue.driver_wants_interrupt());
      queue.suppress_notifications(data_.ConsumeBool());
      if (popped && !*popped && taken.empty()) return;
    }
  }

  FuzzedDataProvider& data_;
  testing::TestRegion region_{{.size = kRegionBytes}};
  testing::StatePage page_;
  int left_ = 0;
};

}  // namespace
}  // namespace airlock::ring

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  FuzzedDataProvider data(bytes, size);
  airlock::ring::Life(data).run();
  return 0;
}
