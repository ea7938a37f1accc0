// SPDX-License-Identifier: Apache-2.0
#include "cli/compare_apart.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include <nlohmann/json.hpp>

namespace airlock::cli {

namespace {

using ApartJson = nlohmann::ordered_json;

constexpr std::chrono::milliseconds kStaleReadsTime{200};

double unmap_us(const compare::StaleReads& reads) {
  return static_cast<double>(reads.unmap_ns) / 1e3 /
         static_cast<double>(std::max<std::uint64_t>(reads.unmaps, 1));
}

ApartJson stale_reads_json(bool hv_sees_flush, const compare::StaleReads& reads) {
  return {{"hv_sees_flush", hv_sees_flush},
          {"unmaps", reads.unmaps},
          {"hardware_stale_reads", reads.hardware},
          {"emulated_stale_reads", reads.emulated},
          {"traps", reads.traps},
          {"unmap_us", unmap_us(reads)}};
}

ApartJson rogue_reads_json(bool locked, const compare::RogueReads& reads) {
  return {{"locked", locked},
          {"frames", reads.frames},
          {"private_bytes", reads.private_bytes},
          {"read_bytes", reads.read_bytes},
          {"faults", reads.faults},
          {"opened", reads.opened}};
}

void print_rogue_reads(const ApartRows& rows) {
  fmt::print(
      "\nwindow enforced by the bus: a card without an IOMMU, whose frames go through a pool, "
      "reads "
      "the rest\n");
  fmt::print("{:<16} {:>9} {:>15} {:>15} {:>9} {:>9}\n", "", "frames", "private bytes",
             "bytes read", "faults", "opened");
  const std::array<std::pair<std::string_view, const compare::RogueReads*>, 2> lines{
      {{"no window", &rows.bus_open}, {"locked window", &rows.bus_locked}}};
  for (const auto& [name, reads] : lines) {
    fmt::print("{:<16} {:>9} {:>15} {:>15} {:>9} {:>9}\n", name, reads->frames,
               reads->private_bytes, reads->read_bytes, reads->faults,
               reads->opened ? "yes" : "no");
  }
  fmt::print("opened: the system could switch the window off after firmware had set it\n");
}

std::unexpected<Failure> apart_failed(std::string_view name, const Error& error) {
  return failed(fmt::format("compare: {}", name), describe(error),
                "give --models, and it is left out");
}

}  // namespace

std::expected<ApartRows, Failure> measure_apart() {
  ApartRows rows;
  for (const bool hv_sees_flush : {false, true}) {
    const auto reads =
        compare::measure_stale_reads({.hv_sees_flush = hv_sees_flush}, kStaleReadsTime);
    if (!reads) return apart_failed("two-stage IOMMU", reads.error());
    (hv_sees_flush ? rows.flush_trapped : rows.flush_unseen) = *reads;
  }
  for (const bool locked : {false, true}) {
    const auto reads = compare::measure_rogue_reads(locked);
    if (!reads) return apart_failed("window enforced by the bus", reads.error());
    (locked ? rows.bus_locked : rows.bus_open) = *reads;
  }
  return rows;
}

void print_apart(const ApartRows& rows) {
  fmt::print(
      "\ntwo-stage IOMMU: pages that the guest took back and filled anew, read by devices that had "
      "them\n");
  fmt::print("{:<16} {:>9} {:>15} {:>15} {:>9} {:>9}\n", "", "unmaps", "hardware stale",
             "emulated stale", "traps", "unmap us");
  const std::array<std::pair<std::string_view, const compare::StaleReads*>, 2> lines{
      {{"flush unseen", &rows.flush_unseen}, {"flush trapped", &rows.flush_trapped}}};
  for (const auto& [name, reads] : lines) {
    fmt::print("{:<16} {:>9} {:>15} {:>15} {:>9} {:>9.1f}\n", name, reads->unmaps, reads->hardware,
               reads->emulated, reads->traps, unmap_us(*reads));
  }
  print_rogue_reads(rows);
}

ApartJson apart_json(const ApartRows& rows) {
  return {{"two_stage", ApartJson::array({stale_reads_json(false, rows.flush_unseen),
                                          stale_reads_json(true, rows.flush_trapped)})},
          {"locked_bus", ApartJson::array({rogue_reads_json(false, rows.bus_open),
                                           rogue_reads_json(true, rows.bus_locked)})}};
}

}  // namespace airlock::cli
