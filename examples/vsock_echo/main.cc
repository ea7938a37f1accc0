// SPDX-License-Identifier: Apache-2.0
//
// An echo over virtio-vsock, as a guest would have it, without a guest: this program is the driver.
//
//   airlock serve vsock --socket /tmp/vsock.sock --uds /tmp/host &
//   vsock_echo vfio-user:/tmp/vsock.sock listen 5000 &
//   printf 'CONNECT 5000\nhello\n' | socat - UNIX-CONNECT:/tmp/host
//
// or the other way round, to whatever listens at /tmp/host_6000 and echoes:
//   vsock_echo vfio-user:/tmp/vsock.sock connect 6000 hello
#include <charconv>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "driver/open_by_name.h"
#include "driver/vsock.h"

using airlock::Result;
using airlock::driver::SocketId;
using airlock::driver::SocketType;
using airlock::driver::Vsock;

namespace {

constexpr std::size_t kBlockBytes = 65536;

/// One peer, until it has no more to say.
Result<void> echo(Vsock& vsock, std::uint32_t port) {
  const SocketId socket = TRY(vsock.accept(port, SocketType::kStream));
  std::vector<std::byte> block(kBlockBytes);
  for (;;) {
    const auto received = TRY(vsock.receive(socket, block));
    if (received.end) break;
    TRY(vsock.send(socket, std::span(block).first(received.bytes)));
  }
  TRY(vsock.close(socket));
  return vsock.wait_closed();
}

Result<void> ask(Vsock& vsock, std::uint32_t port, std::string_view text) {
  const SocketId socket = TRY(vsock.connect(port, SocketType::kStream));
  TRY(vsock.send(socket, std::as_bytes(std::span(text))));
  std::string answer(text.size(), '\0');
  for (std::size_t have = 0; have < answer.size();) {
    const auto target = std::as_writable_bytes(std::span(answer)).subspan(have);
    const auto received = TRY(vsock.receive(socket, target));
    if (received.end) break;
    have += received.bytes;
  }
  std::puts(answer.c_str());
  TRY(vsock.close(socket));
  return vsock.wait_closed();
}

Result<void> run(Vsock& vsock, std::string_view mode, std::uint32_t port, std::string_view text) {
  if (mode == "connect") return ask(vsock, port, text);
  TRY(vsock.listen(port, SocketType::kStream));
  std::printf("cid %u listens on port %u\n", vsock.cid(), port);
  std::fflush(stdout);
  return echo(vsock, port);
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string_view> words(argv, argv + argc);
  std::uint32_t port = 0;
  if (argc < 4 || std::from_chars(words[3].begin(), words[3].end(), port).ec != std::errc()) {
    std::fputs("usage: vsock_echo DEVICE listen|connect PORT [TEXT]\n", stderr);
    return 2;
  }
  auto device = airlock::driver::open_by_name(argv[1]);
  if (!device) {
    std::fprintf(stderr, "%s: %s\n", device.error().what.c_str(), device.error().why.c_str());
    return 1;
  }
  auto vsock = Vsock::open(std::move(device->transport), {});
  const auto done =
      vsock ? run(**vsock, words[2], port, argc > 4 ? words[4] : "hello") : Result<void>();
  const auto* const error = !vsock ? &vsock.error() : !done ? &done.error() : nullptr;
  if (error == nullptr) return 0;
  std::fprintf(stderr, "%s\n", airlock::describe(*error).c_str());
  return 1;
}
