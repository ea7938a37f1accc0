// SPDX-License-Identifier: Apache-2.0
//
// The trusted part of vmm-copy: a VMM serves the guest's queue as any device does.
#include <utility>

#include "compare/models/relay_trusted.h"
#include "compare/models/vmm_copy.h"
#include "ring/device_queue.h"

namespace airlock::compare {

namespace {

class VmmFront final : public RelayFront {
 public:
  explicit VmmFront(ring::DeviceQueue queue) : queue_(std::move(queue)) {}

  Result<bool> pop(RelayedChain& target) override {
    const auto head = TRY(queue_.pop(chain_));
    if (!head) return false;
    target.head = std::to_underlying(*head);
    target.readable.assign(chain_.readable().begin(), chain_.readable().end());
    target.writable.assign(chain_.writable().begin(), chain_.writable().end());
    return true;
  }
  Result<void> push_used(std::uint16_t head, std::uint32_t written) override {
    return queue_.push_used(ring::Head{head}, written);
  }
  void publish() override { queue_.publish(); }
  [[nodiscard]] bool guest_wants_interrupt() override { return queue_.driver_wants_interrupt(); }
  void suppress_notifications(bool suppressed) override {
    queue_.suppress_notifications(suppressed);
  }

 private:
  ring::DeviceQueue queue_;
  ring::Chain chain_{8};
};

Result<std::unique_ptr<RelayFront>> make_vmm_front(const QueueStart& queue,
                                                   const PrivateMemory& /*own*/,
                                                   const window::Window& window) {
  const ring::QueueSize size = TRY(ring::QueueSize::from(queue.size));
  return std::make_unique<VmmFront>(TRY(ring::DeviceQueue::create(
      {.size = size, .areas = queue.areas, .features = ring::Features::from(queue.features)},
      window)));
}

}  // namespace

Result<void> serve_vmm_copy(const Fd& guest, const Controls& /*controls*/) {
  return serve_relay(guest, make_vmm_front);
}

}  // namespace airlock::compare
