// SPDX-License-Identifier: Apache-2.0
#include "cli/serve_device.h"

#include <algorithm>
#include <bit>
#include <csignal>
#include <utility>

#include <asio/io_context.hpp>
#include <asio/post.hpp>
#include <asio/signal_set.hpp>
#include <nlohmann/json.hpp>

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

/// From here on nothing is opened. No byte of a peer has been read yet.
void lock_in(const ServeOptions& options) {
  if (!options.sandbox) {
    log(LogLevel::kWarning,
        "sandbox: off, as it was asked for: a guest that takes this process over has all the "
        "rights of its user");
    return;
  }
  const sandbox::Report report = sandbox::enter(sandbox::kDeviceProfile);
  log(report.complete() ? LogLevel::kInfo : LogLevel::kWarning, "sandbox: {}", report.text());
}

/// Until a signal ends it. SIGUSR1 calls `report` and goes on.
void serve(asio::io_context& context, asio::signal_set& signals,
           const std::function<void()>& report) {
  std::function<void()> wait = [&] {
    signals.async_wait([&](const asio::error_code& error, int signal) {
      if (error) return;
      if (signal != SIGUSR1) {
        context.stop();
        return;
      }
      report();
      wait();
    });
  };
  wait();
  context.run();
}

nlohmann::ordered_json to_json(const MadeDevice& made, const device::Endpoint& endpoint) {
  auto json = nlohmann::ordered_json::object();
  if (made.add_counters) made.add_counters(json);
  add_counters(json, endpoint.stats());
  return json;
}

}  // namespace

Outcome cannot_go_on(std::string_view kind, const Restart& restart) {
  if (!restart.goes_on()) return {};
  return failed(fmt::format("serve {}", kind),
                "what it knew is gone with the process before this one",
                "only blk with file:PATH outlives its process");
}

Outcome serve_device(std::string_view kind, const ServeOptions& options, const MakeDevice& make) {
  return serve_device_in_loop(
      kind, options,
      [&make](asio::io_context& /*context*/, const Restart& restart) { return make(restart); });
}

Outcome serve_device_in_loop(std::string_view kind, const ServeOptions& options,
                             const MakeDeviceInLoop& make) {
  if (auto good = check(kind, options); !good) return good;
  static_cast<void>(std::signal(SIGPIPE, SIG_IGN));

  // The first of all, as it is a fork of what is there.
  auto keeper = options.socket.empty() ? SocketKeeper() : SocketKeeper::start(options.socket);
  if (!keeper) return failed("start a process", describe(keeper.error()), "look at the limits");
  const auto pages = options.huge_pages ? shm::PageKind::kHuge : shm::PageKind::kNormal;
  auto restart = take_restart(options.region, pages);
  if (!restart) return std::unexpected(restart.error());
  asio::io_context context(1);  // outlives the device, which may post to it
  auto made = make(context, *restart);
  if (!made) return std::unexpected(made.error());
  device::Endpoint::Options shown{
      .pci = {.negotiation = {.policy = options.dma,
                              .offer = options.address,
                              .transport_features =
                                  options.ring_features & made->transport_features},
              .name = {}},
      .region_bytes = options.region,
      .pages = pages,
      .post = [&context](std::function<void()> f) { asio::post(context, std::move(f)); },
      .poll = {.longest = options.poll_max, .cpu_percent = options.poll_cpu_percent},
      .states = restart->states.get(),
      .region = std::move(restart->region)};
  auto endpoint = made->type ? device::Endpoint::create(std::move(shown), *made->type)
                             : device::Endpoint::create(std::move(shown), made->make_model);
  if (!endpoint) return cannot_present(options, endpoint.error());

  // Caught before the socket exists: who sees it may send a signal at once. It is kept until run().
  asio::signal_set signals(context, SIGTERM, SIGINT, SIGUSR1);
  auto socket = options.socket.empty() ? Result<Fd>(Fd(options.socket_fd))
                                       : make_socket(options.socket, *keeper);
  if (!socket) return cannot_listen(place_of(options), socket.error());
  auto server = vfio_user::Server::listen(context, **endpoint, {.socket = std::move(*socket)});
  if (!server) return cannot_listen(place_of(options), server.error());
  const StatsFile stats(options.stats);
  lock_in(options);
  log(LogLevel::kInfo, "serving {} on {}: {}, region {}", kind, place_of(options), made->text,
      format_size(options.region));

  const auto report = [&] { stats.write(to_json(*made, **endpoint)); };
  serve(context, signals, report);
  static_cast<void>(std::signal(SIGUSR1, SIG_IGN));  // nobody catches it any more
  (*endpoint)->drain();                              // what the guest was promised reaches the disk
  report();
  server->close();
  keeper->remove();
  return {};
}

}  // namespace airlock::cli
