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

void add_counters(nlohmann::ordered_json& json, const device::Endpoint::Stats& stats) {
  json.update({{"clients", stats.clients},
               {"notifications", stats.notifications},
               {"interrupts", stats.queues.interrupts},
               {"wake_ups", stats.queues.wake_ups},
               {"naps", stats.queues.naps},
               {"empty_polls", stats.queues.empty_polls},
               {"violations", stats.violations},
               {"refusals", stats.refusals},
               {"dma",
                {{"maps", stats.dma_maps},
                 {"fds_closed", stats.dma_fds_closed},
                 {"fds_mapped", stats.dma_fds_mapped},
                 {"guest_bytes", stats.guest_bytes},
                 {"guest_bytes_max", stats.guest_bytes_max}}},
               {"view", to_json(stats.view)}});
}

StatsFile::StatsFile(std::string path) : path_(std::move(path)) {
  if (path_.empty()) return;
  file_ = Fd(open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666));
  if (!file_) {
    log(LogLevel::kWarning, "can't write the counters to {}: {}", path_, describe(system_error()));
  }
}

void StatsFile::write(const nlohmann::ordered_json& counters) const {
  if (!file_) return;
  const std::string text = counters.dump(2) + '\n';
  // A pipe has no size, and needs none.
  [[maybe_unused]] const int emptied = ftruncate(file_.get(), 0);
  const ssize_t written = ::write(file_.get(), text.data(), text.size());
  if (written != static_cast<ssize_t>(text.size())) {
    log(LogLevel::kWarning, "can't write the counters to {}", path_);
  }
}

}  // namespace airlock::cli
