// SPDX-License-Identifier: Apache-2.0
#include "sandbox/trial.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <bit>
#include <cerrno>
#include <csignal>
#include <cstring>

#include <fmt/core.h>

#include "base/fd.h"
#include "sandbox/sandbox.h"

namespace airlock::sandbox {

namespace {

/// What the child writes: nothing, if it is killed in its attempt.
constexpr char kMissing = 'm';   // then why
constexpr char kReturned = 'r';  // then the number

/// In the child. Never returns.
[[noreturn]] void attempt(const Trial& trial, const Profile& profile, const Outside& outside,
                          const Fd& answer) {
  // What is refused is logged, which here is no news.
  const Fd silence(open("/dev/null", O_RDWR | O_CLOEXEC));
  for (const int standard : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (silence) dup2(silence.get(), standard);
  }
  const Report report = enter(profile);
  std::string text;
  for (const Finding& finding : report.findings()) {
    if (finding.measure == trial.of && !finding.in_force) text = kMissing + finding.note;
  }
  if (text.empty()) text = fmt::format("{}{}", kReturned, trial.attempt(outside));
  const ssize_t written = write(answer.get(), text.data(), text.size());
  _exit(written < 0 ? 1 : 0);
}

std::string read_all(const Fd& source) {
  std::string text;
  std::array<char, 256> buffer{};
  for (ssize_t got = 0; (got = read(source.get(), buffer.data(), buffer.size())) > 0;) {
    text.append(buffer.data(), static_cast<std::size_t>(got));
  }
  return text;
}

Outcome judge(const Trial& trial, const std::string& answer, int status) {
  using enum Outcome::Kind;
  if (WIFSIGNALED(status)) {
    const int signal = WTERMSIG(status);
    return {.kind = signal == SIGSYS ? kPrevented : kDone,
            .text = fmt::format("killed (SIG{})", sigabbrev_np(signal))};
  }
  if (answer.empty()) return {.kind = kDone, .text = "no answer"};
  const std::string rest = answer.substr(1);
  if (answer.front() == kMissing) return {.kind = kSkipped, .text = rest};
  if (rest == std::to_string(Trial::kInForce)) return {.kind = kPrevented, .text = "in force"};
  for (const int refusal : {EPERM, EACCES, trial.refusal}) {
    if (refusal != 0 && rest == std::to_string(refusal)) {
      return {.kind = kPrevented, .text = fmt::format("refused ({})", strerrorname_np(refusal))};
    }
  }
  return {.kind = kDone,
          .text = rest == "0" ? "nothing prevented it" : fmt::format("errno {}", rest)};
}

Outcome could_not(const char* what) {
  return {.kind = Outcome::Kind::kDone,
          .text = fmt::format("{}: {}", what, describe(system_error()))};
}

}  // namespace

Outcome run(const Trial& trial, const Profile& profile) {
  std::array<int, 2> ends{-1, -1};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) return could_not("pipe");
  const Fd source(ends[0]);
  Fd target(ends[1]);
  const std::uint64_t secret = 1;
  const Outside outside{.process = getpid(), .address = std::bit_cast<std::uintptr_t>(&secret)};
  Profile mine = profile;
  mine.measures = profile.measures & trial.taken;
  const pid_t child = fork();
  if (child < 0) return could_not("fork");
  if (child == 0) attempt(trial, mine, outside, target);
  target.reset();
  const std::string answer = read_all(source);
  int status = 0;
  if (waitpid(child, &status, 0) != child) return could_not("wait");
  return judge(trial, answer, status);
}

}  // namespace airlock::sandbox
