// SPDX-License-Identifier: Apache-2.0
// What a page takes from JSON, which may come from anywhere, and what is said of what it is not.
#include "cli/compare_report.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "cli/compare_apart.h"
#include "cli/compare_json.h"

namespace airlock::cli {
namespace {

using ReportJson = nlohmann::ordered_json;

ReportJson made(compare::Traffic traffic = compare::Traffic::kBlk) {
  const auto models = compare::all_models();
  compare::ModelRows rows{.model = models.front(), .exposures = {}, .loads = {}, .scan = {}};
  for (const compare::Cell& cell : compare::all_loads(traffic)) {
    compare::LoadRow row{.cell = cell, .sum = {}};
    row.sum.requests = 2;
    row.sum.ns = 1'000'000;
    row.sum.latency.add(std::chrono::microseconds(20));
    rows.loads.push_back(row);
  }
  rows.exposures.push_back({.write = true, .exposure = {.request_bytes = 512}});
  rows.exposures.back().exposure.during.bytes = 4096;
  CompareRun run{.traffic = traffic, .rows = {rows}, .left_out = {}};
  for (const compare::Model* const model : models) {
    if (!cannot_carry(*model, traffic).empty()) run.left_out.push_back(model);
  }
  return comparison_json(run);
}

std::string refusal(const ReportJson& json) {
  const auto report = parse_report(json.dump());
  return report ? "" : report.error();
}

TEST(CompareReport, HasWhatTheComparisonFound) {
  const auto report = parse_report(made().dump());
  ASSERT_TRUE(report.has_value()) << report.error();
  EXPECT_EQ(report->workload, "blk");
  EXPECT_EQ(report->when.size(), 20U);
  EXPECT_GT(report->processors, 0U);
  ASSERT_EQ(report->models.size(), 1U);
  EXPECT_EQ(report->models[0].name, "region");
  EXPECT_EQ(report->models[0].loads.size(), 12U);
  EXPECT_DOUBLE_EQ(report->models[0].loads[0].bytes_per_s, 1'024'000);
  EXPECT_DOUBLE_EQ(report->models[0].exposures[0].visible_per_byte, 8);
  EXPECT_EQ(report->sizes(), (std::vector<std::uint64_t>{512, 4096, 131072}));
  EXPECT_EQ(report->least_depth(), 1U);
  EXPECT_EQ(report->most_depth(), 32U);
}

TEST(CompareReport, IsTheSameWithoutTheText) {
  const auto report = report_of(made());
  ASSERT_TRUE(report.has_value()) << report.error();
  EXPECT_EQ(report->models[0].loads.size(), 12U);
}

TEST(CompareReport, HasTheWorkloadAndWhoWasLeftOut) {
  EXPECT_TRUE(parse_report(made().dump())->left_out.empty());
  ReportJson json = made(compare::Traffic::kNet);
  const auto report = parse_report(json.dump());
  ASSERT_TRUE(report.has_value()) << report.error();
  EXPECT_EQ(report->workload, "net");
  EXPECT_EQ(report->sizes(), (std::vector<std::uint64_t>{64, 1500, 65536}));
  ASSERT_EQ(report->left_out.size(), 2U);
  EXPECT_EQ(report->left_out[0].name, "region-aes");
  EXPECT_FALSE(report->left_out[0].why.empty());
  json["left_out"][1]["why"] = 3;
  EXPECT_EQ(refusal(json), "'why' is no text");
}

TEST(CompareReport, HasTheTwoStagesWhereTheyWereMeasured) {
  ReportJson json = made();
  EXPECT_TRUE(parse_report(json.dump())->flushes.empty());
  ApartRows apart;
  apart.flush_unseen.unmaps = 7;
  apart.flush_unseen.emulated = 6;
  json["apart"] = apart_json(apart);
  const auto report = parse_report(json.dump());
  ASSERT_TRUE(report.has_value()) << report.error();
  ASSERT_EQ(report->flushes.size(), 2U);
  EXPECT_FALSE(report->flushes[0].trapped);
  EXPECT_EQ(report->flushes[0].emulated_stale_reads, 6U);
  EXPECT_TRUE(report->flushes[1].trapped);
  json["apart"]["two_stage"] = 3;
  EXPECT_EQ(refusal(json), "'two_stage' has not 1 to 64 entries");
  json["apart"] = ReportJson::array();
  EXPECT_EQ(refusal(json), "there is no 'two_stage'");
}

TEST(CompareReport, HasTheBusWhereItWasMeasured) {
  ReportJson json = made();
  EXPECT_TRUE(parse_report(json.dump())->buses.empty());
  ApartRows apart;
  apart.bus_open = {.frames = 100, .private_bytes = 4096, .read_bytes = 4096, .opened = true};
  apart.bus_locked = {.frames = 99, .private_bytes = 4096, .faults = 7};
  json["apart"] = apart_json(apart);
  const auto report = parse_report(json.dump());
  ASSERT_TRUE(report.has_value()) << report.error();
  ASSERT_EQ(report->buses.size(), 2U);
  EXPECT_FALSE(report->buses[0].locked);
  EXPECT_EQ(report->buses[0].frames, 100U);
  EXPECT_EQ(report->buses[0].read_bytes, 4096U);
  EXPECT_TRUE(report->buses[0].opened);
  EXPECT_TRUE(report->buses[1].locked);
  EXPECT_EQ(report->buses[1].private_bytes, 4096U);
  EXPECT_EQ(report->buses[1].read_bytes, 0U);
  EXPECT_EQ(report->buses[1].faults, 7U);
  EXPECT_FALSE(report->buses[1].opened);
  json["apart"]["locked_bus"][1]["locked"] = 1;
  EXPECT_EQ(refusal(json), "'locked' is neither true nor false");
  json["apart"]["locked_bus"] = ReportJson::array();
  EXPECT_EQ(refusal(json), "'locked_bus' has not 1 to 64 entries");
  json["apart"].erase("locked_bus");
  EXPECT_EQ(refusal(json), "there is no 'locked_bus'");
}

TEST(CompareReport, RefusesWhatItIsNot) {
  for (const char* text : {"", "{", "\xff", "{\"models\": [}"})
    EXPECT_EQ(parse_report(text).error(), "it is no JSON") << text;
  for (const char* text : {"null", "[]", "7", "{}", "{\"machine\": 3}"})
    EXPECT_FALSE(parse_report(text).has_value()) << text;
  ReportJson json = made();
  json.erase("when");
  EXPECT_EQ(refusal(json), "there is no 'when'");
  json = made();
  json["models"] = ReportJson::array();
  EXPECT_EQ(refusal(json), "'models' has not 1 to 64 entries");
  json = made();
  json["models"] = ReportJson(65, json["models"][0]);
  EXPECT_EQ(refusal(json), "'models' has not 1 to 64 entries");
  json = made();
  json["models"][0]["name"] = 7;
  EXPECT_EQ(refusal(json), "'name' is no text");
}

TEST(CompareReport, RefusesNumbersThatNobodyMeasures) {
  ReportJson json = made();
  json["models"][0]["loads"][3]["p50_us"] = -1;
  EXPECT_EQ(refusal(json), "'p50_us' is no number from 0 to 1e18");
  json["models"][0]["loads"][3]["p50_us"] = 1e300;
  EXPECT_EQ(refusal(json), "'p50_us' is no number from 0 to 1e18");
  json = made();
  json["models"][0]["loads"][0]["depth"] = std::uint64_t{1} << 32;
  EXPECT_EQ(refusal(json), "'depth' is too much");
  json = made();
  json["models"][0]["scan"]["outside_bytes"] = 0.5;
  EXPECT_EQ(refusal(json), "'outside_bytes' is no whole number");
  json = made();
  for (std::size_t i = 0; i < 5; ++i)
    json["models"][0]["loads"][i]["request_bytes"] = 1000 + i;
  EXPECT_EQ(refusal(json), "'loads' are of too many sizes");
}

}  // namespace
}  // namespace airlock::cli
