// SPDX-License-Identifier: Apache-2.0
#include "guard/poller.h"

#include <sys/epoll.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

namespace airlock::guard {

Poller::Watch::~Watch() {
  if (poller_ == nullptr) return;
  epoll_ctl(poller_->epoll_.get(), EPOLL_CTL_DEL, fd_, nullptr);
  poller_->callbacks_.erase(id_);
}

Poller::Watch::Watch(Watch&& other) noexcept
    : poller_(std::exchange(other.poller_, nullptr)),
      id_(other.id_),
      fd_(other.fd_),
      events_(other.events_) {}

Poller::Watch& Poller::Watch::operator=(Watch&& other) noexcept {
  std::swap(poller_, other.poller_);
  std::swap(id_, other.id_);
  std::swap(fd_, other.fd_);
  std::swap(events_, other.events_);
  return *this;
}

void Poller::Watch::wait_for(std::uint32_t events) {
  if (poller_ == nullptr || events == events_) return;
  events_ = events;
  epoll_event event{.events = events, .data = {.u64 = id_}};
  epoll_ctl(poller_->epoll_.get(), EPOLL_CTL_MOD, fd_, &event);
}

Result<std::unique_ptr<Poller>> Poller::create() {
  Fd epoll = TRY(own_fd(epoll_create1(EPOLL_CLOEXEC)));
  return std::unique_ptr<Poller>(new Poller(std::move(epoll)));
}

Result<Poller::Watch> Poller::watch(int fd, std::uint32_t events, Callback callback) {
  const std::uint64_t id = ++next_id_;
  epoll_event event{.events = events, .data = {.u64 = id}};
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) return fail(system_error());
  callbacks_.emplace(id, std::make_shared<Callback>(std::move(callback)));
  return Watch(*this, id, fd, events);
}

Result<bool> Poller::wait(std::optional<TimePoint> until) {
  timespec limit = {};
  if (until) {
    const auto left = std::max(*until - Clock::now(), Clock::duration::zero());
    const auto seconds = std::chrono::floor<std::chrono::seconds>(left);
    limit = {.tv_sec = seconds.count(), .tv_nsec = (left - seconds).count()};
  }
  std::array<epoll_event, 64> events;
  const int ready = epoll_pwait2(epoll_.get(), events.data(), static_cast<int>(events.size()),
                                 until ? &limit : nullptr, nullptr);
  if (ready < 0 && errno != EINTR) return fail(system_error());
  for (int i = 0; i < ready; ++i) {
    // A copy: the kernel's struct is packed, and nothing in it may be referred to.
    const std::uint64_t id = events[static_cast<std::size_t>(i)].data.u64;
    const auto found = callbacks_.find(id);
    if (found == callbacks_.end()) continue;  // an earlier callback of this round ended it
    const std::shared_ptr<Callback> kept = found->second;  // it may end its own watch
    (*kept)();
  }
  return ready > 0;
}

}  // namespace airlock::guard
