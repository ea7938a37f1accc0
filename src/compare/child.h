// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <functional>
#include <span>

#include "base/fd.h"

namespace airlock::compare {

/// A process that was forked from this one and is gone with its handle, or with this one.
class Child {
 public:
  /// Runs `body` in a new process that has standard input, output and error, and of all other
  /// descriptors `kept` alone; an error of it goes to stderr as `name: ...`. Call it before there
  /// is anything in this process that the child must not know: it has a copy. Errors: kSystem.
  static Result<Child> start(const char* name, std::span<const int> kept,
                             const std::function<Result<void>()>& body);

  Child() = default;
  ~Child() { end(); }
  Child(Child&& other) noexcept : pid_(std::exchange(other.pid_, 0)) {}
  Child& operator=(Child&& other) noexcept {
    end();
    pid_ = std::exchange(other.pid_, 0);
    return *this;
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  [[nodiscard]] pid_t pid() const { return pid_; }
  /// Kills it, and waits until it is gone.
  void end();

 private:
  explicit Child(pid_t pid) : pid_(pid) {}
  pid_t pid_ = 0;
};

/// Closes this process to others of its user: no tracing, no reading of its memory.
/// Errors: kSystem.
Result<void> close_to_others();

}  // namespace airlock::compare
