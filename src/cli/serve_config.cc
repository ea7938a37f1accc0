// SPDX-License-Identifier: Apache-2.0
#include "cli/serve_config.h"

#include <pthread.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <list>
#include <utility>
#include <vector>

#include "base/log.h"
#include "cli/config_file.h"
#include "cli/device_group.h"

namespace airlock::cli {

namespace {

/// The process that keeps its rights, and whose children serve.
class Supervisor {
 public:
  Supervisor(std::string file, Config config)
      : file_(std::move(file)), config_(std::move(config)) {}

  Outcome run() {
    sigemptyset(&signals_);
    for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2, SIGCHLD})
      sigaddset(&signals_, signal);
    pthread_sigmask(SIG_BLOCK, &signals_, nullptr);
    if (auto started = start(config_.devices); !started) return started;
    while (!groups_.empty()) {
      int signal = 0;
      if (sigwait(&signals_, &signal) != 0) continue;
      handle(signal);
    }
    if (status_ == 0) return {};
    return failed("serve --config " + file_, "a process with devices ended unasked",
                  "see what it said above");
  }

 private:
  /// All of them are served then, or none.
  Outcome start(std::vector<DeviceConfig> devices) {
    if (devices.empty()) return {};
    auto group = DeviceGroup::start(std::move(devices), config_.sandbox);
    if (!group) return failed("start a process", describe(group.error()), "look at the limits");
    auto ready = group->wait_until_ready();
    if (ready) groups_.push_back(std::move(*group));
    return ready;
  }

  void handle(int signal) {
    if (signal == SIGCHLD) return reap();
    if (signal == SIGHUP) return reload();
    pass_on(signal);
  }

  void pass_on(int signal) {
    ending_ |= signal == SIGTERM || signal == SIGINT;
    for (const DeviceGroup& group : groups_)
      kill(group.pid(), signal == SIGINT ? SIGTERM : signal);
  }

  void reap() {
    int status = 0;
    for (pid_t pid = 0; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
      const auto which = std::ranges::find(groups_, pid, &DeviceGroup::pid);
      if (which == groups_.end()) continue;
      const bool unasked = !ending_ && !which->devices().empty();
      groups_.erase(which);
      if (status == 0 && !unasked) continue;
      // As a service of one process would: all or nothing, and whoever started it starts it again.
      if (unasked) status_ = 1;
      if (unasked) pass_on(SIGTERM);
    }
  }

  [[nodiscard]] bool is_served(const DeviceConfig& device) const {
    return std::ranges::any_of(groups_, [&](const DeviceGroup& group) {
      return std::ranges::any_of(group.devices(), [&](const DeviceConfig& one) {
        return one.name == device.name && one.same_as(device);
      });
    });
  }

  /// One of `fresh` that shares a region with a device that goes on, in another process; or null.
  const DeviceConfig* late_sharer(const std::vector<DeviceConfig>& fresh,
                                  const std::vector<DeviceConfig>& wanted) const {
    const auto is_late = [&](const DeviceConfig& device) {
      const std::string name = device.shared_region();
      return !name.empty() && std::ranges::any_of(wanted, [&](const DeviceConfig& other) {
        return other.shared_region() == name && is_served(other);
      });
    };
    const auto late = std::ranges::find_if(fresh, is_late);
    return late == fresh.end() ? nullptr : &*late;
  }

  void reload() {
    auto wanted = read_config(file_);
    if (!wanted) {
      log(LogLevel::kError, "reload: {}: {}: {}: nothing has changed", wanted.error().what,
          wanted.error().why, wanted.error().what_to_do);
      return;
    }
    if (wanted->sandbox != config_.sandbox) {
      log(LogLevel::kWarning, "reload: sandbox: devices that run keep theirs until they end");
      config_.sandbox = wanted->sandbox;
    }
    std::vector<DeviceConfig> fresh;
    for (const DeviceConfig& device : wanted->devices) {
      if (!is_served(device)) fresh.push_back(device);
    }
    if (const DeviceConfig* late = late_sharer(fresh, wanted->devices)) {
      log(LogLevel::kError,
          "reload: {}:{}: region: a process that runs has shared:{}: change all that share it, or "
          "start anew: nothing has changed",
          file_, late->line, late->shared_region());
      return;
    }
    const std::size_t ended = end_others(wanted->devices);
    const std::size_t started = fresh.size();
    if (auto begun = start(std::move(fresh)); !begun) {
      const Failure& failure = begun.error();
      log(LogLevel::kError, "reload: {} devices ended, {} could not be started: {}: {}: {}", ended,
          started, failure.what, failure.why, failure.what_to_do);
      return;
    }
    log(LogLevel::kInfo, "reload: {} devices ended, {} started, {} in all", ended, started,
        wanted->devices.size());
  }

  /// Ends the devices that are not among `wanted`, or not as they are; how many.
  std::size_t end_others(const std::vector<DeviceConfig>& wanted) {
    std::size_t count = 0;
    for (DeviceGroup& group : groups_) {
      const std::vector<DeviceConfig> devices = group.devices();
      for (const DeviceConfig& device : devices) {
        const auto same = std::ranges::find(wanted, device.name, &DeviceConfig::name);
        if (same != wanted.end() && same->same_as(device)) continue;
        group.end(device.name);
        ++count;
      }
    }
    return count;
  }

  std::string file_;
  Config config_;
  sigset_t signals_{};
  std::list<DeviceGroup> groups_;
  bool ending_ = false;
  int status_ = 0;
};

}  // namespace

Outcome serve_config(const std::string& file) {
  auto config = read_config(file);
  if (!config) return std::unexpected(config.error());
  return Supervisor(file, std::move(*config)).run();
}

}  // namespace airlock::cli
