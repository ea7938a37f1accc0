// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <memory>

#include "base/event_fd.h"
#include "device/queue_task.h"
#include "ring/layout.h"
#include "ring/split_areas.h"
#include "window/window.h"

namespace airlock::device {

/// Looks at a split ring that a backend in another process serves, and kicks that when the driver
/// made something available: so that the driver is spared the notification, a message through the
/// VMM for which one of its processors waits. Takes nothing, and writes nothing but used.flags.
///
/// Only without VIRTIO_F_EVENT_IDX, with which the backend alone can tell when it wants to hear of
/// chains. used.flags are the backend's too: its own NO_NOTIFY is left as it is, and where both
/// write, notifications come that nobody needed, and none stays away. For NO_NOTIFY is ours only
/// while somebody looks here, and who stops looking takes it back first. VIRTIO 1.3, 2.7.10.
///
/// The backend may break the ring; the index is compared with the one before it, and otherwise
/// nobody here believes it.
class KickRelay final : public QueueTask {
 public:
  /// For a backend that is not there yet: what one before it left in used.flags is forgotten.
  /// `kick` outlives it: what the backend waits for.
  /// Errors: those of Window::translate(), for areas that are not there.
  static Result<std::unique_ptr<KickRelay>> create(const ring::QueueConfig& config,
                                                   const window::Window& window,
                                                   const EventFd& kick);

  Result<bool> poll() override;
  void want_notifications(bool wanted) override;
  void idle_for(std::chrono::nanoseconds /*idle*/) override {}
  [[nodiscard]] int completion_fd() const override { return -1; }
  [[nodiscard]] std::size_t in_flight() const override { return 0; }
  /// Nobody looks from here on: the ring is left as the backend would have it.
  void drain(bool discard) override;
  [[nodiscard]] Result<void> rebind() override { return {}; }

 private:
  KickRelay(const shm::SharedBytes& driver, const shm::SharedBytes& device, const EventFd& kick)
      : avail_(driver), flags_(device), used_(device), kick_(kick) {}

  ring::AvailReader avail_;
  ring::UsedReader flags_;
  ring::UsedWriter used_;
  const EventFd& kick_;
  ring::RingIndex seen_;
  bool first_ = true;  // nothing was seen yet
  bool ours_ = false;  // NO_NOTIFY is
};

}  // namespace airlock::device
