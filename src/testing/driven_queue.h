// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "device/device_type.h"
#include "testing/chain_builder.h"
#include "testing/fake_driver.h"
#include "testing/test_region.h"

namespace airlock::testing {

/// One queue of any device type, with a driver that writes its split ring by hand: a test calls the
/// task's poll() itself, where a worker would. What can't be had stops the test (CHECK).
class DrivenQueue {
 public:
  /// `region` and `type` outlive it. `features` are what was negotiated.
  DrivenQueue(device::DeviceType& type, TestRegion& region, std::uint16_t queue,
              std::uint64_t features, std::uint16_t slots = 64)
      : type_(&type), features_(features), slots_(slots), ring_(region, slots, queue) {
    task_ = MUST(start());
  }

  [[nodiscard]] device::QueueTask& task() { return *task_; }
  [[nodiscard]] FakeDriver& ring() { return ring_; }
  [[nodiscard]] ChainBuilder chain() { return ChainBuilder(ring_); }
  [[nodiscard]] int interrupts() const { return *interrupts_; }

  /// A task for the same ring, as after a reset of the queue.
  [[nodiscard]] Result<std::unique_ptr<device::QueueTask>> start() {
    const ring::QueueConfig& config = ring_.config();
    device::QueueContext context;
    context.negotiated.features = features_;
    context.negotiated.reach = window::Reach::kRegion;
    context.setup = {.index = config.queue,
                     .size = slots_,
                     .descriptor_area = config.areas.descriptors,
                     .driver_area = config.areas.driver,
                     .device_area = config.areas.device};
    context.window = &ring_.region().window();
    context.interrupt = [count = interrupts_] { ++*count; };
    return type_->make_queue(context);
  }

  /// Until there is nothing more to do. Errors: the task's.
  Result<void> settle() {
    while (TRY(task_->poll())) {
    }
    return {};
  }
  /// The next used element, once all is done that can be now; the task must not be broken (CHECK).
  std::optional<ring::UsedElement> next_used() {
    MUST(settle());
    return ring_.take_used();
  }

 private:
  device::DeviceType* type_;
  std::uint64_t features_;
  std::uint16_t slots_;
  FakeDriver ring_;
  std::shared_ptr<int> interrupts_ = std::make_shared<int>(0);
  std::unique_ptr<device::QueueTask> task_;
};

}  // namespace airlock::testing
