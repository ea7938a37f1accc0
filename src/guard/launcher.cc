// SPDX-License-Identifier: Apache-2.0
#include "guard/launcher.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <utility>
#include <vector>

#include "base/log.h"
#include "guard/launcher_message.h"
#include "guard/poller.h"
#include "sandbox/lonely_process.h"
#include "wire/socket.h"

namespace airlock::guard {

using Kind = LauncherMessage::Kind;

// -- The guard's end.

Result<void> LauncherClient::ask(int region) {
  return send_message(socket_.get(), {.kind = Kind::kAsk, .number = ++asked_, .error = 0}, region);
}

Result<void> LauncherClient::end() {
  return send_message(socket_.get(), {.kind = Kind::kEnd, .number = ++asked_, .error = 0}, -1);
}

Result<std::optional<Fd>> LauncherClient::take() {
  auto message = TRY(receive_message(socket_.get()));
  // An answer to a request that has been withdrawn: its connection is closed here.
  if (!message || message->wire.number != asked_) return std::nullopt;
  if (message->wire.error != 0) return fail(system_error(message->wire.error));
  return std::move(message->fd);
}

// -- The launcher's.

namespace {

// By systemd's convention (sd_listen_fds) inherited fds begin here.
constexpr int kFirstInherited = 3;
// How long a device that was started may take until it serves its socket: the first one, and one
// that first waits for what the process before it has in flight.
constexpr auto kServeWithin = std::chrono::seconds(4);
constexpr auto kServeAgainWithin = std::chrono::seconds(30);

Result<Fd> connect_to(const std::string& path) {
  const sockaddr_un address = TRY(vfio_user::unix_address(path));
  Fd socket = TRY(own_fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)));
  if (::connect(socket.get(), vfio_user::as_sockaddr(address), sizeof address) != 0) {
    return fail(system_error());
  }
  return socket;
}

std::string shell_word(const std::string& text) {
  std::string word = "'";
  for (const char c : text)
    word += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return word + "'";
}

std::string replaced(std::string text, const std::string& what, const std::string& with) {
  for (std::size_t at = text.find(what); at != std::string::npos;
       at = text.find(what, at + with.size())) {
    text.replace(at, what.size(), with);
  }
  return text;
}

// In the child, which has one thread: never returns. `parent` ends when the parent has gone, and
// has a byte in it if that was there still when the child could not outlive it any more.
[[noreturn]] void become_device(const std::string& command, std::span<const int> inherited,
                                const char* names, int parent) {
  constexpr int kNoProgram = 127;
  sigset_t none;
  sigemptyset(&none);
  char there = 0;
  const std::string count = std::to_string(inherited.size());
  const std::string own_pid = std::to_string(getpid());
  // NOLINTBEGIN(concurrency-mt-unsafe)
  bool placed = prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && read(parent, &there, 1) == 1 &&
                sigprocmask(SIG_SETMASK, &none, nullptr) == 0;
  for (std::size_t i = 0; i < inherited.size(); ++i) {
    const int to = kFirstInherited + static_cast<int>(i);
    placed = placed && dup2(inherited[i], to) == to;  // without close-on-exec
  }
  if (placed && setenv("LISTEN_FDS", count.c_str(), 1) == 0 &&
      setenv("LISTEN_FDNAMES", names, 1) == 0 && setenv("LISTEN_PID", own_pid.c_str(), 1) == 0) {
    execl("/bin/sh", "sh", "-c", command.c_str(), nullptr);
  }
  // NOLINTEND(concurrency-mt-unsafe)
  _exit(kNoProgram);
}

// A device gets at no other process, if this machine has a way to keep it from them.
Result<pid_t> fork_device() {
  auto pid = sandbox::fork_alone();
  if (pid) return pid;
  log(LogLevel::kWarning,
      "the device can get at other processes of its user: it can't be alone here ({})",
      describe(pid.error()));
  const pid_t plain = fork();
  if (plain < 0) return fail(system_error());
  return plain;
}

}  // namespace

Launcher::~Launcher() {
  end();
}

