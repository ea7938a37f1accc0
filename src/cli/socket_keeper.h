// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "base/fd.h"
#include "wire/listener.h"

namespace airlock::cli {

/// A process that removes a socket's file at the end, for one that will have no paths any more. It
/// sleeps until then, with nothing open but the way to hear of it, and does nothing else: told by a
/// process that was taken over, it removes that process's own socket.
class SocketKeeper {
 public:
  /// Starts it, for the file at `path`. The process has one thread yet, and has nothing open that
  /// should not be forked. Errors: kSystem.
  static Result<SocketKeeper> start(const std::string& path);

  SocketKeeper() = default;
  ~SocketKeeper() { remove(); }
  SocketKeeper(SocketKeeper&&) = default;
  SocketKeeper& operator=(SocketKeeper&&) = default;
  SocketKeeper(const SocketKeeper&) = delete;
  SocketKeeper& operator=(const SocketKeeper&) = delete;

  /// Tells it which file it is. Errors: kSystem.
  [[nodiscard]] Result<void> keep(const vfio_user::SocketFile& file) const;
  /// Has the file removed, if it is still the one it was, and returns when it is. Idempotent.
  /// A process that dies instead leaves the file to the next server there, which replaces it.
  void remove();

 private:
  explicit SocketKeeper(Fd way) : way_(std::move(way)) {}
  Fd way_;
};

}  // namespace airlock::cli
