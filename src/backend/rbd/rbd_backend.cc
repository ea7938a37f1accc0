// SPDX-License-Identifier: Apache-2.0
#include "backend/rbd/rbd_backend.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <filesystem>

#include <fmt/core.h>

#include "backend/nbd/nbd_backend.h"
#include "backend/rbd/rbd_name.h"

namespace airlock::backend {

namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPlugin = "nbdkit-airlock-rbd-plugin.so";
constexpr int kReport = 3;
// Longer than a cluster is given to answer by the plugin.
constexpr int kStartMs = 60'000;

/// Our plugin: where the build puts it, or an installation.
std::string find_plugin() {
  std::error_code none;
  const fs::path own = fs::read_symlink("/proc/self/exe", none).parent_path();
  for (const fs::path& place : {own / kPlugin, own / "../lib/airlock" / kPlugin}) {
    if (fs::is_regular_file(place, none)) return place.string();
  }
  return {};
}

/// In the child. Never returns.
[[noreturn]] void become_nbdkit(std::vector<std::string> words, int client, int report) {
  std::vector<char*> arguments;
  arguments.reserve(words.size() + 1);
  for (std::string& word : words)
    arguments.push_back(word.data());
  arguments.push_back(nullptr);
  // Both lie above their places: neither overwrites the other.
  client = fcntl(client, F_DUPFD_CLOEXEC, kReport + 1);
  report = fcntl(report, F_DUPFD_CLOEXEC, kReport + 1);
  sigset_t nothing;
  sigemptyset(&nothing);
  static_cast<void>(std::signal(SIGCHLD, SIG_DFL));
  if (dup2(client, STDIN_FILENO) >= 0 && dup2(client, STDOUT_FILENO) >= 0 &&
      dup2(report, kReport) >= 0 && close_range(kReport + 1, ~0U, CLOSE_RANGE_CLOEXEC) == 0 &&
      pthread_sigmask(SIG_SETMASK, &nothing, nullptr) == 0) {
    execvp(arguments[0], arguments.data());
  }
  constexpr std::string_view kNone = "nbdkit is not installed";
  [[maybe_unused]] const ssize_t said = write(kReport, kNone.data(), kNone.size());
  _exit(1);
}

/// What the process said before it ended.
std::string reason(const Fd& report) {
  std::array<char, 200> text{};
  const ssize_t got = read(report.get(), text.data(), text.size());
  if (got <= 0) return "its process ended before it served anything";
  return {text.data(), static_cast<std::size_t>(got)};
}

/// Starts nbdkit, and waits for its greeting.
Connected start_nbdkit(const std::vector<std::string>& words) {
  std::array<int, 2> ends{-1, -1};
  std::array<int, 2> reports{-1, -1};
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    return std::unexpected(describe(system_error()));
  }
  Fd mine(ends[0]);
  Fd its(ends[1]);
  if (pipe2(reports.data(), O_CLOEXEC) != 0) return std::unexpected(describe(system_error()));
  const Fd report(reports[0]);
  Fd its_report(reports[1]);
  const pid_t child = fork();
  if (child < 0) return std::unexpected(describe(system_error()));
  if (child == 0) become_nbdkit(words, its.get(), its_report.get());
  its.reset();
  its_report.reset();
  pollfd greeting{.fd = mine.get(), .events = POLLIN, .revents = 0};
  if (poll(&greeting, 1, kStartMs) <= 0) return std::unexpected("it does not begin to serve");
  char first = 0;
  if (recv(mine.get(), &first, sizeof first, MSG_PEEK) <= 0) {
    return std::unexpected(reason(report));
  }
  return mine;
}

}  // namespace

Opened<std::unique_ptr<BlockBackend>> open_rbd(const std::string& name,
                                               const OpenOptions& options) {
  const std::string what = "rbd:" + name;
  const auto parsed = parse_rbd_name(name);
  if (!parsed) {
    return std::unexpected(
        OpenError{.what = "--backend " + what,
                  .why = parsed.error(),
                  .advice = "write rbd:POOL/IMAGE[@SNAP][,conf=FILE][,id=USER]"});
  }
  const std::string plugin = find_plugin();
  if (plugin.empty()) {
    return std::unexpected(
        OpenError{.what = "open " + what,
                  .why = fmt::format("{} is not beside this program", kPlugin),
                  .advice = "build it where librbd-dev is installed (-DAIRLOCK_RBD=ON)"});
  }
  std::vector<std::string> words{"nbdkit", "--single", plugin,
                                 "report-fd=" + std::to_string(kReport)};
  if (options.read_only || !parsed->snapshot.empty()) words.insert(words.begin() + 1, "--readonly");
  for (std::string& setting : parsed->settings())
    words.push_back(std::move(setting));
  return open_nbd_source({.name = what,
                          .export_name = {},
                          .connect = [words] { return start_nbdkit(words); },
                          .advice = "see with rbd --conf FILE info POOL/IMAGE whether it is there"},
                         options);
}

}  // namespace airlock::backend
