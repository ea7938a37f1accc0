// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <utility>

#include "base/result.h"

namespace airlock::vfio_user {

/// The answer to a command that may take a while, to be given once: `reply({})` for success. Until
/// then the server takes no further message from that client, so replies stay in order.
/// Move-only; on the server's thread only. One that is destroyed unanswered answers kIoError, so
/// that no client waits for ever. Answering after the client left does nothing.
class Reply {
 public:
  using Function = std::move_only_function<void(Result<void>)>;

  Reply() = default;
  explicit Reply(Function function) : function_(std::move(function)) {}
  ~Reply() { drop(); }
  Reply(Reply&& other) noexcept : function_(std::exchange(other.function_, nullptr)) {}
  Reply& operator=(Reply&& other) noexcept {
    if (this != &other) {
      drop();
      function_ = std::exchange(other.function_, nullptr);
    }
    return *this;
  }
  Reply(const Reply&) = delete;
  Reply& operator=(const Reply&) = delete;

  /// Whether an answer is still due.
  explicit operator bool() const { return static_cast<bool>(function_); }

  /// Answers; a second call does nothing.
  void operator()(Result<void> result) {
    // Emptied first: what the answer sets off may destroy or reassign this object.
    Function function = std::exchange(function_, nullptr);
    if (function) function(std::move(result));
  }

 private:
  void drop() { (*this)(fail(Errc::kIoError)); }

  Function function_;
};

}  // namespace airlock::vfio_user
