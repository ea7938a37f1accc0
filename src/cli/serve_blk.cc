// SPDX-License-Identifier: Apache-2.0
#include "cli/serve_blk.h"

#include <bit>
#include <memory>
#include <utility>

#include <nlohmann/json.hpp>

#include "backend/open.h"
#include "base/size.h"
#include "cli/serve_device.h"
#include "device/blk/blk_device.h"
#include "device/blk/blk_region.h"

namespace airlock::cli {

namespace {

Outcome check(const ServeBlkOptions& options) {
  if (!std::has_single_bit(options.queue_size)) {
    return usage(fmt::format("--queue-size {}", options.queue_size),
                 "a split ring has a power of two of entries", "try --queue-size 256");
  }
  return {};
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
                  "use file:PATH or nbd:URI for a disk that outlives its process");
  }
  return std::move(*backend);
}

/// A region in which every queue has its ring and room for requests.
Outcome check_region(const ServeBlkOptions& options, const device::BlkShape& shape) {
  const std::uint64_t needed = device::blk_region_bytes_min(shape);
  if (options.serve.dma == pci::DmaPolicy::kOpen || options.serve.region >= needed) return {};
  return failed(
      fmt::format("--region {}", format_size(options.serve.region)),
      fmt::format("the rings and requests of {} queues of {} entries don't fit", options.queues,
                  options.queue_size),
      fmt::format("give --region {} or more, or fewer or smaller queues", format_size(needed)));
}

void add_disk_counters(nlohmann::ordered_json& json, const device::BlkDevice& disk) {
  const device::BlkCounts counts = disk.counts();
  json.update({{"requests",
                {{"read", counts.reads},
                 {"write", counts.writes},
                 {"flush", counts.flushes},
                 {"discard", counts.discards},
                 {"write_zeroes", counts.write_zeroes},
                 {"get_id", counts.get_ids}}},
               {"bytes_read", counts.read_bytes},
               {"bytes_written", counts.written_bytes},
               {"copies", disk.copies()},
               {"copied_bytes", disk.copied_bytes()},
               {"refused", counts.refused},
               {"io_errors", counts.io_errors},
               {"held", counts.held}});
}

std::expected<MadeDevice, Failure> make_disk(const ServeBlkOptions& options,
                                             const Restart& restart) {
  auto backend = open_disk_backend(options, restart);
  if (!backend) return std::unexpected(backend.error());
  device::BlkShape shape{.queues = options.queues, .queue_size = options.queue_size};
  if (auto good = check_region(options, shape); !good) return std::unexpected(good.error());
  if (options.serve.dma != pci::DmaPolicy::kOpen) {
    shape.request_bytes_max = device::blk_request_bytes_max(shape, options.serve.region);
  }
  std::string text = (*backend)->describe();
  auto disk = device::BlkDevice::create(
      {.backend = std::move(*backend),
       .shape = shape,
       .id = options.serial,
       .ring_features = options.serve.ring_features & ring::Features::kMask,
       .on_error = options.on_error});
  if (!disk) return failed("serve blk", describe(disk.error()), "see airlock serve blk --help");
  const auto& made = **disk;
  return MadeDevice{.type = std::move(*disk),
                    .text = std::move(text),
                    .add_counters = [&made](auto& json) { add_disk_counters(json, made); },
                    .retry = [&made] { made.retry_held(); }};
}

}  // namespace

Outcome serve_blk(const ServeBlkOptions& options) {
  if (auto good = check(options); !good) return good;
  return serve_device("blk", options.serve,
                      [&](const Restart& restart) { return make_disk(options, restart); });
}

}  // namespace airlock::cli
