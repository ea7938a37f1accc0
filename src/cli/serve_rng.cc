// SPDX-License-Identifier: Apache-2.0
#include "cli/serve_rng.h"

#include <memory>
#include <utility>

#include <nlohmann/json.hpp>

#include "base/size.h"
#include "cli/serve_device.h"
#include "device/rng/rng_device.h"

namespace airlock::cli {

namespace {

constexpr std::uint16_t kRngQueueSize = 64;

std::string text_of(const ServeRngOptions& options) {
  if (options.max_bytes == 0) return "getrandom";
  return fmt::format("getrandom, {} bytes in {} ms", options.max_bytes, options.period_ms);
}

std::expected<MadeDevice, Failure> make_rng(const ServeRngOptions& options,
                                            const Restart& restart) {
  if (auto good = cannot_go_on("rng", restart); !good) return std::unexpected(good.error());
  const std::uint64_t needed = device::rng_region_bytes_min(kRngQueueSize);
  if (options.serve.dma != pci::DmaPolicy::kOpen && options.serve.region < needed) {
    return failed(fmt::format("--region {}", format_size(options.serve.region)),
                  "the queue and its buffers don't fit",
                  fmt::format("give --region {} or more", format_size(needed)));
  }
  auto rng = device::RngDevice::create(
      {.limit = {.max_bytes = options.max_bytes,
                 .period = std::chrono::milliseconds(options.period_ms)},
       .queue_size = kRngQueueSize,
       .ring_features = options.serve.ring_features & ring::Features::kMask});
  if (!rng) {
    return failed("serve rng", describe(rng.error()),
                  "start it when this machine has random numbers itself");
  }
  const auto& made = **rng;
  return MadeDevice{
      .type = std::move(*rng), .text = text_of(options), .add_counters = [&made](auto& json) {
        const device::RngCounts counts = made.counts();
        json.update(
            {{"requests", counts.requests}, {"bytes", counts.bytes}, {"waits", counts.waits}});
      }};
}

}  // namespace

Outcome serve_rng(const ServeRngOptions& options) {
  return serve_device("rng", options.serve,
                      [&](const Restart& restart) { return make_rng(options, restart); });
}

}  // namespace airlock::cli
