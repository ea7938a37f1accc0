// SPDX-License-Identifier: Apache-2.0
#include "cli/host_vsock.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <linux/vm_sockets.h>

#include <bit>

namespace airlock::cli {

namespace {

/// As the system calls want it: they are of one size.
sockaddr vsock_address(std::uint32_t cid, std::uint32_t port) {
  sockaddr_vm address{};
  address.svm_family = AF_VSOCK;
  address.svm_cid = cid;
  address.svm_port = port;
  return std::bit_cast<sockaddr>(address);
}

Result<Fd> make_vsock_stream() {
  return own_fd(::socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0));
}

}  // namespace

Result<Fd> connect_vsock(std::uint32_t cid, std::uint32_t port) {
  const sockaddr address = vsock_address(cid, port);
  Fd socket = TRY(make_vsock_stream());
  if (::connect(socket.get(), &address, sizeof address) != 0 ||
      fcntl(socket.get(), F_SETFL, O_NONBLOCK) != 0) {
    return fail(system_error());
  }
  return socket;
}

Result<Fd> listen_vsock(std::uint32_t port, int backlog) {
  const sockaddr address = vsock_address(VMADDR_CID_ANY, port);
  Fd socket = TRY(make_vsock_stream());
  if (::bind(socket.get(), &address, sizeof address) != 0 || ::listen(socket.get(), backlog) != 0) {
    return fail(system_error());
  }
  return socket;
}

}  // namespace airlock::cli
