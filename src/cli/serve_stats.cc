// SPDX-License-Identifier: Apache-2.0
#include "cli/serve_stats.h"

#include <fcntl.h>
#include <unistd.h>

#include <utility>

#include <nlohmann/json.hpp>

#include "base/log.h"

namespace airlock::cli {

namespace {

nlohmann::ordered_json to_json(const device::Endpoint::View& view) {
  auto queues = nlohmann::ordered_json::array();
  for (const pci::QueueSetup& queue : view.queues) {
    queues.push_back({{"queue", queue.index},
                      {"size", queue.size},
                      {"descriptor_area", std::to_underlying(queue.descriptor_area)},
                      {"driver_area", std::to_underlying(queue.driver_area)},
                      {"device_area", std::to_underlying(queue.device_area)}});
  }
  const bool any = view.touched.end > 0;
  return {{"addresses", view.touched.mode == window::AddressMode::kBus ? "bus" : "offset"},
          {"region_first", view.region_first},
          {"region_bytes", view.region_bytes},
          {"queues", queues},
          {"touched_first", any ? view.touched.first : 0},
          {"touched_end", view.touched.end}};
}

}  // namespace

std::string to_json(const ServeStats& stats) {
  const auto& endpoint = stats.endpoint;
  const auto& blk = stats.blk;
  const nlohmann::ordered_json json = {
      {"requests",
       {{"read", blk.reads},
        {"write", blk.writes},
        {"flush", blk.flushes},
        {"discard", blk.discards},
        {"write_zeroes", blk.write_zeroes},
        {"get_id", blk.get_ids}}},
      {"bytes_read", blk.read_bytes},
      {"bytes_written", blk.written_bytes},
      {"copies", stats.copies},
      {"copied_bytes", stats.copied_bytes},
      {"refused", blk.refused},
      {"io_errors", blk.io_errors},
      {"clients", endpoint.clients},
      {"notifications", endpoint.notifications},
      {"interrupts", endpoint.queues.interrupts},
      {"wake_ups", endpoint.queues.wake_ups},
      {"empty_polls", endpoint.queues.empty_polls},
      {"violations", endpoint.violations},
      {"refusals", endpoint.refusals},
      {"dma",
       {{"maps", endpoint.dma_maps},
        {"fds_closed", endpoint.dma_fds_closed},
        {"fds_mapped", endpoint.dma_fds_mapped},
        {"guest_bytes", endpoint.guest_bytes},
        {"guest_bytes_max", endpoint.guest_bytes_max}}},
      {"view", to_json(endpoint.view)},
  };
  return json.dump(2);
}

StatsFile::StatsFile(std::string path) : path_(std::move(path)) {
  if (path_.empty()) return;
  file_ = Fd(open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666));
  if (!file_) {
    log(LogLevel::kWarning, "can't write the counters to {}: {}", path_, describe(system_error()));
  }
}

void StatsFile::write(const ServeStats& stats) const {
  if (!file_) return;
  const std::string text = to_json(stats) + '\n';
  // A pipe has no size, and needs none.
  [[maybe_unused]] const int emptied = ftruncate(file_.get(), 0);
  const ssize_t written = ::write(file_.get(), text.data(), text.size());
  if (written != static_cast<ssize_t>(text.size())) {
    log(LogLevel::kWarning, "can't write the counters to {}", path_);
  }
}

}  // namespace airlock::cli
