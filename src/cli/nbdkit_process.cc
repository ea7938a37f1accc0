// SPDX-License-Identifier: Apache-2.0
#include "cli/nbdkit_process.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <utility>

namespace airlock::cli {

namespace {

// Where a socket is that was inherited listening, by the convention that systemd began.
constexpr int kFirstListener = 3;
constexpr int kReport = 4;
constexpr int kNoProgram = 127;  // as a shell has it
constexpr std::size_t kLineMost = 4096;

std::vector<std::string> command_line(const NbdkitProcess::Options& options) {
  std::vector<std::string> words{options.program,      "--foreground",
                                 "--exit-with-parent",
                                 "--threads=32",  // of each connection: its requests in flight
                                 options.plugin,       "report-fd=" + std::to_string(kReport)};
  if (options.read_only) words.insert(words.begin() + 1, "--readonly");
  words.insert(words.end(), options.settings.begin(), options.settings.end());
  return words;
}

// Puts `fd` in the place `to`, open after exec. `fd` is not between 3 and 4.
bool place(int fd, int to) {
  return dup2(fd, to) == to;  // without close-on-exec
}

// In the child: never returns. What it needs was made before: nothing here may allocate much.
[[noreturn]] void become_nbdkit(const NbdkitProcess::Options& options, int report,
                                std::vector<char*>& words) {
  sigset_t none;
  sigemptyset(&none);
  const std::string own_pid = std::to_string(getpid());
  // NOLINTBEGIN(concurrency-mt-unsafe): the child has one thread
  if (place(options.listener, kFirstListener) && place(report, kReport) &&
      setenv("LISTEN_FDS", "1", 1) == 0 && setenv("LISTEN_PID", own_pid.c_str(), 1) == 0 &&
      sigprocmask(SIG_SETMASK, &none, nullptr) == 0) {
    execv(words[0], words.data());
  }
  // NOLINTEND(concurrency-mt-unsafe)
  _exit(kNoProgram);
}

}  // namespace

Result<NbdkitProcess> NbdkitProcess::start(const Options& options) {
  std::array<int, 2> ends{};
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    return fail(system_error());
  }
  Fd reports(ends[0]);
  const Fd theirs(ends[1]);
  // Copies that lie above the places they go to, so that neither overwrites the other.
  const Fd listener = TRY(own_fd(fcntl(options.listener, F_DUPFD_CLOEXEC, kReport + 1)));
  const Fd report = TRY(own_fd(fcntl(theirs.get(), F_DUPFD_CLOEXEC, kReport + 1)));
  std::vector<std::string> texts = command_line(options);
  std::vector<char*> words;
  words.reserve(texts.size() + 1);
  for (std::string& text : texts)
    words.push_back(text.data());
  words.push_back(nullptr);
  Options in_child = options;
  in_child.listener = listener.get();
  const pid_t pid = fork();
  if (pid < 0) return fail(system_error());
  if (pid == 0) become_nbdkit(in_child, report.get(), words);
  return NbdkitProcess(pid, std::move(reports));
}

NbdkitProcess::NbdkitProcess(NbdkitProcess&& other) noexcept
    : pid_(std::exchange(other.pid_, 0)),
      reports_(std::move(other.reports_)),
      unread_(std::move(other.unread_)),
      ended_(other.ended_) {}

NbdkitProcess::~NbdkitProcess() {
  if (pid_ == 0) return;
  kill(pid_, SIGKILL);
  (void)wait();
}

std::vector<attach::Report> NbdkitProcess::read_reports() {
  std::array<char, 1024> bytes{};
  const ssize_t got = ::read(reports_.get(), bytes.data(), bytes.size());
  if (got < 0 && errno == EINTR) return {};
  if (got <= 0 || unread_.size() > kLineMost) {
    ended_ = true;
    return {};
  }
  unread_.append(bytes.data(), static_cast<std::size_t>(got));
  std::vector<attach::Report> reports;
  for (;;) {
    const std::size_t end = unread_.find('\n');
    if (end == std::string::npos) return reports;
    if (auto report = attach::parse_report(std::string_view(unread_).substr(0, end))) {
      reports.push_back(std::move(*report));
    }
    unread_.erase(0, end + 1);
  }
}

void NbdkitProcess::ask_to_end() const {
  static_cast<void>(shutdown(reports_.get(), SHUT_WR));
}

int NbdkitProcess::wait() {
  constexpr int kSignalled = 128;
  int status = 0;
  while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  pid_ = 0;
  return WIFEXITED(status) ? WEXITSTATUS(status) : kSignalled + WTERMSIG(status);
}

}  // namespace airlock::cli
