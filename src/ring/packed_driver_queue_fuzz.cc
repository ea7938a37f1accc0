// SPDX-License-Identifier: Apache-2.0
//
// Whatever a device writes into a packed ring, and over its event: each request completes once or
// is handed out once after the break, with no more bytes than it offered, and no slot is lost.
#include <fuzzer/FuzzedDataProvider.h>

#include <deque>
#include <map>
#include <vector>

#include "core/packed.h"
#include "ring/packed_driver_queue.h"
#include "testing/fake_packed_device.h"
#include "testing/test_region.h"

namespace airlock::ring {
namespace {

constexpr std::uint64_t kRegionBytes = 65536;
constexpr std::uint16_t kTableEntries = 4;

testing::TestRegion& region() {
  static testing::TestRegion instance({.size = kRegionBytes});
  return instance;
}

struct Request {
  std::uint16_t id = 0;
  std::uint32_t slots = 0;
  std::uint32_t writable_bytes = 0;
  bool published = false;
};

class Machine {
 public:
  explicit Machine(FuzzedDataProvider& data)
      : data_(data),
        size_(MUST(QueueSize::from(data.ConsumeIntegralInRange(1U, 64U), Format::kPacked))),
        areas_(Layout(size_, Format::kPacked).block_at(window::RegionOffset{4096})),
        features_{.format = Format::kPacked,
                  .indirect = data.ConsumeBool(),
                  .event_idx = data.ConsumeBool(),
                  .in_order = data.ConsumeBool()},
        queue_(MUST(PackedDriverQueue::create(
            {.size = size_,
             .areas = areas_,
             .publisher = region().publisher(),
             .features = features_,
             .tables = {.start = window::RegionOffset{8192}, .entries = kTableEntries}},
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
    CHECK(queue_.outstanding() == 0);
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
                      16384, kRegionBytes)},
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
    Request request{.id = std::to_underlying(*token), .slots = queue_.slots_for(count)};
    for (const Buffer& buffer : writable)
      request.writable_bytes += buffer.length;
    CHECK(queue_.free_slots() == free - request.slots);
    unused_.push_back(request);
    live_.emplace(cookie_++, request);
  }

  // In order, all up to the chosen one.
  void use_honestly() {
    if (unused_.empty()) return;
    const auto at = data_.ConsumeIntegralInRange<std::size_t>(0, unused_.size() - 1);
    const std::uint16_t id = unused_[at].id;
    std::uint32_t slots = unused_[at].slots;
    const auto last = unused_.begin() + static_cast<std::ptrdiff_t>(at);
    if (features_.in_order) {
      for (std::size_t i = 0; i < at; ++i)
        slots += unused_[i].slots;
      unused_.erase(unused_.begin(), last + 1);
    } else {
      unused_.erase(last);
    }
    device_.use(id, data_.ConsumeIntegralInRange<std::uint32_t>(0, 64), slots);
  }

  void lie() {
    switch (data_.ConsumeIntegralInRange(0, 3)) {
      case 0:
        return device_.set_device_event({.off_wrap = data_.ConsumeIntegral<std::uint16_t>(),
                                         .flags = data_.ConsumeIntegral<std::uint16_t>()});
      case 1:
        return device_.use(data_.ConsumeIntegral<std::uint16_t>(),
                           data_.ConsumeIntegral<std::uint32_t>(),
                           data_.ConsumeIntegralInRange(0U, size_.value()));
      case 2:
        return scribble(airlock_packed_used_flags(data_.ConsumeBool()));
      default:
        return scribble(data_.ConsumeIntegral<std::uint16_t>());
    }
  }
  void scribble(std::uint16_t flags) {
    device_.put_descriptor(data_.ConsumeIntegralInRange(0U, size_.value() - 1),
                           {.address = data_.ConsumeIntegral<std::uint64_t>(),
                            .length = data_.ConsumeIntegralInRange<std::uint32_t>(0, 8192),
                            .flags = flags,
                            .next = data_.ConsumeIntegralInRange<std::uint16_t>(
                                0, static_cast<std::uint16_t>(size_.value()))});
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
      CHECK(done->length_reported || (features_.in_order && found == live_.begin() &&
                                      done->written_bytes == found->second.writable_bytes));
      live_.erase(found);
      std::erase_if(unused_, [&](const Request& request) {
        return request.id == std::to_underlying(done->token);
      });
    }
    CHECK(false);  // more completions than the queue has slots
  }

  FuzzedDataProvider& data_;
  QueueSize size_;
  AreaOffsets areas_;
  Features features_;
  PackedDriverQueue queue_;
  testing::FakePackedDevice device_;
  std::map<std::uint64_t, Request> live_;  // by cookie, so in the order of their submission
  std::deque<Request> unused_;             // what the device may return
  std::uint64_t cookie_ = 0;
};

}  // namespace
}  // namespace airlock::ring

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  FuzzedDataProvider data(bytes, size);
  airlock::ring::Machine(data).run();
  return 0;
}
