// SPDX-License-Identifier: Apache-2.0
#include "compare/report/page.h"

#include <iterator>

#include <fmt/core.h>

#include "compare/report/escape.h"
#include "compare/report/figures.h"
#include "compare/report/scale.h"
#include "compare/report/words.h"

namespace airlock::compare {

namespace {

constexpr std::string_view kPageHead = R"(<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width">
<title>airlock compare</title>
<style>
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; font: 1rem/1.45 sans-serif;
  color: #222; background: #fff }
h1, h2 { line-height: 1.2 }
h2 { margin: 2.5rem 0 .5rem; font-size: 1.2rem }
figure { margin: 0 }
svg { display: block; width: 100%; height: auto }
figcaption, .note { color: #444; font-size: .92rem }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-size: .86rem }
th, td { padding: .2rem .6rem; text-align: right; border-bottom: 1px solid #ddd }
th:first-child, .text { text-align: left }
dt { float: left; clear: left; width: 9rem; color: #444 }
dd { margin-left: 9rem }
</style>
</head>
<body>
)";

constexpr std::string_view kLimits = R"(<h2>What the rig can't show</h2>
<ul>
<li>There is no hypervisor. A message over a socket stands for a hypercall: it costs several
times as much as one on hardware, and less than one that a nested hypervisor handles.</li>
<li>A process can't take a page back from another that has mapped it. Where a hypervisor would
change a page table, share and share-bounce copy 4 KiB each way (the column stand-ins), and their
time is in the model's: read them as models with about that much to do for each page, not as a
forecast.</li>
<li>region, pool and shared differ here in algorithm and size, not in who enforces them: a
device's BAR, an MPU and SEV all become "the device has this file".</li>
<li>The guest, the device and the trusted part run on the same processors: where there are fewer
than busy processes, a model with a trusted part pays for that too.</li>
<li>The {} is memory, so differences are larger than with a real one. Times depend on the machine
and on what else it does; bytes in sight, copies, messages and lines do not.</li>
</ul>
)";

class PageText {
 public:
  template <class... T>
  void put(fmt::format_string<T...> format, T&&... values) {
    fmt::format_to(std::back_inserter(text_), format, std::forward<T>(values)...);
  }
  void add(std::string_view text) { text_ += text; }
  /// A cell of a table.
  void cell(std::string_view value) { put("<td>{}</td>", escaped(value)); }
  std::string take() { return std::move(text_); }

 private:
  std::string text_;
};

void put_run(PageText& page, const Report& report) {
  page.add("<h1>Ways to keep a device out of a guest's memory, side by side</h1>\n<p>");
  page.put(
      "<code>airlock compare</code> sent {}, once for every model: a way to let a device at the "
      "guest's buffers, and at nothing else. Guest, device and trusted part are processes; {} "
      "rounds, in turns.</p>\n",
      words_for(report.workload).ran, report.rounds);
  page.put("<dl>\n<dt>when</dt><dd>{}</dd>\n<dt>airlock</dt><dd>{}</dd>\n", escaped(report.when),
           escaped(report.version));
  page.put("<dt>workload</dt><dd>{}</dd>\n", escaped(report.workload));
  page.put("<dt>machine</dt><dd>{} processors, {}, {}</dd>\n", report.processors,
           escaped(report.processor), escaped(report.architecture));
  page.put("<dt>kernel</dt><dd>{} {}</dd>\n</dl>\n", escaped(report.system),
           escaped(report.release));
}

void put_models(PageText& page, const Report& report) {
  page.add(
      "<h2>The models</h2>\n<div class=\"wide\"><table>\n<tr><th>model</th><th class=\"text\">what "
      "it does</th>"
      "<th class=\"text\">what keeps the device in</th><th>trusted lines</th><th>found beyond, "
      "bytes</th></tr>\n");
  for (const ReportModel& model : report.models) {
    page.put(R"(<tr><th>{}</th><td class="text">{}</td><td class="text">{}</td>)",
             escaped(model.name), escaped(model.what), escaped(model.trust));
    page.cell(model.own_lines == 0 ? "none"
                                   : fmt::format("{} + {}", model.own_lines, model.borrowed_lines));
    page.cell(fmt::format("{}", model.found_bytes));
    page.add("</tr>\n");
  }
  page.add(
      "</table></div>\n<p class=\"note\">Trusted lines: of the trusted process itself + of the "
      "libraries that it uses on what others wrote. Found beyond: bytes of the guest, of buffers "
      "that it gave to nobody, which the device could see in the end: 0 unless nothing keeps it "
      "in.</p>\n");
  for (const ReportLeftOut& one : report.left_out) {
    page.put("<p class=\"note\">Left out: {}, since {}.</p>\n", escaped(one.name),
             escaped(one.why));
  }
}

void put_flushes(PageText& page, const Report& report) {
  if (report.flushes.empty()) return;
  page.add(
      "<h2>A two-stage IOMMU</h2>\n<div class=\"wide\"><table>\n<tr><th>flush</th>"
      "<th>pages taken back</th><th>read by hardware after</th><th>read by an emulated device "
      "after</th><th>unmap, us</th></tr>\n");
  for (const ReportFlush& flush : report.flushes) {
    page.put("<tr><th>{}</th>", flush.trapped ? "trapped" : "unseen");
    for (const std::uint64_t count :
         {flush.unmaps, flush.hardware_stale_reads, flush.emulated_stale_reads})
      page.cell(fmt::format("{}", count));
    page.cell(short_number(flush.unmap_us));
    page.add("</tr>\n");
  }
  page.add(
      "</table></div>\n<p class=\"note\">Measured by itself: the guest takes a page back from its "
      "devices and puts something private there. Anything but 0 in the third and fourth column is "
      "a hole: a device read it by a translation that the guest had flushed.</p>\n");
}

void put_buses(PageText& page, const Report& report) {
  if (report.buses.empty()) return;
  page.add(
      "<h2>A window enforced by the bus</h2>\n<div class=\"wide\"><table>\n<tr><th>window</th>"
      "<th>frames through the pool</th><th>private bytes</th><th>read by the card</th>"
      "<th>faults</th><th>taken away</th></tr>\n");
  for (const ReportBus& bus : report.buses) {
    page.put("<tr><th>{}</th>", bus.locked ? "locked" : "none");
    for (const std::uint64_t count : {bus.frames, bus.private_bytes, bus.read_bytes, bus.faults})
      page.cell(fmt::format("{}", count));
    page.cell(bus.opened ? "yes" : "no");
    page.add("</tr>\n");
  }
  page.add(
      "</table></div>\n<p class=\"note\">Measured by itself: a network card without an IOMMU sends "
      "and receives through a pool, and then reads whatever its bus lets it. Anything but 0 in the "
      "fourth column is the guest's own: a pool alone keeps in who wants to be. Taken away: "
      "whether the system could switch the window off after firmware had set it.</p>\n");
}

void put_figures(PageText& page, const Report& report) {
  for (const Figure& figure : figures_of(report)) {
    page.put("<h2>{}</h2>\n<figure id=\"{}\">\n", escaped(figure.title), figure.id);
    page.add(draw(figure));
    page.put("<figcaption>{}</figcaption>\n</figure>\n", escaped(figure.reading));
  }
}

void put_row(PageText& page, const ReportModel& model, const ReportLoad& load) {
  const ReportExposure* const seen = find_exposure(model, load.request_bytes, load.write);
  page.put("<tr><th>{}</th>", escaped(model.name));
  for (const double value :
       {load.bytes_per_s / 1e6, load.p50_us, load.p99_us, load.cpu_ns_per_byte,
        load.copies_per_byte, load.stand_ins_per_byte, load.messages_per_request})
    page.cell(short_number(value));
  page.cell(seen == nullptr
                ? std::string("-")
                : short_number(seen->visible_per_byte) + (seen->after_bytes > 0 ? "+" : ""));
  page.add("</tr>\n");
}

void put_table(PageText& page, const Report& report, const ReportLoad& kind) {
  const WorkloadWords& words = words_for(report.workload);
  page.put("<h3>{} {} bytes, {} at a time</h3>\n<div class=\"wide\"><table>\n",
           kind.write ? words.writes_of : words.reads_of, kind.request_bytes, kind.depth);
  page.add(
      "<tr><th>model</th><th>MB/s</th><th>p50, us</th><th>p99, us</th><th>CPU, ns/byte</th>"
      "<th>copies</th><th>stand-ins</th><th>messages</th><th>in sight</th></tr>\n");
  for (const ReportModel& model : report.models) {
    const ReportLoad* const load = find_load(model, kind.request_bytes, kind.write, kind.depth);
    if (load != nullptr) put_row(page, model, *load);
  }
  page.add("</table></div>\n");
}

void put_tables(PageText& page, const Report& report) {
  page.put(
      "<h2>All numbers</h2>\n<p class=\"note\">Copies, stand-ins: of each byte; messages: of each "
      "{0}. In sight: guest bytes for each byte of a {0} in flight, and + if some were still in "
      "sight after it.</p>\n",
      words_for(report.workload).request);
  if (report.models.empty()) return;
  for (const ReportLoad& kind : report.models.front().loads)
    put_table(page, report, kind);
}

}  // namespace

std::string page_of(const Report& report) {
  PageText page;
  page.add(kPageHead);
  put_run(page, report);
  put_models(page, report);
  put_figures(page, report);
  put_flushes(page, report);
  put_buses(page, report);
  page.put(kLimits, words_for(report.workload).behind);
  put_tables(page, report);
  page.add("</body>\n</html>\n");
  return page.take();
}

}  // namespace airlock::compare
