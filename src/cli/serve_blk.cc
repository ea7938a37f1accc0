// SPDX-License-Identifier: Apache-2.0
#include "cli/serve_blk.h"

#include <bit>
#include <csignal>
#include <functional>
#include <memory>
#include <utility>

#include <asio/io_context.hpp>
#include <asio/post.hpp>
#include <asio/signal_set.hpp>

#include "backend/open.h"
#include "base/log.h"
#include "base/size.h"
#include "cli/listening.h"
#include "cli/restart.h"
#include "cli/serve_stats.h"
#include "cli/socket_keeper.h"
#include "device/blk/blk_device.h"
#include "device/blk/blk_region.h"
#include "device/endpoint.h"
#include "sandbox/sandbox.h"
#include "vfio_user/server.h"
#include "wire/listener.h"

namespace airlock::cli {

namespace {

Outcome check(const ServeBlkOptions& options) {
  if (options.socket.empty() == (options.socket_fd < 0)) {
    return usage("serve blk", "it needs one of --socket and --fd", "give --socket PATH");
  }
  if (!std::has_single_bit(options.region) || options.region < 4096) {
    return usage(fmt::format("--region {}", format_size(options.region)),
                 "a PCI BAR is a power of two of at least 4K",
                 fmt::format("try --region {}", format_size(std::bit_ceil(std::max<std::uint64_t>(
                                                    options.region, 1U << 20U)))));
  }
  if (!std::has_single_bit(options.queue_size)) {
    return usage(fmt::format("--queue-size {}", options.queue_size),
                 "a split ring has a power of two of entries", "try --queue-size 256");
  }
  return {};
}

/// Where the device is to be found.
std::string place_of(const ServeBlkOptions& options) {
  return options.socket.empty() ? fmt::format("fd {}", options.socket_fd) : options.socket;
}

std::unexpected<Failure> cannot_present(const ServeBlkOptions& options, const Error& error) {
  if (error.code == Errc::kTooSmall) {
    return failed(fmt::format("region of {}", format_size(options.region)), describe(error),
                  "give a larger --region");
  }
  return failed(fmt::format("make a region of {}", format_size(options.region)), describe(error),
                options.huge_pages ? "reserve huge pages (vm.nr_hugepages) or drop --huge-pages"
                                   : "give a smaller --region");
}

std::expected<std::unique_ptr<backend::BlockBackend>, Failure> open_disk_backend(
    const ServeBlkOptions& options, const Restart& restart) {
  auto backend = backend::open_backend(options.backend, {.read_only = options.read_only,
                                                         .channels = options.queues,
                                                         .depth = options.queue_size,
                                                         .wait = restart.goes_on(),
                                                         .keep_open = restart.presence()});
  if (!backend) {
    return failed(backend.error().what, backend.error().why, backend.error().advice);
  }
  if (restart.goes_on() && !(*backend)->outlives_process()) {
    return failed(fmt::format("--backend {}", options.backend),
                  "what the guest wrote is gone with the process before this one",
                  "use file:PATH for a disk that outlives its process");
  }
  return std::move(*backend);
}

/// A region in which every queue has its ring and room for requests.
Outcome check_region(const ServeBlkOptions& options, const device::BlkShape& shape) {
  const std::uint64_t needed = device::blk_region_bytes_min(shape);
  if (options.dma == pci::DmaPolicy::kOpen || options.region >= needed) return {};
  return failed(
      fmt::format("--region {}", format_size(options.region)),
      fmt::format("the rings and requests of {} queues of {} entries don't fit", options.queues,
                  options.queue_size),
      fmt::format("give --region {} or more, or fewer or smaller queues", format_size(needed)));
}

/// The listening socket, whose file the keeper removes at the end.
Result<Fd> make_socket(const std::string& path, const SocketKeeper& keeper) {
  vfio_user::Listener listener = TRY(vfio_user::Listener::create(path));
  TRY(keeper.keep(listener.file()));
  return listener.release();
}

/// From here on nothing is opened. No byte of a peer has been read yet.
void lock_in(const ServeBlkOptions& options) {
  if (!options.sandbox) {
    log(LogLevel::kWarning,
        "sandbox: off, as it was asked for: a guest that takes this process over has all the "
        "rights of its user");
    return;
  }
  const sandbox::Report report = sandbox::enter(sandbox::kDeviceProfile);
  log(report.complete() ? LogLevel::kInfo : LogLevel::kWarning, "sandbox: {}", report.text());
}

ServeStats stats_of(const device::Endpoint& endpoint, const device::BlkDevice& disk) {
  return {.endpoint = endpoint.stats(),
          .blk = disk.counts(),
          .copies = disk.copies(),
          .copied_bytes = disk.copied_bytes()};
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

}  // namespace

Outcome serve_blk(const ServeBlkOptions& options) {
  if (auto good = check(options); !good) return good;
  static_cast<void>(std::signal(SIGPIPE, SIG_IGN));

  // The first of all, as it is a fork of what is there.
  auto keeper = options.socket.empty() ? SocketKeeper() : SocketKeeper::start(options.socket);
  if (!keeper) return failed("start a process", describe(keeper.error()), "look at the limits");
  const auto pages = options.huge_pages ? shm::PageKind::kHuge : shm::PageKind::kNormal;
  auto restart = take_restart(options.region, pages);
  if (!restart) return std::unexpected(restart.error());
  auto backend = open_disk_backend(options, *restart);
  if (!backend) return std::unexpected(backend.error());
  device::BlkShape shape{.queues = options.queues, .queue_size = options.queue_size};
  if (auto good = check_region(options, shape); !good) return good;
  if (options.dma != pci::DmaPolicy::kOpen) {
    shape.request_bytes_max = device::blk_request_bytes_max(shape, options.region);
  }
  const std::string backend_text = (*backend)->describe();
  auto disk =
      device::BlkDevice::create({.backend = std::move(*backend),
                                 .shape = shape,
                                 .id = options.serial,
                                 .ring_features = options.ring_features & ring::Features::kMask});
  if (!disk) return failed("serve blk", describe(disk.error()), "see airlock serve blk --help");

  asio::io_context context(1);
  auto endpoint = device::Endpoint::create(
      {.pci = {.negotiation = {.policy = options.dma,
                               .offer = options.address,
                               .transport_features = options.ring_features},
               .name = {}},
       .region_bytes = options.region,
       .pages = pages,
       .post = [&context](std::function<void()> f) { asio::post(context, std::move(f)); },
       .poll = {.longest = options.poll_max, .cpu_percent = options.poll_cpu_percent},
       .states = restart->states.get(),
       .region = std::move(restart->region)},
      **disk);
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
  log(LogLevel::kInfo, "serving blk on {}: {}, region {}", place_of(options), backend_text,
      format_size(options.region));

  const auto report = [&] { stats.write(stats_of(**endpoint, **disk)); };
  serve(context, signals, report);
  static_cast<void>(std::signal(SIGUSR1, SIG_IGN));  // nobody catches it any more
  (*endpoint)->drain();                              // what the guest was promised reaches the disk
  report();
  server->close();
  keeper->remove();
  return {};
}

}  // namespace airlock::cli
