// SPDX-License-Identifier: Apache-2.0
#include "cli/compare.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <iterator>
#include <optional>
#include <utility>

#include <nlohmann/json.hpp>

#include "base/check.h"
#include "base/size.h"
#include "cli/compare_apart.h"
#include "cli/compare_json.h"
#include "cli/compare_page.h"
#include "cli/compare_report.h"
#include "compare/report/words.h"

namespace airlock::cli {

namespace {

using compare::ModelRows;
using compare::Traffic;
using compare::WorkloadWords;

std::expected<std::vector<const compare::Model*>, Failure> chosen_models(
    const std::vector<std::string>& names) {
  const auto all = compare::all_models();
  if (names.empty()) return std::vector(all.begin(), all.end());
  std::vector<const compare::Model*> chosen;
  for (const std::string& name : names) {
    const compare::Model* const model = compare::find_model(name);
    if (model == nullptr) {
      return usage(fmt::format("--models {}", name), "there is no such model",
                   "see airlock compare --list");
    }
    chosen.push_back(model);
  }
  return chosen;
}

void print_models() {
  for (const compare::Model* const model : compare::all_models())
    fmt::print("{:<16} {}\n{:<16} kept in by: {}\n", model->name, model->what, "", model->trust);
}

void print_loads(const std::vector<ModelRows>& all, const WorkloadWords& words) {
  for (std::size_t load = 0; load < all.front().loads.size(); ++load) {
    const compare::Cell& cell = all.front().loads[load].cell;
    fmt::print("\n{} {}, depth {}\n", cell.write ? words.writes_of : words.reads_of,
               format_size(cell.request_bytes), cell.depth);
    fmt::print("{:<16} {:>10} {:>8} {:>8} {:>8} {:>8} {:>7} {:>9} {:>7}\n", "",
               fmt::format("{}/s", words.requests), "MB/s", "p50 us", "p99 us", "CPU ns/B",
               "copies", "stand-ins", "msgs");
    for (const ModelRows& rows : all) {
      const LoadCosts costs = costs_of(rows.loads[load]);
      fmt::print(
          "{:<16} {:>10.0f} {:>8.1f} {:>8.1f} {:>8.1f} {:>8.2f} {:>7.2f} {:>9.2f} {:>7.2f}\n",
          rows.model->name, costs.requests_per_s, costs.bytes_per_s / 1e6, costs.p50_us,
          costs.p99_us, costs.cpu_ns_per_byte, costs.copies_per_byte, costs.stand_ins_per_byte,
          costs.messages_per_request);
    }
  }
}

std::string visible_text(const ModelRows& rows, std::uint64_t request_bytes, bool write) {
  const auto* const row = exposure_of(rows, request_bytes, write);
  if (row == nullptr) return "-";
  const bool stays = row->exposure.after.bytes > 0;
  return fmt::format("{:.2f}{}", visible_per_byte(row->exposure), stays ? "+" : "");
}

void print_exposures(const CompareRun& run, const WorkloadWords& words) {
  const auto plans = plans_of(run.traffic);
  fmt::print(
      "\nguest bytes that the device sees for each byte of a {} in flight (+: after it as well)\n",
      words.request);
  fmt::print("{:<16}", "");
  for (const compare::BufferPlan& plan : plans) {
    const std::string size = format_size(plan.request_bytes);
    fmt::print(" {:>15} {:>12}", fmt::format("{} {}", words.read, size),
               fmt::format("{} {}", words.write, size));
  }
  fmt::print(" {:>10} {:>18} {:>12}\n", "pool most", "trusted lines", "found beyond");
  for (const ModelRows& rows : run.rows) {
    fmt::print("{:<16}", rows.model->name);
    for (const compare::BufferPlan& plan : plans) {
      fmt::print(" {:>15} {:>12}", visible_text(rows, plan.request_bytes, false),
                 visible_text(rows, plan.request_bytes, true));
    }
    std::uint64_t most = 0;
    for (const compare::LoadRow& row : rows.loads)
      most = std::max(most, row.sum.high_water_bytes);
    const compare::TrustedLines& lines = rows.model->trusted_lines;
    fmt::print(" {:>10} {:>18} {:>12}\n", format_size(most),
               lines.own == 0 ? "-" : fmt::format("{} + {}", lines.own, lines.libraries),
               rows.scan.outside_bytes);
  }
}

void print(const CompareRun& run) {
  const WorkloadWords& words = compare::words_for(name_of(run.traffic));
  fmt::print("{}; {} rounds in turns; copies without {}\n", words.ran, compare::kRounds,
             words.own_copy);
  print_loads(run.rows, words);
  print_exposures(run, words);
  fmt::print(
      "trusted lines: of the trusted process itself + of the libraries that it uses on what others "
      "wrote\nfound beyond: bytes of the guest, of buffers it gave to nobody, that the device "
      "could "
      "see in the end\n");
  for (const compare::Model* const model : run.left_out)
    fmt::print("left out: {}, since {}\n", model->name, cannot_carry(*model, run.traffic));
}

/// Takes those out that carry no such traffic.
std::vector<const compare::Model*> take_unfit(std::vector<const compare::Model*>& models,
                                              Traffic traffic) {
  const auto unfit = [=](const compare::Model* model) {
    return !cannot_carry(*model, traffic).empty();
  };
  std::vector<const compare::Model*> taken;
  std::ranges::copy_if(models, std::back_inserter(taken), unfit);
  std::erase_if(models, unfit);
  return taken;
}

// What is no model is measured with all of them, or not.
Outcome show(const CompareRun& run, const CompareOptions& options, PageFile& page) {
  std::optional<ApartRows> apart;
  if (options.models.empty()) apart = TRY(measure_apart());
  if (options.json || !options.page.empty()) {
    auto json = comparison_json(run);
    if (apart) json["apart"] = apart_json(*apart);
    if (options.json) {
      fmt::print("{}\n", json.dump(2));
      return {};
    }
    const auto report = report_of(json);
    CHECK(report.has_value());
    return page.write(*report);
  }
  print(run);
  if (apart) print_apart(*apart);
  return {};
}

}  // namespace

Outcome compare_models(const CompareOptions& options) {
  if (options.list) {
    print_models();
    return {};
  }
  const auto traffic = compare::traffic_named(options.workload);
  if (!traffic) {
    return usage("--workload " + options.workload, "there is no such workload", "give blk or net");
  }
  if (!options.from.empty()) return page_from_file(options.from, options.page);
  auto models = chosen_models(options.models);
  if (!models) return std::unexpected(models.error());
  CompareRun run{.traffic = *traffic, .rows = {}, .left_out = take_unfit(*models, *traffic)};
  if (models->empty()) {
    return usage("--workload " + options.workload,
                 fmt::format("none of these models carries it: {}",
                             cannot_carry(*run.left_out.front(), *traffic)),
                 "give --models with others");
  }
  PageFile page;
  // Before a run that takes minutes: a path that can't be written is told at once.
  if (!options.page.empty()) TRY(page.open(options.page));
  const bool shown = ::isatty(STDERR_FILENO) == 1;
  const compare::ComparisonOptions wanted{
      .models = std::move(*models),
      .traffic = *traffic,
      .time = std::chrono::duration_cast<std::chrono::milliseconds>(options.time),
      .progress = [shown](std::uint64_t done, std::uint64_t runs) {
        if (shown) {
          fmt::print(stderr, "\rcompare: {} of {} runs{}", done, runs, done == runs ? "\n" : "");
        }
      }};
  auto all = compare::compare(wanted);
  if (!all) {
    return failed(fmt::format("compare: {}", all.error().model->name), describe(all.error().error),
                  "see what its processes wrote to stderr; give --models without it");
  }
  run.rows = std::move(*all);
  return show(run, options, page);
}

}  // namespace airlock::cli
