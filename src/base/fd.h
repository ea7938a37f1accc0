// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <utility>

#include "base/result.h"

namespace airlock {

/// Owns one file descriptor and closes it. Movable, not copyable; empty after a move.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  ~Fd() { reset(); }
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    if (this != &other) {
      reset();
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;

  /// A duplicate with close-on-exec.
  [[nodiscard]] Result<Fd> duplicate() const;

  [[nodiscard]] int get() const { return fd_; }
  [[nodiscard]] int release() { return std::exchange(fd_, -1); }
  explicit operator bool() const { return fd_ >= 0; }
  void reset();

 private:
  int fd_ = -1;
};

/// Whether it has no file behind it, as an eventfd has none: writing to it raises no signal and
/// fills no disk, as writing to a pipe, a socket or a file may. For an fd that a peer sent.
[[nodiscard]] bool is_anonymous_inode(const Fd& fd);

/// An fd from a system call that returns -1 and sets errno on failure.
Result<Fd> own_fd(int returned);

}  // namespace airlock
