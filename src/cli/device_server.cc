// SPDX-License-Identifier: Apache-2.0
#include "cli/device_server.h"

#include <algorithm>
#include <bit>
#include <csignal>
#include <optional>
#include <utility>

#include <asio/executor_work_guard.hpp>
#include <asio/io_context.hpp>
#include <asio/post.hpp>
#include <asio/signal_set.hpp>
#include <nlohmann/json.hpp>

#include "base/check.h"
#include "base/log.h"
#include "base/size.h"
#include "cli/listening.h"
#include "cli/serve_stats.h"
#include "cli/socket_keeper.h"
#include "device/endpoint.h"
#include "sandbox/sandbox.h"
#include "vfio_user/server.h"
#include "wire/listener.h"

namespace airlock::cli {

namespace {

DeviceCollector* the_collector = nullptr;

Outcome check(std::string_view kind, const ServeOptions& options) {
  if (options.socket.empty() == (options.socket_fd < 0)) {
    return usage(fmt::format("serve {}", kind), "it needs one of --socket and --fd",
                 "give --socket PATH");
  }
  if (!std::has_single_bit(options.region) || options.region < 4096) {
    return usage(fmt::format("--region {}", format_size(options.region)),
                 "a PCI BAR is a power of two of at least 4K",
                 fmt::format("try --region {}", format_size(std::bit_ceil(std::max<std::uint64_t>(
                                                    options.region, 1U << 20U)))));
  }
  return {};
}

/// Where the device is to be found.
std::string place_of(const ServeOptions& options) {
  return options.socket.empty() ? fmt::format("fd {}", options.socket_fd) : options.socket;
}

shm::PageKind pages_of(const ServeOptions& options) {
  return options.huge_pages ? shm::PageKind::kHuge : shm::PageKind::kNormal;
}

std::string text_of(const device::SharedRegion::Options& region) {
  return fmt::format("{}{}", format_size(region.bytes),
                     region.pages == shm::PageKind::kHuge ? " of huge pages" : "");
}

std::unexpected<Failure> cannot_present(const ServeOptions& options, const Error& error) {
  if (error.code == Errc::kTooSmall) {
    return failed(fmt::format("region of {}", format_size(options.region)), describe(error),
                  "give a larger --region");
  }
  return failed(fmt::format("make a region of {}", format_size(options.region)), describe(error),
                options.huge_pages ? "reserve huge pages (vm.nr_hugepages) or drop --huge-pages"
                                   : "give a smaller --region");
}

/// The listening socket, whose file the keeper removes at the end.
Result<Fd> make_socket(const std::string& path, const SocketKeeper& keeper) {
  vfio_user::Listener listener = TRY(vfio_user::Listener::create(path));
  TRY(keeper.keep(listener.file()));
  return listener.release();
}

}  // namespace

/// In the order in which they are made; they end the other way round.
struct DeviceServer::Parts {
  ServeOptions options;
  std::string kind;
  SocketKeeper keeper;
  Restart restart;
  asio::io_context context{1};  // outlives the device, which may post to it
  MadeDevice made;
  std::unique_ptr<device::Endpoint> endpoint;
  std::optional<vfio_user::Server> server;
  std::unique_ptr<StatsFile> stats;
  std::optional<asio::signal_set> signals;

