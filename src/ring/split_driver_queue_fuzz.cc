// SPDX-License-Identifier: Apache-2.0
//
// Whatever a device writes into the used ring, and over the other areas, with any features: each
// request completes once or is handed out once after the break, with no more bytes than it offered,
// in order where that was negotiated, and no slot is lost.
#include <fuzzer/FuzzedDataProvider.h>

#include <map>
#include <vector>

#include "ring/split_driver_queue.h"
#include "testing/fake_device.h"
#include "testing/test_region.h"

namespace airlock::ring {
namespace {

constexpr std::uint64_t kRegionBytes = 65536;
constexpr std::uint64_t kTables = 8192;  // up to 64 of them, below kData
constexpr std::uint16_t kEntries = 5;
constexpr std::uint64_t kData = 16384;

testing::TestRegion& region() {
  static testing::TestRegion instance({.size = kRegionBytes});
  return instance;
}

struct Request {
  std::uint32_t slots = 0;
  std::uint32_t writable_bytes = 0;
  bool published = false;
};

class Machine {
 public:
  explicit Machine(FuzzedDataProvider& data)
      : data_(data),
        features_{.indirect = data.ConsumeBool(),
                  .event_idx = data.ConsumeBool(),
                  .in_order = data.ConsumeBool()},
        size_(MUST(QueueSize::from(1U << data.ConsumeIntegralInRange(0, 6)))),
        areas_(Layout(size_).block_at(window::RegionOffset{4096})),
        queue_(MUST(SplitDriverQueue::create(
            {.size = size_,
             .areas = areas_,
             .publisher = region().publisher(),
             .features = features_,
             .tables = {.start = window::RegionOffset{kTables}, .entries = kEntries}},
            region().bytes()))),
        device_(region().bytes(), size_, areas_) {}

  void run() {
    while (data_.remaining_bytes() > 0 && !queue_.broken())
      step();
    queue_.abandon();
    while (const auto taken = queue_.take_outstanding())
      CHECK(live_.erase(taken->cookie) == 1);
    CHECK(live_.empty());
    CHECK(queue_.free_slots() == size_.value());
  }

 private:
  void step() {
    switch (data_.ConsumeIntegralInRange(0, 5)) {
      case 0:
        return submit();
      case 1:
        static_cast<void>(queue_.publish());
        for (auto& [cookie, request] : live_)
          request.published = true;
        return;
      case 2:
        return use_honestly();
      case 3:
        return poll();
      case 4:
        return queue_.want_interrupts(data_.ConsumeBool());
      default:
        if (data_.ConsumeIntegralInRange(0, 7) == 0) lie();
    }
  }

  void submit() {
    const auto buffers = [this] {
      std::vector<Buffer> all(data_.ConsumeIntegralInRange<std::size_t>(0, size_.value()));
      for (Buffer& buffer : all) {
        buffer = {.offset = window::RegionOffset{data_.ConsumeIntegralInRange<std::uint64_t>(
                      kData, kRegionBytes)},
                  .length = data_.ConsumeIntegralInRange<std::uint32_t>(0, 4096)};
      }
      return all;
    };
    const std::vector<Buffer> readable = buffers();
    const std::vector<Buffer> writable = buffers();
    const std::uint32_t free = queue_.free_slots();
    const auto token = queue_.submit(readable, writable, cookie_);
    if (!token) {
      CHECK(queue_.free_slots() == free);
      return;
    }
    const auto count = static_cast<std::uint32_t>(readable.size() + writable.size());
    CHECK(queue_.slots_for(count) <= count);
    Request request{.slots = queue_.slots_for(count)};
    for (const Buffer& buffer : writable)
      request.writable_bytes += buffer.length;
    CHECK(queue_.free_slots() == free - request.slots);
    heads_.push_back(std::to_underlying(*token));
    live_.emplace(cookie_++, request);
  }

  void use_honestly() {
    if (heads_.empty()) return;
    const auto at = data_.ConsumeIntegralInRange<std::size_t>(0, heads_.size() - 1);
    // Mostly as the features have it; what was used already is in there still, and would be a lie.
    const bool batch = features_.in_order && data_.ConsumeBool();
    device_.use_batch(heads_[at], data_.ConsumeIntegralInRange<std::uint32_t>(0, 64),
                      batch ? static_cast<std::uint16_t>(at + 1) : std::uint16_t{1});
  }

  void lie() {
    switch (data_.ConsumeIntegralInRange(0, 7)) {
      case 5:
        return device_.set_avail_event(data_.ConsumeIntegral<std::uint16_t>());
      case 6:
        return device_.use_batch(data_.ConsumeIntegral<std::uint32_t>(),
                                 data_.ConsumeIntegral<std::uint32_t>(),
                                 data_.ConsumeIntegral<std::uint16_t>());
      case 7:
        return region().bytes().store_relaxed<Le64>(
            kTables + 8 * data_.ConsumeIntegralInRange<std::uint64_t>(0, 640),
            Le64(data_.ConsumeIntegral<std::uint64_t>()));
      case 0:
        return device_.set_used_index(data_.ConsumeIntegral<std::uint16_t>());
      case 1:
        return device_.set_used_flags(data_.ConsumeIntegral<std::uint16_t>());
      case 2:
        return device_.use(data_.ConsumeIntegral<std::uint32_t>(),
                           data_.ConsumeIntegral<std::uint32_t>());
      case 3:
        return device_.put_used(data_.ConsumeIntegral<std::uint16_t>(),
                                {.id = data_.ConsumeIntegral<std::uint32_t>(),
                                 .length = data_.ConsumeIntegral<std::uint32_t>()});
      default:
        return device_.scribble_descriptor(data_.ConsumeIntegral<std::uint32_t>(),
                                           {.address = data_.ConsumeIntegral<std::uint64_t>(),
                                            .length = data_.ConsumeIntegral<std::uint32_t>(),
                                            .flags = data_.ConsumeIntegral<std::uint16_t>(),
                                            .next = data_.ConsumeIntegral<std::uint16_t>()});
    }
  }

  void poll() {
    for (std::uint32_t i = 0; i <= size_.value(); ++i) {
      const auto polled = queue_.poll();
      if (!polled) {
        CHECK(queue_.broken() == polled.error());
        return;
      }
      const std::optional<Completion>& done = *polled;
      if (!done) return;
      const auto found = live_.find(done->cookie);
      CHECK(found != live_.end() && found->second.published);
      CHECK(done->written_bytes <= found->second.writable_bytes);
      // Cookies count up.
      CHECK(!features_.in_order || found == live_.begin());
      CHECK(done->length_reported ||
            (features_.in_order && done->written_bytes == found->second.writable_bytes));
      live_.erase(found);
      std::erase(heads_, std::to_underlying(done->token));
    }
    CHECK(false);  // more completions than the queue has slots
  }

  FuzzedDataProvider& data_;
  Features features_;
  QueueSize size_;
  AreaOffsets areas_;
  SplitDriverQueue queue_;
  testing::FakeDevice device_;
  std::map<std::uint64_t, Request> live_;  // by cookie
  std::vector<std::uint16_t> heads_;       // what the device may return
  std::uint64_t cookie_ = 0;
};

}  // namespace
}  // namespace airlock::ring

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  FuzzedDataProvider data(bytes, size);
  airlock::ring::Machine(data).run();
  return 0;
}
