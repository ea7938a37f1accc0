// SPDX-License-Identifier: Apache-2.0
#include "guard/launcher_message.h"

#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "wire/socket.h"

namespace airlock::guard {

Result<void> send_message(int socket, const LauncherMessage::Wire& wire, int fd) {
  const auto sent =
      TRY(vfio_user::send_some(socket, std::as_bytes(std::span(&wire, 1)),
                               fd < 0 ? std::span<const int>() : std::span<const int>(&fd, 1)));
  if (sent != sizeof wire) return fail(system_error(EAGAIN));
  return {};
}

Result<std::optional<LauncherMessage>> receive_message(int socket) {
  LauncherMessage message;
  alignas(cmsghdr) std::byte control[CMSG_SPACE(sizeof(int))];
  iovec vector = {.iov_base = &message.wire, .iov_len = sizeof message.wire};
  msghdr header = {};
  header.msg_iov = &vector;
  header.msg_iovlen = 1;
  header.msg_control = control;
  header.msg_controllen = sizeof control;
  const ssize_t got = recvmsg(socket, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return std::nullopt;
  if (got == 0 || (got < 0 && errno == ECONNRESET)) return fail(Errc::kPeerClosed);
  if (got < 0) return fail(system_error());
  const cmsghdr* const rights = CMSG_FIRSTHDR(&header);
  if (rights != nullptr && rights->cmsg_level == SOL_SOCKET && rights->cmsg_type == SCM_RIGHTS) {
    int fd = -1;
    std::memcpy(&fd, CMSG_DATA(rights), sizeof fd);
    message.fd = Fd(fd);
  }
  const bool whole = (header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) == 0;
  if (got != sizeof message.wire || !whole) return fail(Errc::kMalformed);
  return message;
}

}  // namespace airlock::guard
