// SPDX-License-Identifier: Apache-2.0
#include "backend/nbd/nbd_link.h"

#include <libnbd.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include <fmt/core.h>

#include "backend/nbd/nbd_connector.h"

namespace airlock::backend {

namespace {

enum Source : std::uint32_t { kTimerEvent, kWayEvent, kServerEvent };

/// Answers taken in one go: other requests of the queue wait meanwhile.
constexpr int kReadsMost = 64;

Result<void> add(const Fd& events, const Fd& fd, Source source) {
  epoll_event event{.events = EPOLLIN, .data = {.u32 = source}};
  if (epoll_ctl(events.get(), EPOLL_CTL_ADD, fd.get(), &event) != 0) return fail(system_error());
  return {};
}

bool readable(int fd) {
  pollfd look{.fd = fd, .events = POLLIN, .revents = 0};
  return ::poll(&look, 1, 0) > 0;
}

std::string last_error() {
  const char* const text = nbd_get_error();
  return text != nullptr ? text : "the connection ended";
}

}  // namespace

Result<std::unique_ptr<NbdLink>> NbdLink::create(NbdServer& server, Fd way) {
  Fd events = TRY(own_fd(epoll_create1(EPOLL_CLOEXEC)));
  Fd timer = TRY(own_fd(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)));
  TRY(add(events, timer, kTimerEvent));
  TRY(add(events, way, kWayEvent));
  return std::unique_ptr<NbdLink>(
      new NbdLink(server, std::move(way), std::move(events), std::move(timer)));
}

NbdLink::NbdLink(NbdServer& server, Fd way, Fd events, Fd timer)
    : server_(&server),
      way_(std::move(way)),
      events_(std::move(events)),
      timer_(std::move(timer)) {}

NbdLink::~NbdLink() {
  // A server is told that its client leaves, if it can be told at once.
  if (ready()) static_cast<void>(nbd_aio_disconnect(handle_, 0));
  close();
}

void NbdLink::start() {
  if (state_ == State::kNew) ask();
}

void NbdLink::drive() {
  std::array<epoll_event, 3> events{};
  const int count = epoll_wait(events_.get(), events.data(), static_cast<int>(events.size()), 0);
  for (int i = 0; i < count; ++i) {
    const epoll_event& event = events[static_cast<std::size_t>(i)];
    switch (event.data.u32) {
      case kTimerEvent:
        on_timer();
        break;
      case kWayEvent:
        on_answer();
        break;
      default:
        on_server(event.events);
    }
  }
}

void NbdLink::ask() {
  state_ = State::kAsking;
  if (!ask_for_connection(way_)) end_without_connector();
}

void NbdLink::on_timer() {
  std::uint64_t expirations = 0;
  if (::read(timer_.get(), &expirations, sizeof expirations) < 0) return;
  if (state_ == State::kResting) ask();
  if (state_ == State::kShaking) failed("it does not get to the end of the handshake");
}

void NbdLink::on_answer() {
  auto answer = take_connection(way_);
  if (!answer && state_ == State::kAsking) return end_without_connector();
  if (!answer) {
    // What is connected stays so, until it is lost.
    static_cast<void>(epoll_ctl(events_.get(), EPOLL_CTL_DEL, way_.get(), nullptr));
    return;
  }
  if (!*answer || state_ != State::kAsking) return;
  // NOLINTNEXTLINE(bugprone-unchecked-optional-access): looked at above
  Connected& connected = **answer;
  if (connected) return shake_hands(std::move(*connected));
  failed(connected.error());
}

// TLS, if there is any, is the connector's.
void NbdLink::shake_hands(Fd socket) {
  handle_ = nbd_create();
  if (handle_ == nullptr) return failed(last_error());
  state_ = State::kShaking;
  set_timer(kHandshakeMost);
  // Simple replies only: their data is complete, so that no buffer needs to be cleared before.
  if (nbd_set_export_name(handle_, server_->export_name.c_str()) != 0 ||
      nbd_set_request_structured_replies(handle_, false) != 0 ||
      nbd_set_pread_initialize(handle_, false) != 0 ||
      nbd_aio_connect_socket(handle_, socket.release()) != 0) {
    return failed(last_error());
  }
  look();
}

