// SPDX-License-Identifier: Apache-2.0
// A page about a comparison: what stands where, and that nothing of what it is about is markup.
#include "compare/report/report.h"

#include <algorithm>

#include <gtest/gtest.h>

#include "compare/report/escape.h"
#include "compare/report/figures.h"
#include "compare/report/page.h"
#include "compare/report/scale.h"

namespace airlock::compare {
namespace {

ReportModel model_named(std::string name) {
  ReportModel model{.name = std::move(name),
                    .what = "copies",
                    .trust = "a file",
                    .own_lines = 221,
                    .borrowed_lines = 370,
                    .found_bytes = 0,
                    .exposures = {},
                    .loads = {}};
  for (const std::uint64_t bytes : {512U, 4096U}) {
    for (const bool write : {false, true}) {
      model.exposures.push_back({.request_bytes = bytes,
                                 .write = write,
                                 .visible_per_byte = write ? 8.0 : 0.0,
                                 .after_bytes = 0});
      for (const std::uint32_t depth : {1U, 32U}) {
        model.loads.push_back({.request_bytes = bytes,
                               .write = write,
                               .depth = depth,
                               .requests = 10,
                               .bytes_per_s = 123e6 * depth,
                               .p50_us = 7,
                               .p99_us = 45,
                               .cpu_ns_per_byte = 2,
                               .copies_per_byte = 1,
                               .stand_ins_per_byte = 0,
                               .messages_per_request = 0,
                               .pool_high_water_bytes = depth * bytes});
      }
    }
  }
  return model;
}

Report report_with(std::vector<ReportModel> models) {
  return {.when = "2026-01-02T03:04:05Z",
          .version = "1.2.3",
          .workload = "blk",
          .processor = "a processor",
          .system = "Linux",
          .release = "6.1.0",
          .architecture = "x86_64",
          .processors = 2,
          .rounds = 3,
          .models = std::move(models),
          .left_out = {},
          .flushes = {},
          .buses = {}};
}

std::size_t times(const std::string& text, std::string_view part) {
  std::size_t count = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1))
    ++count;
  return count;
}

TEST(ReportEscape, LeavesNoMarkup) {
  EXPECT_EQ(escaped("a<b>&\"c'\x01\n"), "a&lt;b&gt;&amp;&quot;c&#39;&#xfffd;&#xfffd;");
  EXPECT_EQ(escaped("4 KiB \xc3\xa9"), "4 KiB \xc3\xa9");
}

TEST(ReportNumber, HasThreeDigits) {
  EXPECT_EQ(short_number(0), "0");
  EXPECT_EQ(short_number(0.01234), "0.0123");
  EXPECT_EQ(short_number(8), "8");
  EXPECT_EQ(short_number(12.5), "12.5");
  EXPECT_EQ(short_number(100), "100");
  EXPECT_EQ(short_number(9999), "9999");
  EXPECT_EQ(short_number(32768), "32.8k");
  EXPECT_EQ(short_number(1.7e6), "1.7M");
}

TEST(ReportScale, LinearBeginsAtZeroAndEndsBeyondTheMost) {
  const Scale scale = Scale::linear(930);
  EXPECT_EQ(scale.at(0), 0);
  EXPECT_DOUBLE_EQ(scale.at(500), 0.5);
  EXPECT_EQ(scale.ticks().front().label, "0");
  EXPECT_EQ(scale.ticks().back().label, "1000");
  EXPECT_EQ(Scale::linear(0).ticks().back().at, 1);
}

TEST(ReportScale, LogarithmicHasZeroByItself) {
  const Scale scale = Scale::logarithmic(0.5, 32768, true);
  EXPECT_EQ(scale.at(0), 0);
  EXPECT_GT(scale.at(0.1), 0);
  EXPECT_LT(scale.at(0.5), scale.at(1));
  EXPECT_LT(scale.at(8), scale.at(32768));
  EXPECT_LE(scale.at(32768), 1);
  EXPECT_EQ(scale.at(1e12), 1);
  const Scale plain = Scale::logarithmic(10, 10, false);
  EXPECT_EQ(plain.at(10), 0);
  EXPECT_EQ(plain.at(100), 1);
}

TEST(ReportFigures, HaveARowForEachModelAndAPanelForEachSize) {
  const Report report = report_with({model_named("one"), model_named("two")});
  const auto figures = figures_of(report);
  ASSERT_EQ(figures.size(), 8U);
  for (const Figure& figure : figures) {
    EXPECT_EQ(figure.rows, (std::vector<std::string>{"one", "two"}));
    EXPECT_FALSE(figure.reading.empty());
    EXPECT_FALSE(figure.axis_title.empty());
    const std::string drawn = draw(figure);
    EXPECT_EQ(times(drawn, "class=\"panel\""), figure.panels.size());
    const std::size_t marks = figure.panels.size() * 2 * figure.series.size();
    // A latency is a dot and a line.
    EXPECT_EQ(times(drawn, "class=\"mark\""), figure.id == "latency" ? 2 * marks : marks);
  }
  EXPECT_EQ(figures.front().panels.size(), 2U);
  EXPECT_EQ(figures.front().panels.front().marks[0][0]->value, 123.0 * 32);
}

