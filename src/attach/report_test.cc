// SPDX-License-Identifier: Apache-2.0
//
// Goal: a report arrives as it was, one line whatever is in it, and nothing else is taken for one.
#include "attach/report.h"

#include <gtest/gtest.h>

namespace airlock::attach {
namespace {

std::optional<Report> there_and_back(const Report& report) {
  const std::string line = to_line(report);
  EXPECT_EQ(line.find('\n'), line.size() - 1);
  return parse_report(std::string_view(line).substr(0, line.size() - 1));
}

TEST(Report, ArrivesAsItWas) {
  const Ready ready{.capacity_bytes = ~std::uint64_t{0}, .block_bytes = 512};
  EXPECT_EQ(there_and_back(ready), Report(ready));
  Failed failure{.what = "open pci:x", .why = "gone", .advice = "look: there"};
  EXPECT_EQ(there_and_back(failure), Report(failure));
  failure.misnamed = true;
  EXPECT_EQ(there_and_back(failure), Report(failure));
}

TEST(Report, IsOneLineWhateverIsInIt) {
  const Failed failure{.what = "a\nb", .why = "c\td", .advice = "e\x1b[31mf"};
  EXPECT_EQ(there_and_back(failure),
            Report(Failed{.what = "a b", .why = "c d", .advice = "e [31mf"}));
}

TEST(Report, RefusesWhatIsNone) {
  for (const char* line :
       {"", "ready", "ready\t1", "ready\t1\t512\t3", "ready\t-1\t512", "ready\t1\t5x", "ready\t\t",
        "failed\ta\tb", "failed\ta\tb\tc\td", "nbdkit: something", "ready\t1\t99999999999"}) {
    EXPECT_FALSE(parse_report(line)) << line;
  }
}

}  // namespace
}  // namespace airlock::attach
