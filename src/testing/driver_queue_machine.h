// SPDX-License-Identifier: Apache-2.0
//
// What the fuzz targets of either format's driver half share: calls and lies in any order, with any
// features. Each request completes once or is handed out once after the break, with no more bytes
// than it offered, in order where that was negotiated, and no slot is lost.
#pragma once

#include <fuzzer/FuzzedDataProvider.h>

#include <map>
#include <vector>

#include "base/check.h"
#include "ring/driver_types.h"
#include "ring/layout.h"
#include "testing/test_region.h"

namespace airlock::testing {

/// Where the memory of a fuzzed queue lies in a region of kRegionBytes.
struct DriverQueuePlaces {
  static constexpr std::uint64_t kRegionBytes = 65536;
  static constexpr std::uint64_t kAreas = 4096;
  static constexpr std::uint64_t kTables = 8192;  // those of up to 64 slots, below kData
  static constexpr std::uint16_t kTableEntries = 5;
  static constexpr std::uint64_t kData = 16384;
};

/// A request that the device may return.
struct FuzzedRequest {
  std::uint16_t id = 0;  // its head or buffer id
  std::uint32_t slots = 0;
  std::uint32_t writable_bytes = 0;
  bool published = false;
};

/// One queue and one device, driven by the bytes of one input. Peer knows the format:
///   Peer::kFormat, Peer::size(data) -> slots
///   Peer(region, size, areas)
///   void use(data, features, unused)   returns one of `unused` as an honest device might
///   void lie(data)
template <class Queue, class Peer>
class DriverQueueMachine {
  using Places = DriverQueuePlaces;

 public:
  explicit DriverQueueMachine(FuzzedDataProvider& data)
      : data_(data),
        features_{.format = Peer::kFormat,
                  .indirect = data.ConsumeBool(),
                  .event_idx = data.ConsumeBool(),
                  .in_order = data.ConsumeBool()},
        size_(MUST(ring::QueueSize::from(Peer::size(data), Peer::kFormat))),
        areas_(ring::Layout(size_, Peer::kFormat).block_at(window::RegionOffset{Places::kAreas})),
        queue_(MUST(Queue::create({.size = size_,
                                   .areas = areas_,
                                   .publisher = region().publisher(),
                                   .features = features_,
                                   .tables = {.start = window::RegionOffset{Places::kTables},
                                              .entries = Places::kTableEntries}},
                                  region().bytes()))),
        peer_(region().bytes(), size_, areas_) {}

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
  static TestRegion& region() {
    static TestRegion instance({.size = Places::kRegionBytes});
    return instance;
  }

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
        if (!unused_.empty()) peer_.use(data_, features_, unused_);
        return;
      case 3:
        return poll();
      case 4:
        return queue_.want_interrupts(data_.ConsumeBool());
      default:
        if (data_.ConsumeIntegralInRange(0, 7) == 0) peer_.lie(data_);
    }
  }

  void submit() {
    const auto buffers = [this] {
      std::vector<ring::Buffer> all(data_.ConsumeIntegralInRange<std::size_t>(0, size_.value()));
      for (ring::Buffer& buffer : all) {
        buffer = {.offset = window::RegionOffset{data_.ConsumeIntegralInRange<std::uint64_t>(
                      Places::kData, Places::kRegionBytes)},
                  .length = data_.ConsumeIntegralInRange<std::uint32_t>(0, 4096)};
      }
      return all;
    };
    const std::vector<ring::Buffer> readable = buffers();
    const std::vector<ring::Buffer> writable = buffers();
    const std::uint32_t free = queue_.free_slots();
    const auto token = queue_.submit(readable, writable, cookie_);
    if (!token) {
      CHECK(queue_.free_slots() == free);
      return;
    }
    const auto count = static_cast<std::uint32_t>(readable.size() + writable.size());
    CHECK(queue_.slots_for(count) <= count);
    FuzzedRequest request{.id = std::to_underlying(*token), .slots = queue_.slots_for(count)};
    for (const ring::Buffer& buffer : writable)
      request.writable_bytes += buffer.length;
    CHECK(queue_.free_slots() == free - request.slots);
    unused_.push_back(request);
    live_.emplace(cookie_++, request);
  }

  void poll() {
    for (std::uint32_t i = 0; i <= size_.value(); ++i) {
      const auto polled = queue_.poll();
      if (!polled) {
        CHECK(queue_.broken() == polled.error());
        return;
      }
      const std::optional<ring::Completion>& done = *polled;
      if (!done) return;
      const auto found = live_.find(done->cookie);
      CHECK(found != live_.end() && found->second.published);
      CHECK(done->written_bytes <= found->second.writable_bytes);
      // Cookies count up.
      CHECK(!features_.in_order || found == live_.begin());
      CHECK(done->length_reported ||
            (features_.in_order && done->written_bytes == found->second.writable_bytes));
      live_.erase(found);
      std::erase_if(unused_, [&](const FuzzedRequest& request) {
        return request.id == std::to_underlying(done->token);
      });
    }
    CHECK(false);  // more completions than the queue has slots
  }

  FuzzedDataProvider& data_;
  ring::Features features_;
  ring::QueueSize size_;
  ring::AreaOffsets areas_;
  Queue queue_;
  Peer peer_;
  std::map<std::uint64_t, FuzzedRequest> live_;  // by cookie, so in the order of their submission
  std::vector<FuzzedRequest> unused_;            // what the device may return
  std::uint64_t cookie_ = 0;
};

}  // namespace airlock::testing
