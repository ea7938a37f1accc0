// SPDX-License-Identifier: Apache-2.0
#include "guard/guard.h"

#include <sys/epoll.h>

#include <utility>

#include "base/log.h"

namespace airlock::guard {

Guard::Guard(const Device::Options& options, vfio_user::Listener listener, DeviceSource& source,
             Audit& audit, std::unique_ptr<Poller> poller)
    : options_(options),
      listener_(std::move(listener)),
      source_(source),
      audit_(audit),
      poller_(std::move(poller)) {}

Result<std::unique_ptr<Guard>> Guard::create(const Device::Options& options,
                                             vfio_user::Listener listener, DeviceSource& source,
                                             Audit& audit, int lifeline) {
  auto poller = TRY(Poller::create());
  std::unique_ptr<Guard> guard(
      new Guard(options, std::move(listener), source, audit, std::move(poller)));
  TRY(guard->watch(lifeline));
  return guard;
}

Result<void> Guard::watch(int lifeline) {
  listener_watch_ = TRY(poller_->watch(listener_.fd(), EPOLLIN, [this] { accept(); }));
  lifeline_watch_ = TRY(poller_->watch(lifeline, EPOLLIN, [this] { stopped_ = true; }));
  return {};
}

void Guard::accept() {
  auto socket = listener_.accept();
  if (!socket) {
    log(LogLevel::kWarning, "a client can't be taken: {}", describe(socket.error()));
    return;
  }
  if (!*socket) return;
  if (vm_) {
    log(LogLevel::kWarning, "a second client is turned away: the device has one");
    return;
  }
  vm_ended_ = false;
  vm_ = std::make_unique<VmSession>(options_, *poller_, source_, audit_, std::move(*socket),
                                    [this] { vm_ended_ = true; });
  if (auto started = vm_->start(); !started) {
    log(LogLevel::kError, "a client can't be served: {}", describe(started.error()));
    vm_ended_ = true;
  }
}

Result<void> Guard::run() {
  while (!stopped_) {
    TRY(poller_->wait(vm_ ? vm_->next_deadline() : std::nullopt));
    if (vm_) vm_->tick(Clock::now());
    if (!vm_ended_) continue;
    vm_.reset();
    vm_ended_ = false;
    audit_.write_counters();
  }
  vm_.reset();
  audit_.write_counters();
  return {};
}

}  // namespace airlock::guard
