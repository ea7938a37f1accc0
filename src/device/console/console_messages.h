// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <mutex>
#include <optional>
#include <span>

#include "device/console/console_control.h"
#include "device/wake.h"

namespace airlock::device {

/// A console's control messages, for all who have to do with them: the two control queues, the
/// host's thread, the control thread. Any thread.
class ConsoleMessages {
 public:
  ConsoleMessages(ConsoleControl control, Wake wake)
      : control_(std::move(control)), wake_(std::move(wake)) {}

  // As ConsoleControl has them.
  std::optional<ConsoleControl::Opened> take(const spec::VirtioConsoleControl& message) {
    const std::scoped_lock held(lock_);
    const auto opened = control_.take(message);
    announce();
    return opened;
  }
  void host_is(std::uint32_t port, bool connected, bool anew) {
    const std::scoped_lock held(lock_);
    control_.host_is(port, connected, anew);
    announce();
  }
  void resize(const backend::WindowSize& size) {
    const std::scoped_lock held(lock_);
    control_.resize(size);
    announce();
  }
  [[nodiscard]] bool has_message() const {
    const std::scoped_lock held(lock_);
    return control_.has_message();
  }
  std::size_t next(std::span<std::byte> target) {
    const std::scoped_lock held(lock_);
    return control_.next(target);
  }
  void reset() {
    const std::scoped_lock held(lock_);
    control_.reset();
  }
  [[nodiscard]] std::uint64_t ignored() const {
    const std::scoped_lock held(lock_);
    return control_.ignored();
  }

  /// Signalled when there is a message for a driver that found none.
  [[nodiscard]] Wake& wake() { return wake_; }

 private:
  void announce() {
    if (control_.has_message()) wake_.signal();
  }

  mutable std::mutex lock_;
  ConsoleControl control_;
  Wake wake_;
};

}  // namespace airlock::device