void Launcher::end() {
  if (process_.pid == 0) return;
  kill(process_.pid, SIGKILL);
  while (waitpid(process_.pid, nullptr, 0) < 0 && errno == EINTR) {
  }
  process_ = {};
  unlink(options_.socket.c_str());
}

Result<void> Launcher::start(const Fd& region) {
  unlink(options_.socket.c_str());
  if (!region) {
    state_ = TRY(shm::SealedMemfd::create({.name = "airlock-state", .size = kStateBytes}));
  }
  // Copies above the places that they go to, so that none overwrites another.
  std::vector<Fd> copies;
  copies.push_back(TRY(own_fd(fcntl(state_.fd().get(), F_DUPFD_CLOEXEC, kFirstInherited + 2))));
  if (region) {
    copies.push_back(TRY(own_fd(fcntl(region.get(), F_DUPFD_CLOEXEC, kFirstInherited + 2))));
  }
  std::vector<int> inherited;
  inherited.reserve(copies.size());
  for (const Fd& copy : copies)
    inherited.push_back(copy.get());
  const char* const names = region ? "airlock-state:airlock-region" : "airlock-state";
  // `exec`, so that the process is the device and not its shell.
  const std::string command =
      "exec " + replaced(options_.command, "{socket}", shell_word(options_.socket));
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) return fail(system_error());
  const Fd reader(ends[0]);
  Fd writer(ends[1]);
  const pid_t pid = TRY(fork_device());
  if (pid == 0) {
    writer.reset();
    become_device(command, inherited, names, reader.get());
  }
  process_.pid = pid;
  if (write(writer.get(), "", 1) != 1) return fail(system_error());
  process_.pidfd = TRY(own_fd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0))));
  return {};
}

Result<Fd> Launcher::connect_when_ready(TimePoint deadline) const {
  // There is no telling when a socket of another program begins to listen but to try.
  for (int pause_ms = 1;; pause_ms = std::min(pause_ms * 2, 20)) {
    auto socket = connect_to(options_.socket);
    if (socket || (socket.error().detail != ENOENT && socket.error().detail != ECONNREFUSED)) {
      return socket;
    }
    pollfd ended{.fd = process_.pidfd.get(), .events = POLLIN, .revents = 0};
    if (poll(&ended, 1, pause_ms) == 1) return fail(system_error(ECHILD));
    if (Clock::now() >= deadline) return fail(system_error(ETIMEDOUT));
  }
}

Result<Fd> Launcher::get(Fd region) {
  if (!options_.connect.empty()) return connect_to(options_.connect);
  end();
  TRY(start(region));
  auto socket = connect_when_ready(Clock::now() + (region ? kServeAgainWithin : kServeWithin));
  if (!socket) end();
  return socket;
}

Result<void> Launcher::handle() {
  auto message = TRY(receive_message(socket_.get()));
  if (!message) return {};
  if (message->wire.kind != Kind::kAsk) {
    end();
    return {};
  }
  const auto socket = get(std::move(message->fd));
  LauncherMessage::Wire answer{.kind = Kind::kAnswer, .number = message->wire.number, .error = 0};
  if (!socket) {
    answer.error =
        socket.error().code == Errc::kSystem ? static_cast<int>(socket.error().detail) : EINVAL;
  }
  return send_message(socket_.get(), answer, socket ? socket->get() : -1);
}

void Launcher::serve(int signals) {
  while (true) {
    std::array<pollfd, 2> waits{{{.fd = socket_.get(), .events = POLLIN, .revents = 0},
                                 {.fd = signals, .events = POLLIN, .revents = 0}}};
    if (poll(waits.data(), waits.size(), -1) < 0) continue;
    if (waits[1].revents != 0) return;
    if (waits[0].revents == 0) continue;
    if (const auto handled = handle(); !handled) {
      if (handled.error().code != Errc::kPeerClosed) {
        log(LogLevel::kError, "the launcher: {}", describe(handled.error()));
      }
      return;
    }
  }
}

}  // namespace airlock::guard
