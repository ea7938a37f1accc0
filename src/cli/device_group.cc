// SPDX-License-Identifier: Apache-2.0
#include "cli/device_group.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <memory>
#include <sstream>
#include <thread>
#include <utility>

#include <fmt/core.h>
#include <asio/io_context.hpp>
#include <asio/posix/stream_descriptor.hpp>
#include <asio/post.hpp>
#include <asio/signal_set.hpp>

#include "base/log.h"
#include "cli/device_server.h"
#include "cli/options.h"

namespace airlock::cli {

namespace {

constexpr std::size_t kMessageMost = 4096;
constexpr std::string_view kReady = "ready";

bool say(int way, std::string_view word) {
  return send(way, word.data(), word.size(), MSG_NOSIGNAL) >= 0;
}

/// One message, or nothing at the end.
std::string hear(int way) {
  std::array<char, kMessageMost> bytes{};
  ssize_t got = -1;
  do {
    got = recv(way, bytes.data(), bytes.size(), 0);
  } while (got < 0 && errno == EINTR);
  return got > 0 ? std::string(bytes.data(), static_cast<std::size_t>(got)) : std::string();
}

/// A failure as one message, and back.
std::string to_message(const Failure& failure) {
  return fmt::format("{}\n{}\n{}\n{}", failure.status, failure.what, failure.why,
                     failure.what_to_do);
}

Failure from_message(const std::string& text) {
  std::array<std::string, 4> parts;
  std::istringstream lines(text);
  for (std::string& part : parts)
    std::getline(lines, part);
  return {
      .status = parts[0] == "2" ? 2 : 1, .what = parts[1], .why = parts[2], .what_to_do = parts[3]};
}

/// The process itself: the devices, and the threads that serve them.
class Group {
 public:
  explicit Group(int way) : parent_(context_, way) {
    // Caught before there is a socket: who sees it may send a signal at once.
    for (const int signal : {SIGTERM, SIGINT, SIGUSR1, SIGUSR2})
      signals_.add(signal);
  }

  Outcome open(const std::vector<DeviceConfig>& configs) {
    DeviceCollector collector;
    for (const DeviceConfig& config : configs) {
      auto line = parse_serve(config.type, config.words);
      if (!line) return failed(config.name, line.error(), "see airlock serve --help");
      if (auto opened = line->action(); !opened) {
        Failure failure = opened.error();
        failure.what = fmt::format("{} (line {}): {}", config.name, config.line, failure.what);
        return std::unexpected(std::move(failure));
      }
      auto servers = collector.take();
      devices_.push_back({.name = config.name,
                          .options = std::move(line->options),
                          .server = std::move(servers.front()),
                          .thread = {}});
    }
    return {};
  }

  [[nodiscard]] int parent() { return parent_.native_handle(); }

  void run() {
    for (Device& device : devices_) {
      device.server->announce();
      device.thread = std::thread([this, &device] {
        pthread_setname_np(pthread_self(), "control");
        device.server->run();
        asio::post(context_, [this, &device] { ended(device); });
      });
    }
    static_cast<void>(say(parent_.native_handle(), kReady));
    wait_for_signal();
    wait_for_parent();
    context_.run();
  }

 private:
  struct Device {
    std::string name;
    std::shared_ptr<void> options;
    std::unique_ptr<DeviceServer> server;
    std::thread thread;
  };

  void wait_for_signal() {
    signals_.async_wait([this](const asio::error_code& error, int signal) {
      if (error) return;
      for (const Device& device : devices_) {
        if (!device.server) continue;
        if (signal == SIGUSR1) {
          device.server->report();
        } else if (signal == SIGUSR2) {
          device.server->retry();
        } else {
          device.server->stop();
        }
      }
      wait_for_signal();
    });
  }

  void stop_all() const {
    for (const Device& device : devices_) {
      if (device.server) device.server->stop();
    }
  }

  void wait_for_parent() {
    using Parent = asio::posix::stream_descriptor;
    parent_.async_wait(Parent::wait_read, [this](const asio::error_code& error) {
      if (error) return;
      const std::string name = hear(parent_.native_handle());
      if (name.empty()) return stop_all();  // its end is ours
      const auto which = std::ranges::find(devices_, name, &Device::name);
      if (which != devices_.end() && which->server) which->server->stop();
      wait_for_parent();
    });
  }

  void ended(Device& device) {
    device.thread.join();
    device.server.reset();
    static_cast<void>(say(parent_.native_handle(), device.name));
    const bool all = std::ranges::none_of(
        devices_, [](const Device& one) { return static_cast<bool>(one.server); });
    if (all) context_.stop();
  }

  asio::io_context context_{1};
  asio::signal_set signals_{context_};
  asio::posix::stream_descriptor parent_;
  std::vector<Device> devices_;
};

/// Nothing of the parent but the way to it: its other ways would not end with it.
Fd keep_only(Fd way) {
  constexpr int kPlace = STDERR_FILENO + 1;
  if (way.get() != kPlace && dup3(way.get(), kPlace, O_CLOEXEC) < 0) _exit(1);
  if (close_range(kPlace + 1, ~0U, 0) != 0) _exit(1);
  static_cast<void>(way.release());
  return Fd(kPlace);
}

/// In the child. Its exit status.
int serve_devices(Fd way, const std::vector<DeviceConfig>& configs, bool sandbox) {
  sigset_t none;
  sigemptyset(&none);
  pthread_sigmask(SIG_SETMASK, &none, nullptr);
  static_cast<void>(std::signal(SIGHUP, SIG_IGN));  // of a terminal: the parent's
  static_cast<void>(std::signal(SIGPIPE, SIG_IGN));
  Group group(way.get());
  static_cast<void>(way.release());
  if (auto opened = group.open(configs); !opened) {
    static_cast<void>(say(group.parent(), to_message(opened.error())));
    return opened.error().status;
  }
  lock_in(sandbox);
  group.run();
  return 0;
}

}  // namespace

Result<DeviceGroup> DeviceGroup::start(std::vector<DeviceConfig> devices, bool sandbox) {
  std::array<int, 2> ends{-1, -1};
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    return fail(system_error());
  }
  Fd mine(ends[0]);
  Fd its(ends[1]);
  const pid_t child = fork();
  if (child < 0) return fail(system_error());
  if (child == 0) {
    mine.reset();
    const int status = serve_devices(keep_only(std::move(its)), devices, sandbox);
    _exit(status);
  }
  return DeviceGroup(child, std::move(mine), std::move(devices));
}

Outcome DeviceGroup::wait_until_ready() const {
  const std::string word = hear(way_.get());
  if (word == kReady) return {};
  if (!word.empty()) return std::unexpected(from_message(word));
  return failed("serve the devices", "their process ended", "see what it said above");
}

void DeviceGroup::end(const std::string& name) {
  if (say(way_.get(), name)) {
    // What ended by itself is said as well.
    for (std::string ended = hear(way_.get()); !ended.empty() && ended != name;
         ended = hear(way_.get())) {
    }
  }
  std::erase_if(devices_, [&](const DeviceConfig& device) { return device.name == name; });
}

}  // namespace airlock::cli
