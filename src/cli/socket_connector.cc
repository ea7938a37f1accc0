// SPDX-License-Identifier: Apache-2.0
#include "cli/socket_connector.h"

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <span>
#include <utility>

#include <fmt/core.h>

#include "base/helper_process.h"
#include "cli/host_vsock.h"
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

Result<Fd> connect_to_path(const std::string& path, bool seqpacket) {
  const sockaddr_un address = TRY(vfio_user::unix_address(path));
  const int type = seqpacket ? SOCK_SEQPACKET : SOCK_STREAM;
  Fd socket = TRY(own_fd(::socket(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)));
  if (::connect(socket.get(), vfio_user::as_sockaddr(address), sizeof address) != 0) {
    return fail(system_error());
  }
  return socket;
}

}  // namespace

Result<std::unique_ptr<SocketConnector>> SocketConnector::to_paths(const std::string& prefix) {
  if (prefix.size() > kPrefixMost) return fail(system_error(ENAMETOOLONG));
  return start([&](std::uint32_t port, bool seqpacket) {
    return connect_to_path(fmt::format("{}_{}", prefix, port), seqpacket);
  });
}

Result<std::unique_ptr<SocketConnector>> SocketConnector::to_cid(std::uint32_t cid) {
  return start([cid](std::uint32_t port, bool seqpacket) -> Result<Fd> {
    if (seqpacket) return fail(system_error(ESOCKTNOSUPPORT));
    return connect_vsock(cid, port);
  });
}

/// In the process, until the other end of the way is closed.
void SocketConnector::connect_until_closed(const Connect& connect) {
  Question question{};
  while (read(helper_way(), &question, sizeof question) == sizeof question) {
    const auto socket = connect(question.port, question.seqpacket != 0);
    const Reply reply{.id = question.id,
                      .error = socket ? 0 : static_cast<std::int32_t>(socket.error().detail),
                      .unused = 0};
    const int fd = socket ? socket->get() : -1;
    if (!vfio_user::send_some(helper_way(), vfio_user::bytes_of(reply),
                              std::span(&fd, socket ? 1 : 0))) {
      return;
    }
  }
}

Result<std::unique_ptr<SocketConnector>> SocketConnector::start(const Connect& connect) {
  auto ways = TRY(start_helper({.name = "socket-connect"}, [&] { connect_until_closed(connect); }));
  return std::unique_ptr<SocketConnector>(new SocketConnector(std::move(ways.front())));
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
  vfio_user::Received received =
      TRY(vfio_user::receive_bytes(way_.get(), std::as_writable_bytes(std::span(&reply, 1))));
  if (received.bytes == 0) return std::nullopt;
  if (received.bytes != sizeof reply) return fail(Errc::kPeerClosed);
  Answer answer{.id = reply.id, .socket = Fd(), .error = reply.error};
  if (!received.fds.empty()) answer.socket = std::move(received.fds.front());
  // Out of descriptors: the answer came without.
  if (!answer.socket && answer.error == 0) answer.error = EMFILE;
  return std::optional<Answer>(std::move(answer));
}

}  // namespace airlock::cli
