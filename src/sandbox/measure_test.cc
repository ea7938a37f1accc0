// SPDX-License-Identifier: Apache-2.0
#include "sandbox/measure.h"

#include <gtest/gtest.h>

#include <set>

namespace airlock::sandbox {
namespace {

TEST(Measures, AllHasEachAndNoneHasNone) {
  std::set<std::string_view> names;
  for (const Measure measure : kMeasures) {
    EXPECT_TRUE(Measures::all().has(measure)) << name(measure);
    EXPECT_FALSE(Measures().has(measure)) << name(measure);
    EXPECT_TRUE(names.insert(name(measure)).second) << name(measure);
  }
  EXPECT_FALSE(names.contains("?"));
}

TEST(Measures, UnionAndIntersection) {
  const Measures two = Measure::kLandlock | Measure::kLimits;
  EXPECT_TRUE(two.has(Measure::kLandlock));
  EXPECT_TRUE(two.has(Measure::kLimits));
  EXPECT_FALSE(two.has(Measure::kSystemCalls));
  const Measures one = two & Measures(Measure::kLimits);
  EXPECT_TRUE(one.has(Measure::kLimits));
  EXPECT_FALSE(one.has(Measure::kLandlock));
}

TEST(SandboxReport, SaysWhatIsInForceAndWhyTheRestIsNot) {
  Report report;
  EXPECT_EQ(report.text(), "nothing");
  report.in_force(Measure::kLandlock, "ABI 7");
  report.in_force(Measure::kNotDumpable);
  EXPECT_TRUE(report.complete());
  EXPECT_EQ(report.text(), "Landlock (ABI 7), not dumpable");
  report.not_available(Measure::kUserNamespace, "No space left on device");
  EXPECT_FALSE(report.complete());
  EXPECT_TRUE(report.has(Measure::kLandlock));
  EXPECT_FALSE(report.has(Measure::kUserNamespace));
  EXPECT_FALSE(report.has(Measure::kSystemCalls));
  EXPECT_EQ(report.text(),
            "Landlock (ABI 7), not dumpable; not available: user namespace (No space left on "
            "device)");
}

}  // namespace
}  // namespace airlock::sandbox
