// SPDX-License-Identifier: Apache-2.0
//
// Goal: an honest network card passes every check, and each check of a card notices the one that
// breaks its rule. Method: a card in this process, honest at first; then one lie a test.
#include <gtest/gtest.h>

#include <chrono>
#include <map>
#include <string>

#include "base/log.h"
#include "driver/conformance/suite.h"
#include "testing/fake_net.h"
#include "testing/fake_transport.h"

namespace airlock::driver::conformance {
namespace {

class ConformanceNetTest : public ::testing::Test {
 protected:
  ConformanceNetTest() { set_log_level(LogLevel::kError); }

  testing::FakeNet& card() { return device_.net; }
  std::map<std::string, Finding> run(const std::vector<const Check*>& checks) {
    std::map<std::string, Finding> findings;
    const Connector connect = [this]() -> Result<std::unique_ptr<PciTransport>> {
      return std::make_unique<testing::FakeTransport>(
          device_.device(), device_.memfd, lies_,
          testing::FakeTransport::Options{.interrupts = true});
    };
    MUST(run_checks(
        connect, checks,
        {.timeout = std::chrono::milliseconds(20), .quiet = std::chrono::milliseconds(1)},
        [&](const Check& check, const Finding& finding) { findings.emplace(check.id, finding); }));
    return findings;
  }
  Finding run(std::string_view id) {
    const auto checks = select_checks(all_checks(), id);
    CHECK(checks.size() == 1);
    return run(checks).at(std::string(id));
  }
  void expect(Verdict verdict, std::string_view id) {
    const Finding finding = run(id);
    EXPECT_EQ(finding.verdict, verdict) << id << ": " << finding.why;
  }

  testing::FakeNetDevice device_{{}};
  testing::Lies lies_;
};

TEST_F(ConformanceNetTest, AnHonestCardPasses) {
  unsigned passes = 0;
  for (const auto& [id, finding] : run(all_checks())) {
    EXPECT_NE(finding.verdict, Verdict::kFail) << id << ": " << finding.why;
    if (finding.verdict == Verdict::kPass) ++passes;
    if (!id.contains("-5.1.")) continue;
    EXPECT_EQ(finding.verdict, Verdict::kPass) << id << ": " << finding.why;
  }
  EXPECT_GE(passes, 50U);
}

// VIRTIO 1.3, 5.1.3.1
TEST_F(ConformanceNetTest, NoticesAFeatureWithoutWhatItRequires) {
  card().own_features |= spec::feature(spec::VIRTIO_NET_F_HOST_ECN);
  expect(Verdict::kFail, "VIRTIO-5.1.3.1");
  card().own_features |= spec::feature(spec::VIRTIO_NET_F_HOST_TSO4);
}

// VIRTIO 1.3, 5.1.4
TEST_F(ConformanceNetTest, NoticesAConfigurationThatMakesNoSense) {
  card().config.mac[0] |= 1;
  card().config.status.set(4);
  card().config.mtu.set(67);
  for (const char* id : {"VIRTIO-5.1.4/mac", "VIRTIO-5.1.4/status", "VIRTIO-5.1.4.1/mtu"})
    expect(Verdict::kFail, id);
}

// VIRTIO 1.3, 5.1.4.1
TEST_F(ConformanceNetTest, NoticesPairsThatAreNotThere) {
  card().own_features |= spec::feature(spec::VIRTIO_NET_F_MQ);
  card().config.max_virtqueue_pairs.set(2);
  expect(Verdict::kFail, "VIRTIO-5.1.2");
  card().config.max_virtqueue_pairs.set(0);
  expect(Verdict::kFail, "VIRTIO-5.1.2");
  card().config.max_virtqueue_pairs.set(1);
  expect(Verdict::kPass, "VIRTIO-5.1.2");
}

// VIRTIO 1.3, 5.1.6.5
TEST_F(ConformanceNetTest, NoticesACardThatAgreesToEverything) {
  card().ack = spec::VIRTIO_NET_OK;
  for (const char* id : {"VIRTIO-5.1.6.5/class", "VIRTIO-5.1.6.5/command", "VIRTIO-5.1.6.5/short",
                         "VIRTIO-5.1.6.5.2"}) {
    expect(Verdict::kFail, id);
  }
  card().ack = spec::VIRTIO_NET_ERR;
  expect(Verdict::kFail, "VIRTIO-5.1.6.5.1");
}

// VIRTIO 1.3, 5.1.6.2
TEST_F(ConformanceNetTest, NoticesACardThatKeepsWhatItCannotSend) {
  card().held = true;
  for (const char* id : {"VIRTIO-5.1.6.2/short", "VIRTIO-5.1.6.2/empty", "VIRTIO-5.1.6.2/nonsense"})
    expect(Verdict::kFail, id);
}

}  // namespace
}  // namespace airlock::driver::conformance
