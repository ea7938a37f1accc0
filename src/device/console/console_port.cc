// SPDX-License-Identifier: Apache-2.0
#include "device/console/console_port.h"

#include <algorithm>
#include <utility>

namespace airlock::device {

namespace {
/// Bytes each way in one round, so that the ports have their turns.
constexpr std::size_t kRoundBytes = 16384;
}  // namespace

Result<std::unique_ptr<ConsolePort>> ConsolePort::create(Options options, Wake& host) {
  Wake input = TRY(Wake::create());
  Wake room = TRY(Wake::create());
  return std::unique_ptr<ConsolePort>(
      new ConsolePort(std::move(options), host, std::move(input), std::move(room)));
}

ConsolePort::ConsolePort(Options options, Wake& host, Wake input, Wake room)
    : name_(std::move(options.name)),
      is_console_(options.is_console),
      host_wake_(host),
      input_wake_(std::move(input)),
      room_wake_(std::move(room)),
      backend_(std::move(options.backend)),
      piece_(kRoundBytes),
      size_(backend_->window_size().value_or(backend::WindowSize())),
      input_(kInputBytes),
      output_(kOutputBytes),
      connected_(backend_->connected()),
      connections_(connected_ ? backend_->connections() : 0) {}

bool ConsolePort::has_input() const {
  const std::scoped_lock held(lock_);
  return !input_.empty();
}

std::size_t ConsolePort::take_input(std::span<std::byte> target) {
  std::size_t count = 0;
  bool was_full = false;
  {
    const std::scoped_lock held(lock_);
    was_full = input_.room() == 0;
    count = input_.peek(target);
    input_.drop(count);
    counts_.to_guest += count;
  }
  if (was_full && count > 0) host_wake_.signal();
  return count;
}

bool ConsolePort::takes_output() const {
  const std::scoped_lock held(lock_);
  return drops() || output_.room() > 0;
}

std::size_t ConsolePort::put_output(std::span<const std::byte> source) {
  std::size_t taken = 0;
  {
    const std::scoped_lock held(lock_);
    const std::size_t kept = connected_ ? output_.put(source) : 0;
    taken = drops() ? source.size() : kept;
    counts_.from_guest += taken;
    counts_.dropped += taken - kept;
  }
  if (taken > 0) host_wake_.signal();
  return taken;
}

void ConsolePort::set_guest_open(bool open) {
  {
    const std::scoped_lock held(lock_);
    guest_open_ = open;
    if (!open) input_.clear();
  }
  host_wake_.signal();
}

backend::PortInterest ConsolePort::interest() const {
  const std::scoped_lock held(lock_);
  return {
      .guest = guest_open_, .input = guest_open_ && input_.room() > 0, .output = !output_.empty()};
}

void ConsolePort::add_watches(std::vector<pollfd>& target) const {
  backend_->add_watches(interest(), target);
}

ConsolePort::Change ConsolePort::serve() {
  Change change;
  backend_->attend(interest());
  notice_host(change);
  send_output();
  fetch_input();
  notice_host(change);
  const auto size = backend_->window_size();
  if (size && *size != size_) {
    size_ = *size;
    change.size = true;
  }
  return change;
}

// What was on its way to one who has gone is not for the next.
void ConsolePort::notice_host(Change& change) {
  const bool connected = backend_->connected();
  const std::uint64_t connections = connected ? backend_->connections() : connections_;
  {
    const std::scoped_lock held(lock_);
    if (connected == connected_ && connections == connections_) return;
    change.host = true;
    change.anew |= connections != connections_;
    counts_.dropped += output_.size();
    output_.clear();
    connected_ = connected;
    connections_ = connections;
  }
  room_wake_.signal();
}

void ConsolePort::fetch_input() {
  std::size_t room = 0;
  {
    const std::scoped_lock held(lock_);
    if (guest_open_ && connected_) room = std::min(input_.room(), piece_.size());
  }
  const std::size_t count = backend_->read(std::span(piece_).first(room));
  if (count == 0) return;
  {
    const std::scoped_lock held(lock_);
    // Closed meanwhile: nobody wants it.
    if (guest_open_) input_.put(std::span(piece_).first(count));
  }
  input_wake_.signal();
}

void ConsolePort::send_output() {
  std::size_t count = 0;
  {
    const std::scoped_lock held(lock_);
    count = output_.peek(piece_);
  }
  if (count == 0) return;
  const std::size_t sent = backend_->write(std::span(piece_).first(count));
  if (sent == 0) return;
  {
    const std::scoped_lock held(lock_);
    output_.drop(sent);
  }
  room_wake_.signal();
}

bool ConsolePort::connected() const {
  const std::scoped_lock held(lock_);
  return connected_;
}

ConsolePortCounts ConsolePort::counts() const {
  const std::scoped_lock held(lock_);
  ConsolePortCounts counts = counts_;
  counts.connections = connections_;
  return counts;
}

}  // namespace airlock::device
