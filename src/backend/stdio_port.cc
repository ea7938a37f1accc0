// SPDX-License-Identifier: Apache-2.0
#include "backend/stdio_port.h"

#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <utility>

#include "backend/port_io.h"

namespace airlock::backend {

namespace {
constexpr std::byte kEscape{0x01};  // Ctrl-A
constexpr std::byte kQuit{'x'};
constexpr std::size_t kAheadBytes = 4096;
}  // namespace

Result<std::unique_ptr<StdioPort>> StdioPort::open() {
  std::unique_ptr<StdioPort> port(new StdioPort);
  TRY(port->set_up());
  return port;
}

Result<void> StdioPort::set_up() {
  if (::isatty(STDIN_FILENO) == 1) TRY(set_up_terminal());
  // Output first: input may be the same open file, and is to be given back as it was at first.
  output_flag_ = TRY(set_nonblocking(STDOUT_FILENO, true));
  input_flag_ = TRY(set_nonblocking(STDIN_FILENO, true));
  return {};
}

Result<void> StdioPort::set_up_terminal() {
  sigset_t changes;
  sigemptyset(&changes);
  sigaddset(&changes, SIGWINCH);
  if (::pthread_sigmask(SIG_BLOCK, &changes, nullptr) != 0) return fail(system_error());
  size_changes_ = TRY(own_fd(::signalfd(-1, &changes, SFD_NONBLOCK | SFD_CLOEXEC)));
  size_ = terminal_size(STDIN_FILENO);
  termios now{};
  if (::tcgetattr(STDIN_FILENO, &now) != 0) return fail(system_error());
  before_ = now;
  ::cfmakeraw(&now);
  now.c_oflag |= OPOST;  // what others write to it, our log above all, stays readable
  if (::tcsetattr(STDIN_FILENO, TCSANOW, &now) != 0) return fail(system_error());
  return {};
}

StdioPort::~StdioPort() {
  if (before_) static_cast<void>(::tcsetattr(STDIN_FILENO, TCSANOW, &*before_));
  if (input_flag_) static_cast<void>(set_nonblocking(STDIN_FILENO, *input_flag_));
  if (output_flag_) static_cast<void>(set_nonblocking(STDOUT_FILENO, *output_flag_));
}

void StdioPort::add_watches(const PortInterest& interest, std::vector<pollfd>& target) const {
  if (size_changes_) {
    target.push_back({.fd = size_changes_.get(), .events = POLLIN, .revents = 0});
  }
  // A terminal is listened to always: there has to be a way out of it.
  if ((interest.input || before_) && !input_ended_) {
    target.push_back({.fd = STDIN_FILENO, .events = POLLIN, .revents = 0});
  }
  if (interest.output && !output_ended_) {
    target.push_back({.fd = STDOUT_FILENO, .events = POLLOUT, .revents = 0});
  }
}

void StdioPort::attend(const PortInterest& /*interest*/) {
  signalfd_siginfo changed{};
  if (size_changes_ &&
      read_now(size_changes_.get(), std::as_writable_bytes(std::span(&changed, 1))).bytes > 0) {
    size_ = terminal_size(STDIN_FILENO);
  }
  if (before_ && !input_ended_) listen();
}

// What is typed ahead of a guest is kept, so much at most.
void StdioPort::listen() {
  std::array<std::byte, kAheadBytes> typed;
  const PortTransfer done = read_now(STDIN_FILENO, typed);
  input_ended_ = done.ended;
  const std::size_t count = without_escapes(std::span(typed).first(done.bytes));
  const std::size_t kept = std::min(count, kAheadBytes - ahead_.size());
  ahead_.insert(ahead_.end(), typed.begin(), typed.begin() + static_cast<std::ptrdiff_t>(kept));
}

std::size_t StdioPort::read(std::span<std::byte> target) {
  if (before_) {
    const std::size_t count = std::min(target.size(), ahead_.size());
    const auto end = ahead_.begin() + static_cast<std::ptrdiff_t>(count);
    std::copy(ahead_.begin(), end, target.begin());
    ahead_.erase(ahead_.begin(), end);
    return count;
  }
  if (input_ended_) return 0;
  const PortTransfer done = read_now(STDIN_FILENO, target);
  input_ended_ = done.ended;
  return done.bytes;
}

// Takes Ctrl-A and what follows it out of `bytes`; how many are left.
std::size_t StdioPort::without_escapes(std::span<std::byte> bytes) {
  std::size_t left = 0;
  for (const std::byte byte : bytes) {
    if (!std::exchange(escaped_, false)) {
      escaped_ = byte == kEscape;
      if (!escaped_) bytes[left++] = byte;
      continue;
    }
    if (byte == kQuit) static_cast<void>(::raise(SIGTERM));
    if (byte == kEscape) bytes[left++] = byte;
  }
  return left;
}

std::size_t StdioPort::write(std::span<const std::byte> source) {
  if (output_ended_) return source.size();
  const PortTransfer done = write_now(STDOUT_FILENO, source);
  output_ended_ = done.ended;
  return done.ended ? source.size() : done.bytes;
}

}  // namespace airlock::backend
