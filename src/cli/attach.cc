// SPDX-License-Identifier: Apache-2.0
#include "cli/attach.h"

#include <poll.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string_view>

#include "base/size.h"
#include "cli/listening.h"
#include "cli/nbdkit_process.h"
#include "wire/listener.h"

namespace airlock::cli {

namespace {

namespace fs = std::filesystem;

constexpr std::string_view kNbdUnix = "nbd:unix:";
constexpr std::string_view kPluginName = "nbdkit-airlock-plugin.so";

/// The socket's path that --export names.
std::expected<std::string, Failure> export_path(const std::string& to) {
  const std::string what = fmt::format("--export {}", to);
  constexpr std::string_view kTry = "try --export nbd:unix:/run/disk.nbd";
  if (to.starts_with(kNbdUnix) && to.size() > kNbdUnix.size()) return to.substr(kNbdUnix.size());
  if (to == "ublk") {
    return usage(what, "this version exports a disk by NBD only", std::string(kTry));
  }
  for (const std::string_view other : {"tap:", "vsock:", "console:"}) {
    if (to.starts_with(other)) {
      return usage(what, "this version attaches disks, no other devices", std::string(kTry));
    }
  }
  return usage(what, "it is not nbd:unix:PATH", std::string(kTry));
}

bool is_program(const fs::path& path) {
  std::error_code none;
  return fs::is_regular_file(path, none) && access(path.c_str(), X_OK) == 0;
}

/// nbdkit, as a shell would find it.
std::expected<std::string, Failure> find_nbdkit() {
  const char* path = std::getenv("PATH");  // NOLINT(concurrency-mt-unsafe): nobody sets it
  for (std::string_view rest = path == nullptr ? "" : path; !rest.empty();) {
    const std::size_t end = rest.find(':');
    const fs::path program = fs::path(rest.substr(0, end)) / "nbdkit";
    if (program.is_absolute() && is_program(program)) return program.string();
    rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + 1);
  }
  return failed("attach", "nbdkit, which serves NBD, is not installed", "apt-get install nbdkit");
}

/// The plugin: where the build puts it, or an installation.
std::expected<std::string, Failure> find_plugin(const AttachOptions& options) {
  std::error_code none;
  const fs::path own = fs::read_symlink("/proc/self/exe", none).parent_path();
  std::vector<fs::path> places{own / kPluginName, own / "../lib/airlock" / kPluginName};
  if (!options.plugin.empty()) places = {fs::absolute(options.plugin, none)};
  for (const fs::path& place : places) {
    if (fs::is_regular_file(place, none)) return place.string();
  }
  return failed(fmt::format("load {}", places.front().string()), "there is no such file",
                fmt::format("say where {} is with --plugin FILE", kPluginName));
}

/// As a URI has it: whatever is special there becomes %XX.
std::string percent_encoded(std::string_view text) {
  constexpr std::string_view kPlain = "/-._~";
  std::string encoded;
  for (const char c : text) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (letter || kPlain.find(c) != std::string_view::npos) {
      encoded += c;
    } else {
      encoded += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return encoded;
}

/// One line: what there is, and how to connect to it.
void announce(const AttachOptions& options, const std::string& path, const attach::Ready& ready) {
  std::error_code none;
  const bool module = fs::exists("/sys/module/nbd", none);
  fmt::print(
      "attached {}, {}: {}nbd-client -unix {} /dev/nbd0 -b {}   or   "
      "nbd+unix:///?socket={}\n",
      options.device, format_size(ready.capacity_bytes), module ? "" : "modprobe nbd && ", path,
      ready.block_bytes, percent_encoded(path));
  static_cast<void>(std::fflush(stdout));
}

/// SIGTERM and SIGINT, to be read from an fd.
Result<Fd> catch_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  // NOLINTNEXTLINE(concurrency-mt-unsafe): there is one thread yet
  if (sigprocmask(SIG_BLOCK, &signals, nullptr) != 0) return fail(system_error());
  return own_fd(signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
}

/// How serving came to its end.
struct End {
  bool asked_for = false;  // by a signal
  std::optional<attach::Failed> failure;
};

// Longer than any request may take: BlkQueue gives up a device before that.
constexpr int kDrainMs = 60'000;

End serve(NbdkitProcess& nbdkit, const Fd& signals, const AttachOptions& options,
          const std::string& path) {
  End end;
  while (!nbdkit.ended()) {
    std::array<pollfd, 2> fds{{{.fd = nbdkit.report_fd(), .events = POLLIN, .revents = 0},
                               {.fd = signals.get(), .events = POLLIN, .revents = 0}}};
    const int ready_fds = ::poll(fds.data(), fds.size(), end.asked_for ? kDrainMs : -1);
    if (ready_fds == 0) {
      end.failure = attach::Failed{.what = "attach",
                                   .why = "a client that takes no answers keeps nbdkit from ending",
                                   .advice = "it was killed: see what that client misses"};
      return end;
    }
    if (ready_fds < 0) continue;
    signalfd_siginfo signal{};
    if (::read(signals.get(), &signal, sizeof signal) == sizeof signal) {
      end.asked_for = true;
      nbdkit.ask_to_end();
    }
    if (fds[0].revents == 0) continue;
    for (attach::Report& report : nbdkit.read_reports()) {
      const auto* ready = std::get_if<attach::Ready>(&report);
      if (ready != nullptr && !end.asked_for) announce(options, path, *ready);
      if (auto* failure = std::get_if<attach::Failed>(&report)) end.failure = std::move(*failure);
    }
  }
  return end;
}

}  // namespace

Outcome attach(const AttachOptions& options) {
  const auto path = export_path(options.export_to);
  if (!path) return std::unexpected(path.error());
  const auto program = find_nbdkit();
  if (!program) return std::unexpected(program.error());
  const auto plugin = find_plugin(options);
  if (!plugin) return std::unexpected(plugin.error());

  // Caught before the socket exists: who sees it may send a signal at once.
  const auto signals = catch_signals();
  if (!signals)
    return failed("attach", describe(signals.error()), "see the limits of this machine");
  umask(S_IRWXG | S_IRWXO);  // the disk is for this user alone
  const auto listener = vfio_user::Listener::create(*path);
  if (!listener) return cannot_listen(*path, listener.error());
  auto nbdkit =
      NbdkitProcess::start({.program = *program,
                            .plugin = *plugin,
                            .settings = {"device=" + options.device,
                                         fmt::format("ring-features={:#x}", options.ring_features)},
                            .read_only = options.read_only,
                            .listener = listener->fd()});
  if (!nbdkit) {
    return failed("start nbdkit", describe(nbdkit.error()), "see the limits of this machine");
  }
  const End end = serve(*nbdkit, *signals, options, *path);
  const int status = nbdkit->ended() ? nbdkit->wait() : 0;
  if (end.failure) {
    const attach::Failed& failure = *end.failure;
    if (failure.misnamed) return usage(failure.what, failure.why, failure.advice);
    return failed(failure.what, failure.why, failure.advice);
  }
  if (end.asked_for && status == 0) return {};
  return failed("attach", fmt::format("nbdkit ended with status {}", status),
                "see what it said above");
}

}  // namespace airlock::cli
