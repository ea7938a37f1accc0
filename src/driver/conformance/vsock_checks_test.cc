// SPDX-License-Identifier: Apache-2.0
//
// Goal: each check of a socket device passes where the device is honest, and fails where it tells
// the one lie that the check is about. Method: a device of this process.
#include <gtest/gtest.h>

#include <algorithm>

#include "driver/conformance/checks.h"
#include "driver/conformance/suite.h"
#include "testing/fake_transport.h"
#include "testing/fake_vsock.h"

namespace airlock::driver::conformance {
namespace {

class VsockChecksTest : public ::testing::Test {
 protected:
  Verdict verdict(std::string_view id) {
    const auto checks = vsock_checks();
    const auto check = std::ranges::find(checks, id, &Check::id);
    CHECK(check != checks.end());
    testing::FakeTransport transport(parts_.device(), parts_.memfd, lies_, {});
    auto context = MUST(CheckContext::create(transport, {}));
    MUST(context.reset());
    return MUST(check->run(context))
    .verdict;
  }

  testing::FakeVsockDevice parts_;
  testing::Lies lies_;
};

TEST_F(VsockChecksTest, AnHonestDevicePasses) {
  for (const Check& check : vsock_checks())
    EXPECT_EQ(verdict(check.id), Verdict::kPass) << check.id;
}

TEST_F(VsockChecksTest, AReservedCidFails) {
  for (const std::uint64_t cid : {std::uint64_t{2}, std::uint64_t{1} << 32U | 5}) {
    parts_.vsock.guest_cid = cid;
    EXPECT_EQ(verdict("VIRTIO-5.10.6.4.2/cid"), Verdict::kFail) << cid;
  }
}

TEST_F(VsockChecksTest, ACidThatIsWrittenFails) {
  lies_.on_write = [this](const Register& to, std::uint64_t value) {
    if (to.width == Width::k4 && value == 6) parts_.vsock.guest_cid = value;
    return false;
  };
  EXPECT_EQ(verdict("VIRTIO-5.10.4/fixed"), Verdict::kFail);
}

TEST_F(VsockChecksTest, ImpliedStreamsFail) {
  parts_.vsock.own_features = 0;
  EXPECT_EQ(verdict("VIRTIO-5.10.3.2/types"), Verdict::kFail);
}

TEST_F(VsockChecksTest, TooFewQueuesFail) {
  parts_.vsock.queues_offered = 2;
  EXPECT_EQ(verdict("VIRTIO-5.10.2/queues"), Verdict::kFail);
}

}  // namespace
}  // namespace airlock::driver::conformance
