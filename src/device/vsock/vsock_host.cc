// SPDX-License-Identifier: Apache-2.0
#include "device/vsock/vsock_host.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <utility>

#include "base/check.h"

namespace airlock::device {

namespace {

/// What epoll calls what is neither a listener, by its place, nor a connection.
enum Name : std::uint64_t { kWake = VsockHost::kListenersMost, kAnswers };
static_assert(kAnswers < VsockConnections::kFirstId);

constexpr std::size_t kEventsMost = 64;
constexpr unsigned kAcceptsMost = 16;
/// Told once, when something changes: a socket that its connection can't use now must not keep the
/// thread awake.
constexpr std::uint32_t kSocketEvents = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;

Result<void> make_nonblocking(int fd) {
  const int flags = fcntl(fd, F_GETFL);
  if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) return fail(system_error());
  return {};
}

}  // namespace

std::optional<std::uint32_t> parse_connect_line(std::string_view line) {
  constexpr std::string_view kWord = "CONNECT ";
  if (!line.starts_with(kWord) || !line.ends_with('\n')) return std::nullopt;
  const std::string_view number = line.substr(kWord.size(), line.size() - kWord.size() - 1);
  std::uint32_t port = 0;
  const auto parsed = std::from_chars(number.begin(), number.end(), port);
  if (parsed.ec != std::errc() || parsed.ptr != number.end()) return std::nullopt;
  return port;
}

Result<std::unique_ptr<VsockHost>> VsockHost::create(Options options) {
  Fd epoll = TRY(own_fd(epoll_create1(EPOLL_CLOEXEC)));
  std::unique_ptr<VsockHost> host(new VsockHost(std::move(options), std::move(epoll)));
  for (std::size_t name = 0; name < host->doors_.size(); ++name) {
    const int fd = host->doors_[name].listener.socket.get();
    TRY(make_nonblocking(fd));
    TRY(host->watch(fd, name, EPOLLIN | EPOLLET));
  }
  TRY(host->watch(host->connections_.rx_event().fd(), kWake, EPOLLIN | EPOLLET));
  TRY(host->watch(host->connector_.answer_fd(), kAnswers, EPOLLIN | EPOLLET));
  return host;
}

VsockHost::VsockHost(Options options, Fd epoll)
    : connections_(*options.connections), connector_(*options.connector), epoll_(std::move(epoll)) {
  CHECK(options.listeners.size() <= kListenersMost);
  for (VsockListener& listener : options.listeners)
    doors_.push_back({.listener = std::move(listener)});
}

Result<void> VsockHost::watch(int fd, std::uint64_t id, std::uint32_t events) const {
  epoll_event event = {};
  event.events = events;
  event.data.u64 = id;
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) return fail(system_error());
  return {};
}

bool VsockHost::poll() {
  std::array<epoll_event, kEventsMost> events;
  const int count = epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), 0);
  for (int i = 0; i < count; ++i) {
    const epoll_event& event = events.at(static_cast<std::size_t>(i));
    const std::uint64_t id = event.data.u64;
    if (id == kWake) {
      static_cast<void>(connections_.rx_event().drain());
    } else if (id == kAnswers) {
      answers_ = true;
    } else if (id < doors_.size()) {
      doors_[id].ready = true;
    } else if (clients_.contains(id)) {
      read_line(id);
    } else {
      connections_.socket_event(id, event.events);
    }
  }
  if (answers_) take_answers();
  bool more = false;
  for (Door& door : doors_) {
    if (door.ready) more |= accept(door);
  }
  return count > 0 || more;
}

void VsockHost::take_answers() {
  answers_ = false;
  for (;;) {
    auto answer = connector_.take();
    // A connector that is gone answers nobody: connections that wait for it stay few, and the guest
    // gives them up.
    if (!answer || !*answer) return;
    // NOLINTBEGIN(bugprone-unchecked-optional-access): looked at just before
    const std::uint64_t id = (*answer)->id;
    const auto fd = connections_.connected(id, std::move((*answer)->socket));
    // NOLINTEND(bugprone-unchecked-optional-access)
    if (fd && !watch(*fd, id, kSocketEvents)) connections_.socket_event(id, EPOLLERR);
  }
}

// True if somebody came.
bool VsockHost::accept(Door& door) {
  const VsockListener& listener = door.listener;
  for (unsigned i = 0; i < kAcceptsMost; ++i) {
    Fd socket(accept4(listener.socket.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!socket) {
      // Without descriptors they wait, and are tried again with whatever happens next.
      door.ready = errno != EAGAIN && errno != EWOULDBLOCK;
      return i > 0;
    }
    const std::uint64_t id = connections_.new_id();
    if (!watch(socket.get(), id, kSocketEvents)) continue;
    if (listener.port) {
      static_cast<void>(connections_.offer(id, {.socket = std::move(socket),
                                                .type = listener.type,
                                                .guest_port = *listener.port,
                                                .hears_ok = false}));
      continue;
    }
    if (clients_.size() == kClientsMost) drop(clients_.begin()->first);
    clients_.emplace(id, Client{.socket = std::move(socket), .type = listener.type});
  }
  return true;
}

void VsockHost::drop(std::uint64_t id) {
  clients_.erase(id);
  connections_.drop_client();
}

// What follows the line is the guest's: it is looked at first, and taken up to its end.
void VsockHost::read_line(std::uint64_t id) {
  const auto found = clients_.find(id);
  CHECK(found != clients_.end());
  const int socket = found->second.socket.get();
  std::array<char, kLongestLine.size()> text{};
  const ssize_t seen = recv(socket, text.data(), text.size(), MSG_PEEK | MSG_DONTWAIT);
  if (seen < 0 && (errno == EAGAIN || errno == EINTR)) return;
  const std::string_view bytes(text.data(), seen > 0 ? static_cast<std::size_t>(seen) : 0);
  const std::size_t end = bytes.find('\n');
  if (end == std::string_view::npos && !bytes.empty() && bytes.size() < text.size() &&
      found->second.type == VsockType::kStream) {
    return;  // the rest will bring another event
  }
  const auto port =
      parse_connect_line(bytes.substr(0, end == std::string_view::npos ? 0 : end + 1));
  if (!port || recv(socket, text.data(), end + 1, MSG_DONTWAIT) < 0) {
    drop(id);
    return;
  }
  Client client = std::move(found->second);
  clients_.erase(found);
  static_cast<void>(connections_.offer(
      id, {.socket = std::move(client.socket), .type = client.type, .guest_port = *port}));
}

}  // namespace airlock::device
