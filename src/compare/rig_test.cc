// SPDX-License-Identifier: Apache-2.0
//
// Goal: every model works, keeps the device from what it says it does, and shows for a request what
// it says it does. Method: three real processes, of which the device looks at all that it can see;
// each finding of nothing has a control that finds something.
#include "compare/rig.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <string>

#include "compare/models/open.h"
#include "compare/models/pool.h"
#include "compare/models/region.h"
#include "compare/models/share.h"
#include "compare/models/shared.h"
#include "compare/models/snoop.h"
#include "compare/models/viommu.h"
#include "compare/models/vmm_copy.h"
#include "compare/reach.h"
#include "sandbox/sandbox.h"

namespace airlock::compare {
namespace {

constexpr std::chrono::milliseconds kShort{20};

class RigTest : public testing::TestWithParam<const Model*> {
 protected:
  [[nodiscard]] const Model& model() const { return *GetParam(); }
  static void run_all(Rig& rig) {
    for (const BufferPlan& plan : kDiskPlans) {
      for (const bool write : {true, false}) {
        const Cell cell{.request_bytes = plan.request_bytes, .write = write, .depth = 8};
        EXPECT_GT(MUST(rig.run(cell, kShort)).requests, 0U);
      }
    }
  }
};

std::string name_of(const testing::TestParamInfo<const Model*>& info) {
  std::string name(info.param->name);
  std::erase(name, '-');
  return name;
}

INSTANTIATE_TEST_SUITE_P(Models, RigTest,
                         testing::ValuesIn(all_models().begin(), all_models().end()), name_of);

TEST_P(RigTest, KeepsWhatIsWritten) {
  auto started = Rig::start(model());
  ASSERT_TRUE(started) << describe(started.error());
  const auto rig = std::move(*started);
  EXPECT_TRUE(rig->verify());
}

TEST_P(RigTest, CountsWhatItDid) {
  const auto rig = MUST(Rig::start(model()));
  const Cell cell{.request_bytes = 4096, .write = true, .depth = 32};
  const RunResult result = MUST(rig->run(cell, kShort));
  EXPECT_GE(result.requests, cell.depth);
  EXPECT_EQ(result.device_copied_bytes, result.requests * cell.request_bytes);
  EXPECT_GT(result.ns, 0U);
  EXPECT_GT(result.guest_cpu_ns, 0U);
  EXPECT_GT(result.mapped_ns, 0U);
  EXPECT_EQ(result.trusted_cpu_ns > 0, model().serve != nullptr);
  EXPECT_FALSE(rig->run({.request_bytes = 1000}, kShort));
  EXPECT_FALSE(rig->run({.request_bytes = 4096, .depth = 33}, kShort));
}

// SYS-1, SYS-2, SYS-4, SYS-5, SYS-6, SYS-7, SYS-13: after a run the device sees what it was given,
// and only `open` gives it the rest.
TEST_P(RigTest, ScanFindsNothingButWhatWasGiven) {
  const auto rig = MUST(Rig::start(model()));
  run_all(*rig);
  const Seen seen = MUST(rig->scan());
  EXPECT_GT(seen.bytes, 0U);
  if (&model() == &kOpen) {
    EXPECT_GT(seen.outside_bytes, kPrivateBytes / 2);
  } else {
    EXPECT_EQ(seen.outside_bytes, 0U) << "first at " << seen.first_outside;
  }
}

TEST_P(RigTest, ControlScanFindsALeak) {
  const auto rig = MUST(Rig::start(model(), {.leak_private = true}));
  EXPECT_GT(MUST(rig->scan()).outside_bytes, kPrivateBytes / 2);
}

TEST_P(RigTest, TheDeviceDoesNotReachTheGuestsProcess) {
  if (sandbox::relaxed_build()) GTEST_SKIP() << "instrumented: its sandbox goes without parts";
  const auto rig = MUST(Rig::start(model()));
  const auto reached = rig->reach();
  // A sandbox ends it at the last of the ways that it tries.
  EXPECT_EQ(reached.value_or(0), 0U);
  if (!reached) {
    EXPECT_EQ(reached.error().code, Errc::kPeerClosed);
  }
}

TEST(RigReach, ControlReachesAProcessThatIsOpen) {
  EXPECT_EQ(try_to_reach(::getpid()), 15U);
}

struct Visible {
  const Model* model = nullptr;
  std::uint64_t written = 0;  // bytes seen of a write of 512, in flight
  std::uint64_t read = 0;     // the same of a read
  std::uint64_t after = 0;    // of the write, once it is over
};
void PrintTo(const Visible& visible, std::ostream* out) {
  *out << visible.model->name;
}

class ExposureTest : public testing::TestWithParam<Visible> {};

// SYS-4: 4 KiB for 512 bytes, and none but what was asked for in the region (SYS-2). DT-11, HD-26.
// Nothing of what is sealed, ENC-11, until the device has opened it: in its own memory, with its
// key.
INSTANTIATE_TEST_SUITE_P(
    Models, ExposureTest,
    testing::Values(Visible{.model = &kRegion, .written = 512, .read = 0, .after = 0},
                    Visible{.model = &kRegionInPlace, .written = 512, .read = 512, .after = 512},
                    Visible{.model = &kRegionAes, .written = 0, .read = 0, .after = 512},
                    Visible{.model = &kRegionChaCha, .written = 0, .read = 0, .after = 512},
                    Visible{.model = &kPool, .written = 512, .read = 512, .after = 512},
                    Visible{.model = &kShared, .written = 512, .read = 512, .after = 512},
                    Visible{.model = &kShare, .written = 4096, .read = 4096, .after = 0},
                    Visible{.model = &kShareBounce, .written = 512, .read = 0, .after = 0},
                    Visible{.model = &kViommu, .written = 4096, .read = 4096, .after = 0},
                    Visible{.model = &kViommuBounce, .written = 512, .read = 512, .after = 512},
                    Visible{.model = &kVmmCopy, .written = 512, .read = 0, .after = 0},
                    Visible{.model = &kSnoop, .written = 512, .read = 0, .after = 0}));

TEST_P(ExposureTest, OfARequestSmallerThanAPage) {
  const auto rig = MUST(Rig::start(*GetParam().model));
  const Exposure read = MUST(rig->expose(512, false));
  EXPECT_EQ(read.during.bytes, GetParam().read);
  const Exposure write = MUST(rig->expose(512, true));
  EXPECT_EQ(write.during.bytes, GetParam().written);
  EXPECT_EQ(write.during.outside_bytes, std::max<std::uint64_t>(GetParam().written, 512) - 512);
  EXPECT_EQ(write.after.bytes, GetParam().after);
  EXPECT_EQ(MUST(rig->expose(131072, true)).during.outside_bytes, 0U);
}

TEST(RigOpen, ShowsEverythingAlways) {
  const auto rig = MUST(Rig::start(kOpen));
  const Exposure exposure = MUST(rig->expose(512, true));
  EXPECT_GE(exposure.during.bytes, kPrivateBytes - PrivateMemory::kReserved);
  EXPECT_EQ(exposure.after.bytes, exposure.during.bytes);
}

TEST(RigShare, ControlShowsWhatIsNotTakenBack) {
  for (const Model* const model : {&kShare, &kViommu}) {
    const auto rig = MUST(Rig::start(*model, {.keep_shared = true}));
    EXPECT_EQ(MUST(rig->expose(512, true)).after.bytes, 4096U);
  }
}

// SYS-5: refused before there is a queue, so that nothing was shared with it.
TEST(RigShared, RefusesADeviceThatIsNotThePlatforms) {
  for (const Model* const model : {&kShared, &kViommu, &kViommuBounce}) {
    const auto refused = Rig::start(*model, {.without_platform = true});
    ASSERT_FALSE(refused) << model->name;
    EXPECT_EQ(refused.error().code, Errc::kUnsupported);
  }
  EXPECT_TRUE(Rig::start(kPool, {.without_platform = true}));
}

// SYS-4: a guest that is gone takes what was shared with it, and leaves nobody behind.
TEST(RigShare, EndsWithItsGuest) {
  const auto rig = MUST(Rig::start(kShare));
  ASSERT_TRUE(rig->verify());
  rig->guest().end();
  for (const Child* const child : {&rig->trusted(), &rig->device()}) {
    siginfo_t info = {};
    ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(child->pid()), &info, WEXITED | WNOWAIT), 0);
    EXPECT_EQ(info.si_code, CLD_EXITED);
    EXPECT_EQ(info.si_status, 0);
  }
  EXPECT_EQ(rig->verify().error().code, Errc::kPeerClosed);
}

}  // namespace
}  // namespace airlock::compare
