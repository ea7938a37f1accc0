// SPDX-License-Identifier: Apache-2.0
#include "cli/guard.h"

#include <fcntl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <utility>

#include "base/log.h"
#include "cli/listening.h"
#include "guard/guard.h"
#include "guard/launcher.h"
#include "guard/policy.h"
#include "sandbox/sandbox.h"
#include "sandbox/self_test.h"

namespace airlock::cli {

namespace {

Outcome check(const GuardOptions& options) {
  if (options.listen.empty()) {
    return usage("guard", "it needs --listen", "give the socket that the VMM connects to");
  }
  if (options.connect.empty() == options.exec.empty()) {
    return usage("guard", "it needs one of --connect and --exec",
                 "give the device's socket, or the command that starts it");
  }
  if (!options.exec.empty() && options.exec.find("{socket}") == std::string::npos) {
    return usage("--exec", "the command does not say where the device is to be found",
                 "put {socket} where it takes its socket's path");
  }
  return {};
}

Outcome run_self_test() {
  const bool good = sandbox::self_test(sandbox::kGuardProfile,
                                       [](std::string_view line) { fmt::print("{}\n", line); });
  if (good) return {};
  return failed("guard --self-test", "something is possible that must not be", "see FAILED above");
}

guard::Device::Options device_options(const GuardOptions& options,
                                      const airlock_guard_rules& rules) {
  using std::chrono::duration_cast;
  using std::chrono::milliseconds;
  guard::Device::Options device;
  device.rules = rules;
  device.answer_within = duration_cast<milliseconds>(options.answer_within);
  device.hang_limit = duration_cast<milliseconds>(options.hang_limit);
  device.restarts.burst = options.restart_limit;
  return device;
}

/// What both processes have before they part.
struct Ends {
  Fd guard;     // the guard's, to the launcher
  Fd launcher;  // the launcher's, to the guard
  Fd lifeline;  // the guard's: ends when the launcher wants it to stop, or has gone
  Fd alive;     // the launcher's
  Fd signals;   // that ask for the end
};

Result<Ends> make_ends() {
  std::array<int, 2> pair{};
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair.data()) != 0) {
    return fail(system_error());
  }
  Ends ends{
      .guard = Fd(pair[0]), .launcher = Fd(pair[1]), .lifeline = {}, .alive = {}, .signals = {}};
  if (pipe2(pair.data(), O_CLOEXEC) != 0) return fail(system_error());
  ends.lifeline = Fd(pair[0]);
  ends.alive = Fd(pair[1]);
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  // NOLINTNEXTLINE(concurrency-mt-unsafe): there is one thread
  if (sigprocmask(SIG_BLOCK, &signals, nullptr) != 0) return fail(system_error());
  ends.signals = TRY(own_fd(signalfd(-1, &signals, SFD_CLOEXEC)));
  return ends;
}

/// The process that reads what the VM and the device send. Returns its exit status.
int be_guard(const GuardOptions& options, const guard::Device::Options& device,
             vfio_user::Listener listener, Fd audit_file, Ends ends) {
  ends.launcher.reset();
  ends.alive.reset();
  ends.signals.reset();
  const std::string name = options.connect.empty() ? options.exec : options.connect;
  guard::Audit audit(std::move(audit_file), name);
  guard::LauncherClient source(std::move(ends.guard), !options.exec.empty());
  auto made = guard::Guard::create(device, std::move(listener), source, audit, ends.lifeline.get());
  if (!made) {
    log(LogLevel::kError, "guard: {}", describe(made.error()));
    return 1;
  }
  if (options.sandbox) {
    const auto report = sandbox::enter(sandbox::kGuardProfile);
    log(report.complete() ? LogLevel::kInfo : LogLevel::kWarning, "sandbox: {}", report.text());
  } else {
    log(LogLevel::kWarning, "no sandbox: who takes over this process has all that its user has");
  }
  log(LogLevel::kInfo, "guarding {} on {}, policy {}", name, options.listen, options.policy);
  if (const auto ended = (*made)->run(); !ended) {
    log(LogLevel::kError, "guard: {}", describe(ended.error()));
    return 1;
  }
  return 0;
}

int wait_for(pid_t pid) {
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return status;
}

}  // namespace

Outcome guard(const GuardOptions& options) {
  if (options.self_test) return run_self_test();
  const auto rules = guard::parse_policy(options.policy);
  if (!rules) return usage("--policy", rules.error(), "see airlock guard --help");
  if (options.explain) {
    fmt::print("policy {}: what the device can reach\n{}", options.policy, guard::explain(*rules));
    return {};
  }
  if (auto good = check(options); !good) return good;
  static_cast<void>(std::signal(SIGPIPE, SIG_IGN));

  Fd audit;
  if (!options.audit.empty()) {
    audit = Fd(open(options.audit.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
    if (!audit) {
      return failed(fmt::format("--audit {}", options.audit), describe(system_error()),
                    "check the directory and its permissions");
    }
  }
  auto listener = vfio_user::Listener::create(options.listen);
  if (!listener) return cannot_listen(options.listen, listener.error());
  auto ends = make_ends();
  if (!ends) return failed("guard", describe(ends.error()), "see the limits of this machine");

  // The guard has the socket; its file is removed by this process, which can.
  auto copy = own_fd(fcntl(listener->fd(), F_DUPFD_CLOEXEC, 0));
  if (!copy) return failed("guard", describe(copy.error()), "see the limits of this machine");
  auto taken = vfio_user::Listener::adopt(std::move(*copy));
  if (!taken) return failed("guard", describe(taken.error()), "see the limits of this machine");
  const pid_t pid = fork();
  if (pid < 0) return failed("guard", describe(system_error()), "see the limits of this machine");
  if (pid == 0) {
    _exit(be_guard(options, device_options(options, *rules), std::move(*taken), std::move(audit),
                   std::move(*ends)));
  }
  ends->guard.reset();
  ends->lifeline.reset();
  *taken = {};
  {
    guard::Launcher launcher(
        {.connect = options.connect, .command = options.exec, .socket = options.listen + ".device"},
        std::move(ends->launcher));
    launcher.serve(ends->signals.get());
  }
  ends->alive.reset();
  const int status = wait_for(pid);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  return failed("guard",
                WIFSIGNALED(status)
                    ? fmt::format("its process was ended by signal {}", WTERMSIG(status))
                    : "its process failed",
                "see the log above");
}

}  // namespace airlock::cli
