// SPDX-License-Identifier: Apache-2.0
#include "testing/device_process.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <utility>

#include "base/check.h"

namespace airlock::testing {

namespace {

constexpr int kStateFd = 3;
constexpr int kRegionFd = 4;
constexpr int kSocketFd = 5;
constexpr int kBehindThose = 10;

/// Out of the way of the numbers that the process gets.
Fd moved_up(int fd) {
  return MUST(own_fd(fcntl(fd, F_DUPFD_CLOEXEC, kBehindThose)));
}

class SpawnActions {
 public:
  SpawnActions() { CHECK(posix_spawn_file_actions_init(&actions_) == 0); }
  ~SpawnActions() { posix_spawn_file_actions_destroy(&actions_); }
  SpawnActions(const SpawnActions&) = delete;
  SpawnActions& operator=(const SpawnActions&) = delete;

  /// `fd` becomes `number` there.
  void pass(int fd, int number) {
    kept_.push_back(moved_up(fd));
    CHECK(posix_spawn_file_actions_adddup2(&actions_, kept_.back().get(), number) == 0);
  }
  [[nodiscard]] const posix_spawn_file_actions_t* get() const { return &actions_; }

 private:
  posix_spawn_file_actions_t actions_{};
  std::vector<Fd> kept_;
};

std::vector<char*> pointers(std::vector<std::string>& strings) {
  std::vector<char*> all;
  all.reserve(strings.size() + 1);
  for (std::string& text : strings)
    all.push_back(text.data());
  all.push_back(nullptr);
  return all;
}

}  // namespace

DeviceProcess::DeviceProcess(const std::vector<std::string>& command, const Passed& passed) {
  std::array<int, 2> ends{};
  CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) == 0);
  socket_ = Fd(ends[0]);
  const Fd theirs(ends[1]);
  SpawnActions actions;
  actions.pass(theirs.get(), kSocketFd);
  std::vector<std::string> environment;
  for (char** variable = environ; *variable != nullptr; ++variable)
    environment.emplace_back(*variable);
  if (passed.state >= 0) {
    actions.pass(passed.state, kStateFd);
    environment.emplace_back(passed.region < 0 ? "LISTEN_FDS=1" : "LISTEN_FDS=2");
    environment.emplace_back(passed.region < 0 ? "LISTEN_FDNAMES=airlock-state"
                                               : "LISTEN_FDNAMES=airlock-state:airlock-region");
  }
  if (passed.region >= 0) actions.pass(passed.region, kRegionFd);
  // The number of the process is known to itself first; exec keeps it.
  std::vector<std::string> arguments{"sh", "-c", "LISTEN_PID=$$ exec \"$@\"", "sh"};
  arguments.insert(arguments.end(), command.begin(), command.end());
  arguments.insert(arguments.end(), {"--fd", std::to_string(kSocketFd)});
  CHECK(posix_spawn(&pid_, "/bin/sh", actions.get(), nullptr, pointers(arguments).data(),
                    pointers(environment).data()) == 0);
}

int DeviceProcess::kill() {
  if (pid_ < 0) return 0;
  ::kill(pid_, SIGKILL);
  int status = 0;
  while (waitpid(pid_, &status, 0) < 0)
    CHECK(errno == EINTR);
  pid_ = -1;
  return status;
}

}  // namespace airlock::testing