  void wait_for_signal() {
    // NOLINTNEXTLINE(bugprone-unchecked-optional-access): a server alone has them
    signals->async_wait([this](const asio::error_code& error, int signal) {
      if (error) return;
      if (signal == SIGUSR1) {
        report();
      } else if (signal == SIGUSR2) {
        retry();
      } else {
        context.stop();
        return;
      }
      wait_for_signal();
    });
  }
  void retry() const {
    if (made.retry) made.retry();
  }
  void report() const {
    auto json = nlohmann::ordered_json::object();
    if (made.add_counters) made.add_counters(json);
    add_counters(json, endpoint->stats());
    stats->write(json);
  }
};

std::expected<std::unique_ptr<DeviceServer>, Failure> DeviceServer::open(
    std::string_view kind, const ServeOptions& options, const MakeDeviceInLoop& make, bool alone) {
  if (auto good = check(kind, options); !good) return std::unexpected(good.error());
  auto parts = std::make_unique<Parts>();
  parts->options = options;
  parts->kind = kind;
  // The first of all, as it is a fork of what is there.
  if (!options.socket.empty()) {
    auto keeper = SocketKeeper::start(options.socket);
    if (!keeper) return failed("start a process", describe(keeper.error()), "look at the limits");
    parts->keeper = std::move(*keeper);
  }
  auto shared = DeviceCollector::shared_region(kind, options);
  if (!shared) return std::unexpected(shared.error());
  const shm::PageKind pages = pages_of(options);
  if (alone) {
    auto taken = take_restart(options.region, pages);
    if (!taken) return std::unexpected(taken.error());
    parts->restart = std::move(*taken);
  }
  auto made = make(parts->context, parts->restart);
  if (!made) return std::unexpected(made.error());
  parts->made = std::move(*made);
  device::Endpoint::Options shown{
      .pci = {.negotiation = {.policy = options.dma,
                              .offer = options.address,
                              .transport_features =
                                  options.ring_features & parts->made.transport_features,
                              .encryption = options.encryption},
              .name = {}},
      .region_bytes = options.region,
      .pages = pages,
      .post = [&context =
                   parts->context](std::function<void()> f) { asio::post(context, std::move(f)); },
      .poll = options.poll(),
      .states = parts->restart.states.get(),
      .region = std::move(parts->restart.region),
      .shared = std::move(*shared)};
  auto endpoint = parts->made.type
                      ? device::Endpoint::create(std::move(shown), *parts->made.type)
                      : device::Endpoint::create(std::move(shown), parts->made.make_model);
  if (!endpoint) return cannot_present(options, endpoint.error());
  parts->endpoint = std::move(*endpoint);
  // Caught before the socket exists: who sees it may send a signal at once. It is kept until run().
  if (alone) parts->signals.emplace(parts->context, SIGTERM, SIGINT, SIGUSR1).add(SIGUSR2);
  auto socket = options.socket.empty() ? Result<Fd>(Fd(options.socket_fd))
                                       : make_socket(options.socket, parts->keeper);
  if (!socket) return cannot_listen(place_of(options), socket.error());
  auto server =
      vfio_user::Server::listen(parts->context, *parts->endpoint, {.socket = std::move(*socket)});
  if (!server) return cannot_listen(place_of(options), server.error());
  parts->server.emplace(std::move(*server));
  parts->stats = std::make_unique<StatsFile>(options.stats);
  return std::unique_ptr<DeviceServer>(new DeviceServer(std::move(parts)));
}

DeviceServer::DeviceServer(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
DeviceServer::~DeviceServer() = default;

void DeviceServer::run() {
  const auto work = asio::make_work_guard(parts_->context);
  if (parts_->signals) parts_->wait_for_signal();
  parts_->context.run();
  if (parts_->signals) {
    // Nobody catches them any more.
    for (const int late : {SIGUSR1, SIGUSR2})
      static_cast<void>(std::signal(late, SIG_IGN));
  }
  parts_->endpoint->drain();  // what the guest was promised reaches the disk
  parts_->report();
  // NOLINTNEXTLINE(bugprone-unchecked-optional-access): listening since it was made
  parts_->server->close();
  parts_->keeper.remove();
}

void DeviceServer::stop() {
  asio::post(parts_->context, [this] { parts_->context.stop(); });
}

void DeviceServer::report() {
  asio::post(parts_->context, [this] { parts_->report(); });
}

void DeviceServer::retry() {
  asio::post(parts_->context, [this] { parts_->retry(); });
}

void DeviceServer::announce() const {
  const std::string& shared = parts_->options.shared_region;
  log(LogLevel::kInfo, "serving {} on {}: {}, region {}{}", parts_->kind, place_of(parts_->options),
      parts_->made.text, shared.empty() ? "" : fmt::format("shared:{}, ", shared),
      format_size(parts_->options.region));
}

DeviceCollector::DeviceCollector() {
  CHECK(the_collector == nullptr);
  the_collector = this;
}

DeviceCollector::~DeviceCollector() {
  the_collector = nullptr;
}

std::expected<std::shared_ptr<device::SharedRegion>, Failure> DeviceCollector::shared_region(
    std::string_view kind, const ServeOptions& options) {
  if (options.shared_region.empty()) return nullptr;
  const std::string what = fmt::format("--region shared:{}", options.shared_region);
  if (the_collector == nullptr) {
    return usage(what, "this process has no other device",
                 "write the devices that share it into a file, for airlock serve --config");
  }
  const device::SharedRegion::Options wanted{.bytes = options.region, .pages = pages_of(options)};
  const std::string device = fmt::format("{} on {}", kind, place_of(options));
  const auto found = the_collector->regions_.find(options.shared_region);
  if (found == the_collector->regions_.end()) {
    auto made = device::SharedRegion::create(wanted);
    if (!made) return cannot_present(options, made.error());
    the_collector->regions_[options.shared_region] = {.region = *made, .first = device};
    return std::move(*made);
  }
  const Shared& shared = found->second;
  if (shared.region->options() != wanted) {
    return usage(what,
                 fmt::format("it is {} here, and {} for {}", text_of(wanted),
                             text_of(shared.region->options()), shared.first),
                 "give all that share it the same size and pages");
  }
  log(LogLevel::kWarning,
      "region shared:{}: {} and {} can each read and change what either is given: show both to "
      "one VM only, to a driver that knows",
      options.shared_region, shared.first, device);
  return shared.region;
}

std::expected<bool, Failure> DeviceCollector::collect(std::string_view kind,
                                                      const ServeOptions& options,
                                                      const MakeDeviceInLoop& make) {
  if (the_collector == nullptr) return false;
  auto opened = DeviceServer::open(kind, options, make, false);
  if (!opened) return std::unexpected(opened.error());
  the_collector->servers_.push_back(std::move(*opened));
  return true;
}

void lock_in(bool sandbox) {
  if (!sandbox) {
    log(LogLevel::kWarning,
        "sandbox: off, as it was asked for: a guest that takes this process over has all the "
        "rights of its user");
    return;
  }
  const sandbox::Report report = sandbox::enter(sandbox::kDeviceProfile);
  log(report.complete() ? LogLevel::kInfo : LogLevel::kWarning, "sandbox: {}", report.text());
}

}  // namespace airlock::cli
