// SPDX-License-Identifier: Apache-2.0
#include "cli/compare_report.h"

#include <limits>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

namespace airlock::cli {

namespace {

using ReportJson = nlohmann::ordered_json;

// More than anybody measures, and few enough to draw.
constexpr std::size_t kEntriesMost = 64;
constexpr std::size_t kSizesMost = 4;
constexpr double kNumberMost = 1e18;

/// Takes values out of JSON; the first that is not as it has to be is the error.
class ReportReader {
 public:
  [[nodiscard]] const std::string& error() const { return error_; }

  const ReportJson& member(const ReportJson& object, const char* key) {
    static const ReportJson kNothing;
    const auto found = object.find(key);  // of what is no object: its end
    if (found != object.end()) return *found;
    refuse("there is no '{}'", key);
    return kNothing;
  }
  std::string text(const ReportJson& object, const char* key) {
    const ReportJson& value = member(object, key);
    if (value.is_string()) return value.get<std::string>();
    refuse("'{}' is no text", key);
    return {};
  }
  bool flag(const ReportJson& object, const char* key) {
    const ReportJson& value = member(object, key);
    if (value.is_boolean()) return value.get<bool>();
    refuse("'{}' is neither true nor false", key);
    return false;
  }
  double number(const ReportJson& object, const char* key) {
    const ReportJson& value = member(object, key);
    const double number = value.is_number() ? value.get<double>() : -1;
    if (number >= 0 && number <= kNumberMost) return number;
    refuse("'{}' is no number from 0 to 1e18", key);
    return 0;
  }
  std::uint64_t count(const ReportJson& object, const char* key) {
    const ReportJson& value = member(object, key);
    const std::int64_t count = value.is_number_integer() ? value.get<std::int64_t>() : -1;
    if (count >= 0) return static_cast<std::uint64_t>(count);
    refuse("'{}' is no whole number", key);
    return 0;
  }
  /// Calls `take` for each, until one of them is wrong.
  template <class F>
  void each(const ReportJson& object, const char* key, const F& take) {
    const ReportJson& value = member(object, key);
    if (!value.is_array() || value.empty() || value.size() > kEntriesMost) {
      refuse("'{}' has not 1 to 64 entries", key);
      return;
    }
    for (const ReportJson& entry : value) {
      if (!error_.empty()) return;
      take(entry);
    }
  }
  void refuse(fmt::format_string<const char*&> format, const char* key) {
    if (error_.empty()) error_ = fmt::format(format, key);
  }

 private:
  std::string error_;
};

compare::ReportExposure exposure_from(ReportReader& reader, const ReportJson& json) {
  return {.request_bytes = reader.count(json, "request_bytes"),
          .write = reader.flag(json, "write"),
          .visible_per_byte = reader.number(json, "visible_per_byte"),
          .after_bytes = reader.count(reader.member(json, "after"), "bytes")};
}

compare::ReportLoad load_from(ReportReader& reader, const ReportJson& json) {
  const std::uint64_t depth = reader.count(json, "depth");
  if (depth > std::numeric_limits<std::uint32_t>::max()) reader.refuse("'{}' is too much", "depth");
  return {.request_bytes = reader.count(json, "request_bytes"),
          .write = reader.flag(json, "write"),
          .depth = static_cast<std::uint32_t>(depth),
          .requests = reader.count(json, "requests"),
          .bytes_per_s = reader.number(json, "bytes_per_s"),
          .p50_us = reader.number(json, "p50_us"),
          .p99_us = reader.number(json, "p99_us"),
          .cpu_ns_per_byte = reader.number(reader.member(json, "cpu_ns_per_byte"), "all"),
          .copies_per_byte = reader.number(json, "copies_per_byte"),
          .stand_ins_per_byte = reader.number(json, "stand_in_copies_per_byte"),
          .messages_per_request = reader.number(json, "messages_per_request"),
          .pool_high_water_bytes = reader.count(json, "pool_high_water_bytes")};
}

compare::ReportFlush flush_from(ReportReader& reader, const ReportJson& json) {
  return {.trapped = reader.flag(json, "hv_sees_flush"),
          .unmaps = reader.count(json, "unmaps"),
          .hardware_stale_reads = reader.count(json, "hardware_stale_reads"),
          .emulated_stale_reads = reader.count(json, "emulated_stale_reads"),
          .unmap_us = reader.number(json, "unmap_us")};
}

compare::ReportBus bus_from(ReportReader& reader, const ReportJson& json) {
  return {.locked = reader.flag(json, "locked"),
          .frames = reader.count(json, "frames"),
          .private_bytes = reader.count(json, "private_bytes"),
          .read_bytes = reader.count(json, "read_bytes"),
          .faults = reader.count(json, "faults"),
          .opened = reader.flag(json, "opened")};
}

compare::ReportModel model_from(ReportReader& reader, const ReportJson& json) {
  const ReportJson& lines = reader.member(json, "trusted_lines");
  compare::ReportModel model{
      .name = reader.text(json, "name"),
      .what = reader.text(json, "what"),
      .trust = reader.text(json, "trust"),
      .own_lines = reader.count(lines, "own"),
      .borrowed_lines = reader.count(lines, "libraries"),
      .found_bytes = reader.count(reader.member(json, "scan"), "outside_bytes"),
      .exposures = {},
      .loads = {}};
  reader.each(json, "exposures", [&](const ReportJson& entry) {
    model.exposures.push_back(exposure_from(reader, entry));
  });
  reader.each(json, "loads",
              [&](const ReportJson& entry) { model.loads.push_back(load_from(reader, entry)); });
  return model;
}

}  // namespace

std::expected<compare::Report, std::string> report_of(const ReportJson& json) {
  ReportReader reader;
  const ReportJson& machine = reader.member(json, "machine");
  compare::Report report{.when = reader.text(json, "when"),
                         .version = reader.text(json, "version"),
                         .workload = reader.text(json, "workload"),
                         .processor = reader.text(machine, "processor"),
                         .system = reader.text(machine, "system"),
                         .release = reader.text(machine, "release"),
                         .architecture = reader.text(machine, "architecture"),
                         .processors = reader.count(machine, "processors"),
                         .rounds = reader.count(json, "rounds"),
                         .models = {},
                         .left_out = {},
                         .flushes = {},
                         .buses = {}};
  reader.each(json, "models",
              [&](const ReportJson& entry) { report.models.push_back(model_from(reader, entry)); });
  if (json.contains("left_out")) {  // where there is any
    reader.each(json, "left_out", [&](const ReportJson& entry) {
      report.left_out.push_back(
          {.name = reader.text(entry, "name"), .why = reader.text(entry, "why")});
    });
  }
  if (json.contains("apart")) {  // of a run of all models
    reader.each(json["apart"], "two_stage", [&](const ReportJson& entry) {
      report.flushes.push_back(flush_from(reader, entry));
    });
    reader.each(json["apart"], "locked_bus",
                [&](const ReportJson& entry) { report.buses.push_back(bus_from(reader, entry)); });
  }
  if (report.sizes().size() > kSizesMost) reader.refuse("'{}' are of too many sizes", "loads");
  if (!reader.error().empty()) return std::unexpected(reader.error());
  return report;
}

std::expected<compare::Report, std::string> parse_report(std::string_view text) {
  const ReportJson json = ReportJson::parse(text, nullptr, false);
  if (json.is_discarded()) return std::unexpected("it is no JSON");
  return report_of(json);
}

}  // namespace airlock::cli