void NbdLink::on_server(std::uint32_t events) {
  if (handle_ == nullptr) return;
  for (int i = 0; i < kReadsMost; ++i) {
    const unsigned direction = nbd_aio_get_direction(handle_);
    const int before = nbd_aio_in_flight(handle_);
    const bool can_read = (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0;
    const bool can_write = (events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0;
    int outcome = 0;
    if (can_read && (direction & LIBNBD_AIO_DIRECTION_READ) != 0) {
      outcome = nbd_aio_notify_read(handle_);
    } else if (can_write && (direction & LIBNBD_AIO_DIRECTION_WRITE) != 0) {
      outcome = nbd_aio_notify_write(handle_);
    }
    if (outcome != 0) why_ = last_error();
    // One answer at a time: as long as some come there may be more.
    if (outcome != 0 || state_ != State::kReady || nbd_aio_in_flight(handle_) >= before) break;
    failures_ = 0;  // it not only connects
    // libnbd begins to take an answer when it is told of one, and does nothing else until it has
    // it.
    if (!readable(nbd_aio_get_fd(handle_))) break;
  }
  look();
}

void NbdLink::look() {
  if (handle_ == nullptr) return;
  if (nbd_aio_is_dead(handle_) != 0 || nbd_aio_is_closed(handle_) != 0) {
    return failed(why_.empty() ? "the server ended the connection" : why_);
  }
  if (state_ == State::kShaking && nbd_aio_is_ready(handle_) != 0) {
    settled();
    if (state_ != State::kReady) return;
  }
  watch();
}

void NbdLink::watch() {
  const unsigned direction = nbd_aio_get_direction(handle_);
  std::uint32_t wanted = 0;
  if ((direction & LIBNBD_AIO_DIRECTION_READ) != 0) wanted |= EPOLLIN;
  if ((direction & LIBNBD_AIO_DIRECTION_WRITE) != 0) wanted |= EPOLLOUT;
  if (wanted == watched_) return;
  epoll_event event{.events = wanted, .data = {.u32 = kServerEvent}};
  const int how = watched_ == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
  if (epoll_ctl(events_.get(), how, nbd_aio_get_fd(handle_), &event) != 0) {
    return failed(describe(system_error()));
  }
  watched_ = wanted;
}

void NbdLink::settled() {
  auto found = NbdExport::read(handle_);
  if (!found) return failed(found.error());
  if (!server_->exported) {
    server_->exported = *found;
  } else if (auto same = found->replaces(*server_->exported); !same) {
    return failed("its export has changed: " + same.error());
  }
  state_ = State::kReady;
  why_.clear();
  set_timer(std::chrono::milliseconds(0));
  if (std::exchange(told_, false)) {
    log(LogLevel::kInfo, "{}: connected again: requests go on", server_->name);
  }
}

void NbdLink::drop(const std::string& why) {
  if (handle_ != nullptr) failed(why);
}

void NbdLink::failed(std::string why) {
  close();
  why_ = std::move(why);
  if (std::exchange(state_, State::kResting) == State::kReady) ++losses_;
  // The first connection of all is its caller's to report.
  if (server_->exported && !told_ && server_->losses.allow()) {
    told_ = true;
    log(LogLevel::kWarning, "{}: {}: requests wait until it is back", server_->name, why_);
  }
  const unsigned doublings = std::min(failures_++, 10U);
  set_timer(std::min(kDelayFirst * (1U << doublings), kDelayMost));
}

void NbdLink::end_without_connector() {
  close();
  if (std::exchange(state_, State::kDead) == State::kReady) ++losses_;
  ++failures_;
  why_ = "the process that connects is gone";
  log(LogLevel::kError, "{}: {}: restart this one", server_->name, why_);
  static_cast<void>(epoll_ctl(events_.get(), EPOLL_CTL_DEL, way_.get(), nullptr));
}

void NbdLink::set_timer(std::chrono::milliseconds delay) const {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(delay);
  itimerspec when{};
  when.it_value.tv_sec = seconds.count();
  when.it_value.tv_nsec = std::chrono::nanoseconds(delay - seconds).count();
  static_cast<void>(timerfd_settime(timer_.get(), 0, &when, nullptr));
}

void NbdLink::close() {
  if (handle_ == nullptr) return;
  nbd_close(std::exchange(handle_, nullptr));  // and the socket, which leaves events_ by that
  watched_ = 0;
}

}  // namespace airlock::backend
