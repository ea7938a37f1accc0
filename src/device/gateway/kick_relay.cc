// SPDX-License-Identifier: Apache-2.0
#include "device/gateway/kick_relay.h"

#include <utility>

#include "ring/barrier.h"

namespace airlock::device {

Result<std::unique_ptr<KickRelay>> KickRelay::create(const ring::QueueConfig& config,
                                                     const window::Window& window,
                                                     const EventFd& kick) {
  const ring::Layout layout(config.size);
  const auto driver =
      TRY(window.translate(config.areas.driver, layout.driver().bytes, window::Access::kRead));
  const auto device =
      TRY(window.translate(config.areas.device, layout.device().bytes, window::Access::kWrite));
  std::unique_ptr<KickRelay> relay(new KickRelay(driver, device, kick));
  relay->used_.set_flags(0);
  return relay;
}

Result<bool> KickRelay::poll() {
  const ring::RingIndex now = avail_.acquire_index();
  if (!std::exchange(first_, false) && now == seen_) return false;
  seen_ = now;
  kick_.signal();
  return true;
}

void KickRelay::want_notifications(bool wanted) {
  if (!wanted) {
    if (ours_ || (flags_.flags() & spec::VIRTQ_USED_F_NO_NOTIFY) != 0) return;
    used_.set_flags(spec::VIRTQ_USED_F_NO_NOTIFY);
    ours_ = true;
    return;
  }
  if (!std::exchange(ours_, false)) return;
  used_.set_flags(0);
  // Between our store of used.flags and the load of avail.idx that must follow, in poll(). Pairs
  // with the driver's barrier between its store of avail.idx and its load of used.flags.
  ring::full_barrier();
}

void KickRelay::drain(bool /*discard*/) {
  want_notifications(true);
}

}  // namespace airlock::device
