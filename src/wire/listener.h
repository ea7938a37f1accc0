// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/socket.h>
#include <sys/types.h>

#include <string>

#include "base/fd.h"

namespace airlock::vfio_user {

/// The file that a socket is reached by, and which one it was.
struct SocketFile {
  std::string path;  // empty: none
  dev_t device = 0;
  ino_t inode = 0;

  /// Removes it, unless somebody has put another in its place.
  void remove() const;
};

/// A listening UNIX socket, and the file that it is reached by. Non-blocking, close-on-exec.
/// Movable; the file is removed with it, unless somebody has put another in its place.
class Listener {
 public:
  struct Options {
    int type = SOCK_STREAM;  // or SOCK_SEQPACKET
    int backlog = 8;         // clients that wait to be taken
  };

  /// Makes the socket file, in place of one that nobody listens on any more.
  /// Errors: kSystem: ENAMETOOLONG, EADDRINUSE (a live server is there), ENOTSOCK (the path is
  /// something else, which is left alone), and those of the system calls.
  static Result<Listener> create(const std::string& path) { return create(path, Options()); }
  static Result<Listener> create(const std::string& path, const Options& options);
  /// Takes over a socket that listens already. There is no file to remove.
  static Result<Listener> adopt(Fd socket);

  Listener() = default;
  ~Listener() { file_.remove(); }
  Listener(Listener&& other) noexcept;
  Listener& operator=(Listener&& other) noexcept;
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  [[nodiscard]] int fd() const { return fd_.get(); }
  explicit operator bool() const { return static_cast<bool>(fd_); }

  /// Gives the socket away; its file is left to whoever knows file().
  [[nodiscard]] Fd release();
  [[nodiscard]] const SocketFile& file() const { return file_; }

  /// The next client, non-blocking and close-on-exec; an empty Fd if none waits.
  /// Errors: kSystem (EMFILE and its like: worth another try later).
  [[nodiscard]] Result<Fd> accept() const;

 private:
  Fd fd_;
  SocketFile file_;
};

}  // namespace airlock::vfio_user
