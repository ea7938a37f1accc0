// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/fd.h"

namespace airlock::backend {

/// A descriptor that is readable when another one, which somebody waits for, takes more. One
/// thread.
class WritableWake {
 public:
  /// Before a sandbox. Errors: kSystem.
  static Result<WritableWake> create();

  [[nodiscard]] int fd() const { return epoll_.get(); }
  /// Waits for `fd` to be writable, or lost, in place of any other. It stays open until disarm().
  void arm(int fd);
  /// Waits for nothing any more.
  void disarm();

 private:
  explicit WritableWake(Fd epoll) : epoll_(std::move(epoll)) {}

  Fd epoll_;
  int armed_ = -1;
};

}  // namespace airlock::backend
