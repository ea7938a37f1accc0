// SPDX-License-Identifier: Apache-2.0
#include "device/net/net_ring.h"

#include "ring/features.h"
#include "ring/queue_size.h"

namespace airlock::device {

Result<NetRing> NetRing::open(const QueueContext& context) {
  const pci::QueueSetup& setup = context.setup;
  const ring::Features features = ring::Features::from(context.negotiated.features);
  const ring::QueueSize size = TRY(ring::QueueSize::from(setup.size, features.format));
  const ring::QueueConfig config{.queue = setup.index,
                                 .size = size,
                                 .areas = {.descriptors = setup.descriptor_area,
                                           .driver = setup.driver_area,
                                           .device = setup.device_area},
                                 .features = features,
                                 .record = context.record};
  return NetRing(TRY(ring::DeviceQueue::create(config, *context.window)), context.interrupt);
}

Result<bool> NetRing::take(ring::Chain& target) {
  if (!usable_) return unusable();
  const auto head = queue_.pop(target);
  if (!head) return break_with(head.error());
  return head->has_value();
}

void NetRing::give_back(const ring::Chain& chain, std::uint32_t written_bytes) {
  if (usable_ && queue_.push_used(chain.head(), written_bytes)) unshown_ = true;
}

void NetRing::show() {
  if (abandoned_ || !std::exchange(unshown_, false)) return;
  queue_.publish();
  if (queue_.driver_wants_interrupt() && interrupt_) interrupt_();
}

std::unexpected<Error> NetRing::break_with(Error error) {
  usable_ = false;
  error.queue = queue_.queue();
  return fail(error);
}

Result<void> NetRing::rebind() {
  // The ring still counts chains that no answer will come for.
  if (!usable_) return unusable();
  return queue_.rebind();
}

}  // namespace airlock::device
