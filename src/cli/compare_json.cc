// SPDX-License-Identifier: Apache-2.0
#include "cli/compare_json.h"

#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <fstream>
#include <string>

#include <nlohmann/json.hpp>

namespace airlock::cli {

namespace {

using Json = nlohmann::ordered_json;

double share(std::uint64_t part, std::uint64_t whole) {
  return static_cast<double>(part) / static_cast<double>(std::max<std::uint64_t>(whole, 1));
}

Json seen_json(const compare::Seen& seen) {
  return {{"bytes", seen.bytes}, {"outside_bytes", seen.outside_bytes}};
}

Json exposure_json(const compare::ExposureRow& row) {
  return {{"request_bytes", row.exposure.request_bytes},
          {"write", row.write},
          {"visible_per_byte", visible_per_byte(row.exposure)},
          {"during", seen_json(row.exposure.during)},
          {"after", seen_json(row.exposure.after)}};
}

Json load_json(const compare::ModelRows& rows, const compare::LoadRow& row) {
  const compare::Cell& cell = row.cell;
  const compare::RunResult& sum = row.sum;
  const std::uint64_t bytes = sum.requests * cell.request_bytes;
  const LoadCosts costs = costs_of(row);
  const auto* const exposure = exposure_of(rows, cell.request_bytes, cell.write);
  const double visible =
      exposure == nullptr ? 0.0 : static_cast<double>(exposure->exposure.during.bytes);
  return {{"request_bytes", cell.request_bytes},
          {"write", cell.write},
          {"depth", cell.depth},
          {"requests", sum.requests},
          {"seconds", static_cast<double>(sum.ns) / 1e9},
          {"requests_per_s", costs.requests_per_s},
          {"bytes_per_s", costs.bytes_per_s},
          {"p50_us", costs.p50_us},
          {"p99_us", costs.p99_us},
          {"cpu_ns_per_byte",
           {{"all", costs.cpu_ns_per_byte},
            {"guest", share(sum.guest_cpu_ns, bytes)},
            {"trusted", share(sum.trusted_cpu_ns, bytes)},
            {"device", share(sum.device_cpu_ns, bytes)}}},
          {"copies_per_byte", costs.copies_per_byte},
          {"stand_in_copies_per_byte", costs.stand_ins_per_byte},
          {"device_copies_per_byte", share(sum.device_copied_bytes, bytes)},
          {"messages_per_request", costs.messages_per_request},
          {"wakes_per_request", costs.wakes_per_request},
          {"mapped_us", costs.mapped_us},
          {"visible_byte_seconds_per_request", visible * costs.mapped_us / 1e6},
          {"pool_high_water_bytes", sum.high_water_bytes}};
}

Json model_json(const compare::ModelRows& rows) {
  const compare::Model& model = *rows.model;
  Json exposures = Json::array();
  for (const compare::ExposureRow& row : rows.exposures)
    exposures.push_back(exposure_json(row));
  Json loads = Json::array();
  for (const compare::LoadRow& row : rows.loads)
    loads.push_back(load_json(rows, row));
  return {{"name", model.name},
          {"what", model.what},
          {"trust", model.trust},
          {"has_trusted_part", model.serve != nullptr},
          {"trusted_lines",
           {{"own", model.trusted_lines.own}, {"libraries", model.trusted_lines.libraries}}},
          {"exposures", std::move(exposures)},
          {"loads", std::move(loads)},
          {"scan", seen_json(rows.scan)}};
}

// UTC, to the second.
std::string now_text() {
  const std::time_t now = std::time(nullptr);
  tm parts = {};
  std::array<char, 32> text{};
  const std::size_t length =
      std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", ::gmtime_r(&now, &parts));
  return {text.data(), length};
}

// As the kernel calls it; "?" where it has no name for it, as on arm64.
std::string processor_name() {
  std::ifstream file("/proc/cpuinfo");
  std::string line;
  while (std::getline(file, line)) {
    const std::size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "?";
}

}  // namespace

LoadCosts costs_of(const compare::LoadRow& row) {
  const compare::RunResult& sum = row.sum;
  const std::uint64_t bytes = sum.requests * row.cell.request_bytes;
  return {
      .requests_per_s = share(sum.requests, sum.ns) * 1e9,
      .bytes_per_s = share(bytes, sum.ns) * 1e9,
      .p50_us = sum.latency.percentile_us(0.5),
      .p99_us = sum.latency.percentile_us(0.99),
      .cpu_ns_per_byte = share(sum.guest_cpu_ns + sum.trusted_cpu_ns + sum.device_cpu_ns, bytes),
      .copies_per_byte = share(sum.copied_bytes, bytes),
      .stand_ins_per_byte = share(sum.stand_in_bytes, bytes),
      .messages_per_request = share(sum.messages, sum.requests),
      .wakes_per_request = share(sum.wakes, sum.requests),
      .mapped_us = share(sum.mapped_ns, sum.requests) / 1e3};
}

double visible_per_byte(const compare::Exposure& exposure) {
  return share(exposure.during.bytes, exposure.request_bytes);
}

const compare::ExposureRow* exposure_of(const compare::ModelRows& rows, std::uint64_t request_bytes,
                                        bool write) {
  const auto found = std::ranges::find_if(rows.exposures, [=](const compare::ExposureRow& row) {
    return row.write == write && row.exposure.request_bytes == request_bytes;
  });
  return found == rows.exposures.end() ? nullptr : &*found;
}

Json comparison_json(const CompareRun& run) {
  utsname system = {};
  static_cast<void>(::uname(&system));
  Json models = Json::array();
  for (const compare::ModelRows& rows : run.rows)
    models.push_back(model_json(rows));
  Json left_out = Json::array();
  for (const compare::Model* const model : run.left_out)
    left_out.push_back({{"name", model->name}, {"why", cannot_carry(*model, run.traffic)}});
  Json json{{"workload", name_of(run.traffic)},
            {"when", now_text()},
            {"version", AIRLOCK_VERSION},
            {"machine",
             {{"processors", ::sysconf(_SC_NPROCESSORS_ONLN)},
              {"processor", processor_name()},
              {"system", system.sysname},
              {"release", system.release},
              {"architecture", system.machine}}},
            {"rounds", compare::kRounds},
            {"private_bytes", compare::kPrivateBytes},
            {"models", std::move(models)}};
  if (!left_out.empty()) json["left_out"] = std::move(left_out);
  return json;
}

}  // namespace airlock::cli