TEST(ReportFigures, LeaveOutWhatWasNotMeasured) {
  Report report = report_with({model_named("one"), model_named("two")});
  std::erase_if(report.models[1].loads, [](const ReportLoad& load) { return load.write; });
  const auto figures = figures_of(report);
  EXPECT_TRUE(figures.front().panels[0].marks[1][0].has_value());
  EXPECT_FALSE(figures.front().panels[0].marks[1][1].has_value());
  EXPECT_EQ(times(draw(figures.front()), "class=\"mark\""), 6U);
}

TEST(ReportPage, SaysWhatWasRunWhereAndLoadsNothing) {
  const std::string page = page_of(report_with({model_named("one")}));
  for (const char* part : {"2026-01-02T03:04:05Z", "2 processors, a processor, x86_64",
                           "Linux 6.1.0", "221 + 370", "<h2>What the rig can't show</h2>"})
    EXPECT_NE(page.find(part), std::string::npos) << part;
  for (const char* part : {"<script", "src=", "href=", "url(", "@import", "http:", "https:"})
    EXPECT_EQ(page.find(part), std::string::npos) << part;
}

TEST(ReportPage, SpeaksOfFramesWhereTheyWereCarried) {
  Report report = report_with({model_named("one")});
  report.left_out.push_back({.name = "two", .why = "<it> is full"});
  const std::string disk = page_of(report);
  EXPECT_NE(disk.find("<h3>Reads of 512 bytes, 1 at a time</h3>"), std::string::npos);
  EXPECT_NE(disk.find("Left out: two, since &lt;it&gt; is full."), std::string::npos);
  report.workload = "net";
  const std::string net = page_of(report);
  for (const char* part : {"<h3>Received frames of 512 bytes, 1 at a time</h3>",
                           "<h3>Sent frames of 4096 bytes", "Latency of one frame at a time",
                           "messages per frame", "The wire is memory", ">sent</text>"})
    EXPECT_NE(net.find(part), std::string::npos) << part;
  for (const char* part : {"disk", "Reads of", ">writes</text>", "request"})
    EXPECT_EQ(net.find(part), std::string::npos) << part;
}

TEST(ReportPage, HasTheTwoStagesWhereTheyWereMeasured) {
  Report report = report_with({model_named("one")});
  EXPECT_EQ(page_of(report).find("two-stage"), std::string::npos);
  report.flushes.push_back({.trapped = false,
                            .unmaps = 1234,
                            .hardware_stale_reads = 0,
                            .emulated_stale_reads = 1233,
                            .unmap_us = 1.5});
  EXPECT_NE(page_of(report).find("<th>unseen</th><td>1234</td><td>0</td><td>1233</td><td>1.5</td>"),
            std::string::npos);
}

TEST(ReportPage, HasTheBusWhereItWasMeasured) {
  Report report = report_with({model_named("one")});
  EXPECT_EQ(page_of(report).find("enforced by the bus"), std::string::npos);
  report.buses = {
      {.frames = 100, .private_bytes = 2222, .read_bytes = 1111, .faults = 0, .opened = true},
      {.locked = true, .frames = 100, .private_bytes = 2222, .faults = 33}};
  const std::string page = page_of(report);
  EXPECT_NE(page.find("<th>none</th><td>100</td><td>2222</td><td>1111</td><td>0</td><td>yes</td>"),
            std::string::npos);
  EXPECT_NE(page.find("<th>locked</th><td>100</td><td>2222</td><td>0</td><td>33</td><td>no</td>"),
            std::string::npos);
}

TEST(ReportPage, EscapesWhatItIsAbout) {
  const char* const attack = "\"><script>alert('x')</script>&";
  ReportModel model = model_named(attack);
  model.what = model.trust = attack;
  Report report = report_with({model});
  report.when = report.version = report.workload = report.processor = attack;
  report.system = report.release = report.architecture = attack;
  const std::string page = page_of(report);
  EXPECT_EQ(page.find("<script"), std::string::npos);
  EXPECT_EQ(page.find("alert('x')"), std::string::npos);
  EXPECT_GE(times(page, "&quot;&gt;&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;"), 18U);
}

}  // namespace
}  // namespace airlock::compare
