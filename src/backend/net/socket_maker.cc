// SPDX-License-Identifier: Apache-2.0
#include "backend/net/socket_maker.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <utility>

namespace airlock::backend {

namespace {

constexpr int kConnectMs = 5000;
constexpr int kBacklog = 1;

Result<Fd> make_socket(int family, int type) {
  return own_fd(::socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
}

/// Waits for a connection that is on its way.
Result<void> await_connected(const Fd& socket) {
  pollfd writable{.fd = socket.get(), .events = POLLOUT, .revents = 0};
  const int ready = ::poll(&writable, 1, kConnectMs);
  if (ready < 0) return fail(system_error());
  if (ready == 0) return fail(system_error(ETIMEDOUT));
  int error = 0;
  socklen_t size = sizeof error;
  if (getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &error, &size) != 0) {
    return fail(system_error());
  }
  if (error != 0) return fail(system_error(error));
  return {};
}

Result<void> connect_within_time(const Fd& socket, const SocketAddress& remote) {
  const auto connected = remote.connect(socket);
  if (connected) return {};
  if (connected.error() != system_error(EINPROGRESS)) return fail(connected.error());
  return await_connected(socket);
}

/// A socket's file, to be known again.
struct BoundFile {
  dev_t device = 0;
  ino_t inode = 0;

  friend bool operator==(const BoundFile&, const BoundFile&) = default;
};

/// The socket's file at `address`, if there is one.
std::optional<BoundFile> bound_file(const SocketAddress& address) {
  const auto path = address.path();
  struct stat status = {};
  if (!path || lstat(path->c_str(), &status) != 0 || !S_ISSOCK(status.st_mode)) return {};
  return BoundFile{.device = status.st_dev, .inode = status.st_ino};
}

/// Makes way at `address`, where a socket's file is: removes one that is `own`, or that nobody has
/// any more. Errors: kSystem (EADDRINUSE: somebody has it, or may).
Result<void> make_way(const SocketAddress& address, int type, std::optional<BoundFile> own) {
  const auto found = bound_file(address);
  if (!found) return {};  // of anything else bind() speaks
  if (found != own) {
    const Fd probe = TRY(make_socket(address.family(), type));
    const auto there = address.connect(probe);
    // Only "refused" proves that nobody is there: a full backlog, another type of socket, one that
    // talks to somebody else or a missing permission does not.
    if (there || there.error() != system_error(ECONNREFUSED)) return fail(system_error(EADDRINUSE));
  }
  // NOLINTNEXTLINE(bugprone-unchecked-optional-access): found by its path
  if (unlink(address.path()->c_str()) != 0 && errno != ENOENT) return fail(system_error());
  return {};
}

/// A frame waits for no other, to be sent with it: we put them together ourselves.
void send_at_once(const Fd& socket, int family) {
  if (family == AF_UNIX) return;
  const int on = 1;
  static_cast<void>(setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on));
}

/// In the child. Never returns; an errno on `report` says why the program did not start.
[[noreturn]] void become(const std::string& program, const std::vector<std::string>& arguments,
                         int socket, int report) {
  std::vector<char*> argv;
  std::string name = program;
  std::vector<std::string> copies = arguments;
  argv.push_back(name.data());
  for (std::string& argument : copies)
    argv.push_back(argument.data());
  argv.push_back(nullptr);
  sigset_t none;
  sigemptyset(&none);
  pthread_sigmask(SIG_SETMASK, &none, nullptr);
  static_cast<void>(std::signal(SIGCHLD, SIG_DFL));
  static_cast<void>(std::signal(SIGPIPE, SIG_DFL));
  // Above the one number that matters, so that nothing is lost when that is taken.
  const int kept = fcntl(report, F_DUPFD_CLOEXEC, kProgramFd + 1);
  const int moved = fcntl(socket, F_DUPFD_CLOEXEC, kProgramFd + 1);
  const int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
  if (kept >= 0 && moved >= 0 && nothing >= 0 && dup2(nothing, STDIN_FILENO) >= 0 &&
      dup2(nothing, STDOUT_FILENO) >= 0 && dup2(moved, kProgramFd) >= 0 &&
      close_range(kProgramFd + 1, ~0U, CLOSE_RANGE_CLOEXEC) == 0) {
    execvp(name.c_str(), argv.data());
  }
  const int error = errno;
  static_cast<void>(!write(kept, &error, sizeof error));
  _exit(127);
}

/// Why the program did not start: what become() wrote before its end, or nothing.
Result<void> await_start(const Fd& report) {
  int error = 0;
  const ssize_t got = read(report.get(), &error, sizeof error);
  if (got < 0) return fail(system_error());
  if (got == sizeof error) return fail(system_error(error));
  return {};
}

Result<Fd> start_program(const std::string& program, const std::vector<std::string>& arguments) {
  std::array<int, 2> ends{-1, -1};
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    return fail(system_error());
  }
  Fd ours(ends[0]);
  Fd its(ends[1]);
  if (pipe2(ends.data(), O_CLOEXEC) != 0) return fail(system_error());
  const Fd reading(ends[0]);
  Fd writing(ends[1]);
  const pid_t child = fork();
  if (child < 0) return fail(system_error());
  if (child == 0) become(program, arguments, its.get(), writing.get());
  writing.reset();
  its.reset();
  TRY(await_start(reading));
  if (fcntl(ours.get(), F_SETFL, O_NONBLOCK) != 0) return fail(system_error());
  return ours;
}

}  // namespace

SocketMaker stream_to(const SocketAddress& remote) {
  return [remote]() -> Result<Fd> {
    Fd socket = TRY(make_socket(remote.family(), SOCK_STREAM));
    send_at_once(socket, remote.family());
    TRY(connect_within_time(socket, remote));
    return socket;
  };
}

SocketMaker datagrams_between(const SocketAddress& local, const SocketAddress& remote) {
  // The last one may be in use by a thread yet that does not know that its peer is gone.
  return [local, remote, own = std::optional<BoundFile>()]() mutable -> Result<Fd> {
    Fd socket = TRY(make_socket(remote.family(), SOCK_DGRAM));
    TRY(make_way(local, SOCK_DGRAM, own));
    TRY(local.bind(socket));
    own = bound_file(local);
    TRY(remote.connect(socket));
    return socket;
  };
}

Result<Fd> listen_at(const SocketAddress& local) {
  TRY(make_way(local, SOCK_STREAM, {}));
  Fd socket = TRY(make_socket(local.family(), SOCK_STREAM));
  const int on = 1;
  static_cast<void>(setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on));
  TRY(local.bind(socket));
  if (::listen(socket.get(), kBacklog) != 0) return fail(system_error());
  return socket;
}

SocketMaker stream_to_program(std::string program, std::vector<std::string> arguments) {
  return [program = std::move(program), arguments = std::move(arguments)] {
    return start_program(program, arguments);
  };
}

}  // namespace airlock::backend
