// SPDX-License-Identifier: Apache-2.0
//
// What a page about a comparison is made of: plain values, of a run or of a file that somebody
// kept.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace airlock::compare {

/// One load through one model. Sizes in bytes, times in the unit that the name ends with.
struct ReportLoad {
  std::uint64_t request_bytes = 0;
  bool write = false;
  std::uint32_t depth = 0;
  std::uint64_t requests = 0;
  double bytes_per_s = 0;
  double p50_us = 0;
  double p99_us = 0;
  double cpu_ns_per_byte = 0;
  double copies_per_byte = 0;
  double stand_ins_per_byte = 0;
  double messages_per_request = 0;
  std::uint64_t pool_high_water_bytes = 0;
};

/// What of the guest was in sight for one request.
struct ReportExposure {
  std::uint64_t request_bytes = 0;
  bool write = false;
  double visible_per_byte = 0;
  std::uint64_t after_bytes = 0;  // still in sight when it was over
};

struct ReportModel {
  std::string name;
  std::string what;
  std::string trust;
  std::uint64_t own_lines = 0;       // of trusted code
  std::uint64_t borrowed_lines = 0;  // of libraries that it uses on what others wrote
  std::uint64_t found_bytes = 0;     // of buffers given to nobody
  std::vector<ReportExposure> exposures;
  std::vector<ReportLoad> loads;
};

/// A model that carries no such workload, and why.
struct ReportLeftOut {
  std::string name;
  std::string why;
};

/// What devices read of pages that were taken back, behind a two-stage IOMMU (SYS-8).
struct ReportFlush {
  bool trapped = false;  // the hypervisor hears of each flush
  std::uint64_t unmaps = 0;
  std::uint64_t hardware_stale_reads = 0;
  std::uint64_t emulated_stale_reads = 0;
  double unmap_us = 0;
};

/// What a card with firmware of its own read over its bus (SYS-12).
struct ReportBus {
  bool locked = false;              // to a window, by the guest's firmware
  std::uint64_t frames = 0;         // that went through its pool before, intact
  std::uint64_t private_bytes = 0;  // that there were beside the pool
  std::uint64_t read_bytes = 0;     // and that the card read
  std::uint64_t faults = 0;         // that the bus recorded
  bool opened = false;              // the system could take the window away
};

struct Report {
  std::string when;  // UTC
  std::string version;
  std::string workload;
  std::string processor;
  std::string system;
  std::string release;
  std::string architecture;
  std::uint64_t processors = 0;
  std::uint64_t rounds = 0;
  std::vector<ReportModel> models;
  std::vector<ReportLeftOut> left_out;
  std::vector<ReportFlush> flushes;  // empty: not measured
  std::vector<ReportBus> buses;      // the same

  /// The sizes of requests that there are loads of, each once, ascending.
  [[nodiscard]] std::vector<std::uint64_t> sizes() const;
  /// The least and the most that were in flight at a time; 0 without loads.
  [[nodiscard]] std::uint32_t least_depth() const;
  [[nodiscard]] std::uint32_t most_depth() const;
};

/// Null if there is none such.
[[nodiscard]] const ReportLoad* find_load(const ReportModel& model, std::uint64_t request_bytes,
                                          bool write, std::uint32_t depth);
[[nodiscard]] const ReportExposure* find_exposure(const ReportModel& model,
                                                  std::uint64_t request_bytes, bool write);
/// The most that the model's pool ever had in use, in bytes.
[[nodiscard]] std::uint64_t pool_most_bytes(const ReportModel& model);

}  // namespace airlock::compare
