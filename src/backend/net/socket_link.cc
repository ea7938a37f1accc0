// SPDX-License-Identifier: Apache-2.0
#include "backend/net/socket_link.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <utility>

namespace airlock::backend {

Result<std::unique_ptr<SocketLink>> SocketLink::create(Options options, NetCounters& counters) {
  Fd epoll = TRY(own_fd(epoll_create1(EPOLL_CLOEXEC)));
  EventFd event = TRY(EventFd::create());
  WritableWake writable = TRY(WritableWake::create());
  Fd socket = std::move(options.socket);
  std::unique_ptr<SocketLink> link(new SocketLink(std::move(options), counters, std::move(epoll),
                                                  std::move(event), std::move(writable)));
  link->watch(link->send_event_.fd());
  if (socket) {
    link->install(std::move(socket));
  } else {
    link->wait_for_next();
  }
  return link;
}

// What brings the next one is watched only as long as there is none: a connector that dies
// meanwhile would be readable for ever, and nobody would look.
void SocketLink::wait_for_next() {
  if (options_.listener) return watch(options_.listener.get());
  if (!options_.connector) return;
  watch(options_.connector->fd());
  options_.connector->ask();
}

const Fd* SocketLink::receiving(bool& anew) {
  if (send_failed_.load(std::memory_order_relaxed) != 0) {
    static_cast<void>(send_event_.drain());
    // There may be another one since, which is as good as new.
    const std::uint64_t failed = send_failed_.exchange(0);
    if (receiving_ && failed == generation_.load(std::memory_order_relaxed)) {
      lost("it takes nothing");
    }
  }
  if (!receiving_) {
    Fd next = fetch();
    if (next) install(std::move(next));
  }
  const std::uint64_t now = generation_.load(std::memory_order_relaxed);
  anew = std::exchange(receiving_generation_, now) != now;
  return receiving_.get();
}

void SocketLink::lost(std::string_view why) {
  CHECK(receiving_);
  // The sending thread may wait for it to take more.
  static_cast<void>(::shutdown(receiving_->get(), SHUT_RDWR));
  unwatch(receiving_->get());
  receiving_.reset();
  up_.store(false, std::memory_order_relaxed);
  share(nullptr);
  counters_.count_disconnect();
  wait_for_next();
  const bool next = options_.listener || options_.connector;
  say(LogLevel::kWarning, "lost the peer: {}{}", why, next ? "; waiting for the next" : "");
  if (changed_) changed_();
}

void SocketLink::install(Fd socket) {
  receiving_ = std::make_shared<const Fd>(std::move(socket));
  watch(receiving_->get());
  up_.store(true, std::memory_order_relaxed);
  share(receiving_);
  if (counters_.counts().disconnects > 0) say(LogLevel::kInfo, "there is a peer again");
  if (changed_) changed_();
}

void SocketLink::share(Shared socket) {
  const std::scoped_lock held(lock_);
  shared_ = std::move(socket);
  // pairs with the acquire load in sending(): who sees a new number takes the lock
  generation_.fetch_add(1, std::memory_order_release);
}

// A socket that there is now, or an empty one.
Fd SocketLink::fetch() {
  if (options_.listener) {
    Fd accepted(::accept4(options_.listener.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (accepted) unwatch(options_.listener.get());
    return accepted;
  }
  if (!options_.connector) return {};
  auto taken = options_.connector->take();
  if (taken) {
    if (*taken) unwatch(options_.connector->fd());
    return std::move(*taken);
  }
  give_up_connector();
  return {};
}

void SocketLink::give_up_connector() {
  unwatch(options_.connector->fd());
  options_.connector.reset();
  say(LogLevel::kError, "the process that connects is gone: there will be no peer any more");
}

const Fd* SocketLink::sending(bool& anew) {
  anew = generation_.load(std::memory_order_acquire) != sending_generation_;
  if (anew) {
    writable_.disarm();
    const std::scoped_lock held(lock_);
    sending_ = shared_;
    sending_generation_ = generation_.load(std::memory_order_relaxed);
  }
  return sending_.get();
}

void SocketLink::report_lost() {
  writable_.disarm();
  // Until sending() has another.
  sending_.reset();
  // In this order: who sees the number drains the signal, and one that came behind it would stay.
  send_event_.signal();
  send_failed_.store(sending_generation_);
}

void SocketLink::wait_writable() {
  if (sending_) writable_.arm(sending_->get());
}

void SocketLink::watch(int fd) const {
  epoll_event event{.events = EPOLLIN, .data = {.fd = fd}};
  static_cast<void>(epoll_ctl(receive_epoll_.get(), EPOLL_CTL_ADD, fd, &event));
}

void SocketLink::unwatch(int fd) const {
  static_cast<void>(epoll_ctl(receive_epoll_.get(), EPOLL_CTL_DEL, fd, nullptr));
}

// A peer can cause these lines.
template <class... Args>
void SocketLink::say(LogLevel level, fmt::format_string<Args...> format, Args&&... args) {
  if (!log_limit_.allow()) return;
  log(level, "{}: {}", options_.name, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace airlock::backend
