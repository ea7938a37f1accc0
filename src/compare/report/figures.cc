// SPDX-License-Identifier: Apache-2.0
#include "compare/report/figures.h"

#include <functional>

#include <fmt/core.h>

#include "compare/report/words.h"

namespace airlock::compare {

namespace {

using FigureMark = std::optional<Figure::Mark>;
// What a figure shows of a model, for requests of a size.
using OfRequests =
    std::function<FigureMark(const ReportModel&, std::uint64_t request_bytes, bool write)>;

std::string size_text(std::uint64_t bytes) {
  constexpr std::uint64_t kKibibyte = 1024;
  if (bytes % kKibibyte != 0) return fmt::format("{} B", bytes);
  return fmt::format("{} KiB", bytes / kKibibyte);
}

// A panel for each size, a series for each direction.
Figure by_size(const Report& report, Figure figure, const OfRequests& value) {
  const WorkloadWords& words = words_for(report.workload);
  figure.series = {words.reads, words.writes};
  for (const ReportModel& model : report.models)
    figure.rows.push_back(model.name);
  for (const std::uint64_t bytes : report.sizes()) {
    Figure::Panel panel{.title = size_text(bytes), .marks = {}};
    for (const ReportModel& model : report.models)
      panel.marks.push_back({value(model, bytes, false), value(model, bytes, true)});
    figure.panels.push_back(std::move(panel));
  }
  return figure;
}

OfRequests of_loads(std::uint32_t depth, const std::function<Figure::Mark(const ReportLoad&)>& of) {
  return [=](const ReportModel& model, std::uint64_t bytes, bool write) -> FigureMark {
    const ReportLoad* const load = find_load(model, bytes, write, depth);
    if (load == nullptr) return std::nullopt;
    return of(*load);
  };
}

OfRequests of_loads(std::uint32_t depth, double ReportLoad::* value) {
  return of_loads(depth, [=](const ReportLoad& load) {
    return Figure::Mark{.value = load.*value, .to = std::nullopt};
  });
}

Figure throughput(const Report& report) {
  return by_size(
      report,
      {.id = "throughput",
       .title = "Throughput",
       .axis_title = "MB/s",
       .reading = fmt::format("Longer is better. Data moved in a second, with as many {} in flight "
                              "as there may be; each size has an axis of its own.",
                              words_for(report.workload).requests),
       .axis = Figure::Axis::kLinearEach},
      of_loads(report.most_depth(), [](const ReportLoad& load) {
        return Figure::Mark{.value = load.bytes_per_s / 1e6, .to = std::nullopt};
      }));
}

Figure latency(const Report& report) {
  const WorkloadWords& words = words_for(report.workload);
  return by_size(
      report,
      {.id = "latency",
       .title = fmt::format("Latency of one {} at a time, p50 / p99", words.request),
       .axis_title = "us, in powers of ten",
       .reading = fmt::format("Further left is better. {} The dot is the median (p50): half of the "
                              "{} were as fast; the line ends at p99, which one {} in a hundred "
                              "exceeded. A long line is mostly the machine doing something else.",
                              words.timed, words.requests, words.request),
       .axis = Figure::Axis::kLogarithmic},
      of_loads(report.least_depth(), [](const ReportLoad& load) {
        return Figure::Mark{.value = load.p50_us, .to = load.p99_us};
      }));
}

Figure in_sight(const Report& report) {
  const WorkloadWords& words = words_for(report.workload);
  return by_size(
      report,
      {.id = "in-sight",
       .title = fmt::format("Guest bytes in sight of the device, for each byte of a {} in flight",
                            words.request),
       .axis_title = fmt::format("bytes per byte of a {}, in powers of ten", words.request),
       .reading = std::string(words.in_sight),
       .axis = Figure::Axis::kLogarithmicZero},
      [](const ReportModel& model, std::uint64_t bytes, bool write) -> FigureMark {
        const ReportExposure* const exposure = find_exposure(model, bytes, write);
        if (exposure == nullptr) return std::nullopt;
        return Figure::Mark{.value = exposure->visible_per_byte, .to = std::nullopt};
      });
}

Figure copies(const Report& report) {
  return by_size(
      report,
      {.id = "copies",
       .title = "Copies for the model's sake",
       .axis_title = "copies of each byte",
       .reading = fmt::format("Shorter is better. How often a byte is copied between the "
                              "application and the device; {}, the same for all, is left out.",
                              words_for(report.workload).own_copy)},
      of_loads(report.most_depth(), &ReportLoad::copies_per_byte));
}

Figure messages(const Report& report) {
  return by_size(
      report,
      {.id = "messages",
       .title = "Messages to the trusted part",
       .axis_title = fmt::format("messages per {}", words_for(report.workload).request),
       .reading = "Shorter is better. Each stands for a hypercall: the driver stops and waits for "
                  "somebody else. A copying VMM is woken, but not asked."},
      of_loads(report.most_depth(), &ReportLoad::messages_per_request));
}

Figure processor_time(const Report& report) {
  const WorkloadWords& words = words_for(report.workload);
  return by_size(
      report,
      {.id = "cpu",
       .title = "Processor time of all processes together",
       .axis_title = "ns per byte",
       .reading = fmt::format("Shorter is better. Small {} cost by the {}, large ones by the byte; "
                              "each size has an axis of its own.",
                              words.requests, words.request),
       .axis = Figure::Axis::kLinearEach},
      of_loads(report.most_depth(), &ReportLoad::cpu_ns_per_byte));
}

Figure by_model(const Report& report, Figure figure,
                const std::function<std::vector<double>(const ReportModel&)>& values) {
  Figure::Panel panel{.title = "all loads", .marks = {}};
  for (const ReportModel& model : report.models) {
    figure.rows.push_back(model.name);
    auto& row = panel.marks.emplace_back();
    for (const double value : values(model))
      row.emplace_back(Figure::Mark{.value = value, .to = std::nullopt});
  }
  figure.panels.push_back(std::move(panel));
  return figure;
}

Figure pool_most(const Report& report) {
  return by_model(
      report,
      {.id = "pool",
       .title = "The most that a pool had in use, or that was shared, at a time",
       .axis_title = "KiB",
       .reading = fmt::format("Shorter is better: memory for bounce buffers and rings, or pages "
                              "that are shared. All models had the same {} in flight, so a "
                              "difference is what a model adds; open has neither.",
                              words_for(report.workload).requests),
       .series = {"pool or shared pages"}},
      [](const ReportModel& model) {
        return std::vector{static_cast<double>(pool_most_bytes(model)) / 1024};
      });
}

Figure trusted_lines(const Report& report) {
  Figure figure = by_model(
      report,
      {.id = "trusted",
       .title = "Trusted code besides the driver",
       .axis_title = "lines of code",
       .reading =
           "Shorter is better: lines, without comments, that have to be right for the device "
           "to be kept out. 0 is a model without a trusted process; what enforces it on "
           "real hardware (firmware, a hypervisor) is not counted.",
       .series = {"the trusted process", "libraries it uses on what others wrote"}},
      [](const ReportModel& model) {
        return std::vector{static_cast<double>(model.own_lines),
                           static_cast<double>(model.borrowed_lines)};
      });
  figure.panels.front().title.clear();
  return figure;
}

}  // namespace

std::vector<Figure> figures_of(const Report& report) {
  std::vector<Figure> figures;
  figures.push_back(throughput(report));
  figures.push_back(latency(report));
  figures.push_back(in_sight(report));
  figures.push_back(copies(report));
  figures.push_back(messages(report));
  figures.push_back(processor_time(report));
  figures.push_back(pool_most(report));
  figures.push_back(trusted_lines(report));
  return figures;
}

}  // namespace airlock::compare
