// SPDX-License-Identifier: Apache-2.0
#include "cli/socket_connector.h"

#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include <fmt/core.h>

#include "wire/socket.h"

namespace airlock::cli {

namespace {

/// A message each way; a socket comes with the answer if `error` is 0.
struct Question {
  std::uint64_t id;
  std::uint32_t port;
  std::uint32_t seqpacket;
};
struct Reply {
  std::uint64_t id;
  std::int32_t error;
  std::int32_t unused;
};

/// Room for the one descriptor of an answer.
struct Control {
  alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof(int))> bytes;
};

Result<Fd> connect_to(const std::string& prefix, const Question& question) {
  const sockaddr_un address =
      TRY(vfio_user::unix_address(fmt::format("{}_{}", prefix, question.port)));
  const int type = question.seqpacket != 0 ? SOCK_SEQPACKET : SOCK_STREAM;
  Fd socket = TRY(own_fd(::socket(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)));
  if (::connect(socket.get(), vfio_user::as_sockaddr(address), sizeof address) != 0) {
    return fail(system_error());
  }
  return socket;
}

bool answer(int way, Reply reply, int socket) {
  Control control = {};
  iovec vector{.iov_base = &reply, .iov_len = sizeof reply};
  msghdr message = {};
  message.msg_iov = &vector;
  message.msg_iovlen = 1;
  if (socket >= 0) {
    message.msg_control = control.bytes.data();
    message.msg_controllen = control.bytes.size();
    cmsghdr* const header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof socket);
    std::memcpy(CMSG_DATA(header), &socket, sizeof socket);
  }
  return sendmsg(way, &message, MSG_NOSIGNAL) == sizeof reply;
}

/// In the child. Never returns.
[[noreturn]] void connect_until_closed(const std::string& prefix, int way) {
  // As the socket's keeper: nobody waits for our stderr, the server's end is the server's alone,
  // and a signal to the whole group is the server's to act on.
  if (dup2(way, STDIN_FILENO) < 0 || close_range(STDIN_FILENO + 1, ~0U, 0) != 0) _exit(1);
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, nullptr);
  prctl(PR_SET_NAME, "socket-connect", 0, 0, 0);
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
  Question question{};
  while (read(STDIN_FILENO, &question, sizeof question) == sizeof question) {
    const auto socket = connect_to(prefix, question);
    const auto error = socket ? 0 : static_cast<std::int32_t>(socket.error().detail);
    if (!answer(STDIN_FILENO, {.id = question.id, .error = error, .unused = 0},
                socket ? socket->get() : -1)) {
      break;
    }
  }
  _exit(0);
}

}  // namespace

Result<std::unique_ptr<SocketConnector>> SocketConnector::start(const std::string& prefix) {
  if (prefix.size() > kPrefixMost) return fail(system_error(ENAMETOOLONG));
  std::array<int, 2> ends{-1, -1};
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    return fail(system_error());
  }
  Fd mine(ends[0]);
  const Fd its(ends[1]);
  const pid_t child = fork();
  if (child < 0) return fail(system_error());
  if (child == 0) connect_until_closed(prefix, its.get());
  return std::unique_ptr<SocketConnector>(new SocketConnector(std::move(mine)));
}

Result<void> SocketConnector::ask(std::uint64_t id, std::uint32_t port, device::VsockType type) {
  Question question{
      .id = id, .port = port, .seqpacket = type == device::VsockType::kSeqpacket ? 1U : 0U};
  if (::send(way_.get(), &question, sizeof question, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
    return fail(system_error());
  }
  return {};
}

Result<std::optional<SocketConnector::Answer>> SocketConnector::take() {
  Reply reply{};
  Control control = {};
  iovec vector{.iov_base = &reply, .iov_len = sizeof reply};
  msghdr message = {};
  message.msg_iov = &vector;
  message.msg_iovlen = 1;
  message.msg_control = control.bytes.data();
  message.msg_controllen = control.bytes.size();
  const ssize_t count = recvmsg(way_.get(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (count < 0) {
    if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) return std::nullopt;
    return fail(system_error());
  }
  if (count != sizeof reply) return fail(Errc::kPeerClosed);
  Answer answer{.id = reply.id, .socket = Fd(), .error = reply.error};
  const cmsghdr* const header = CMSG_FIRSTHDR(&message);
  if (header != nullptr && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS) {
    int fd = -1;
    std::memcpy(&fd, CMSG_DATA(header), sizeof fd);
    answer.socket = Fd(fd);
  }
  // Out of descriptors: the answer came without.
  if (!answer.socket && answer.error == 0) answer.error = EMFILE;
  return std::optional<Answer>(std::move(answer));
}

}  // namespace airlock::cli
