// SPDX-License-Identifier: Apache-2.0
#include "cli/check.h"

#include <algorithm>
#include <cstdio>
#include <utility>

#include <nlohmann/json.hpp>

#include "cli/disk.h"
#include "driver/conformance/suite.h"

namespace airlock::cli {

namespace {

namespace conformance = driver::conformance;

using Checks = std::vector<const conformance::Check*>;

const char* word_of(conformance::Verdict verdict) {
  switch (verdict) {
    case conformance::Verdict::kPass:
      return "pass";
    case conformance::Verdict::kFail:
      return "fail";
    case conformance::Verdict::kSkip:
      return "skip";
  }
  return "?";
}

/// The checks that --only names, in the suite's order and each once.
std::expected<Checks, Failure> chosen_checks(const std::vector<std::string>& only) {
  Checks all = conformance::all_checks();
  if (only.empty()) return all;
  Checks wanted;
  for (const std::string& id : only) {
    const Checks named = conformance::select_checks(all, id);
    if (named.empty()) {
      return usage(fmt::format("--only {}", id), "no check has this id",
                   "see airlock check --list");
    }
    wanted.insert(wanted.end(), named.begin(), named.end());
  }
  Checks chosen;
  std::ranges::copy_if(all, std::back_inserter(chosen), [&](const conformance::Check* check) {
    return std::ranges::find(wanted, check) != wanted.end();
  });
  return chosen;
}

void print_list(const Checks& checks, bool json) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const conformance::Check* check : checks) {
    if (json) {
      list.push_back({{"id", check->id}, {"what", check->what}});
    } else {
      fmt::print("{:<34}  {}\n", check->id, check->what);
    }
  }
  if (json) fmt::print("{}\n", nlohmann::ordered_json{{"checks", list}}.dump(2));
}

/// Each finding as it comes, or all of them as one object at the end.
class Reporter {
 public:
  Reporter(std::string device, bool json) : device_(std::move(device)), json_(json) {}

  void add(const conformance::Check& check, const conformance::Finding& finding) {
    count_++;
    if (finding.verdict == conformance::Verdict::kFail) failed_++;
    const char* verdict = word_of(finding.verdict);
    if (json_) {
      results_.push_back(
          {{"id", check.id}, {"result", verdict}, {"what", check.what}, {"why", finding.why}});
      return;
    }
    fmt::print("{:<34}  {}  {}{}{}\n", check.id, verdict, check.what,
               finding.why.empty() ? "" : ": ", finding.why);
    static_cast<void>(std::fflush(stdout));  // a device may take its time over the next one
  }

  Outcome finish() const {
    if (json_) {
      const nlohmann::ordered_json all = {{"device", device_}, {"results", results_}};
      fmt::print("{}\n", all.dump(2));
    }
    if (failed_ == 0) return {};
    return failed(fmt::format("check {}", device_),
                  fmt::format("{} of {} checks failed", failed_, count_),
                  "see which above; --only ID repeats one");
  }

 private:
  std::string device_;
  bool json_;
  nlohmann::ordered_json results_ = nlohmann::ordered_json::array();
  unsigned count_ = 0;
  unsigned failed_ = 0;
};

}  // namespace

Outcome check_device(const CheckOptions& options) {
  const auto checks = chosen_checks(options.only);
  if (!checks) return std::unexpected(checks.error());
  if (options.list) {
    print_list(*checks, options.json);
    return {};
  }
  if (options.device.empty()) {
    return usage("check", "no device was named", "give --device vfio-user:PATH or pci:ADDRESS");
  }
  // The first connection is made here, for an error in words; later ones are the suite's.
  auto first = open_device(options.device);
  if (!first) return std::unexpected(first.error());
  const auto connect = [&]() -> Result<std::unique_ptr<driver::PciTransport>> {
    if (first->transport) return std::move(first->transport);
    auto again = open_device(options.device);
    if (!again) return fail(Errc::kPeerClosed);
    return std::move(again->transport);
  };
  Reporter reporter(options.device, options.json);
  const auto done = conformance::run_checks(
      connect, *checks, {.destructive = options.destructive, .vsock_port = options.vsock_port},
      [&](const conformance::Check& check, const conformance::Finding& finding) {
        reporter.add(check, finding);
      });
  if (!done) return disk_failed(fmt::format("check {}", options.device), done.error());
  return reporter.finish();
}

}  // namespace airlock::cli
