// SPDX-License-Identifier: Apache-2.0
//
// Goal: each check of what a socket device makes of packets passes where the device is honest, and
// fails where it makes something else of them. Method: a device of this process that answers as a
// test has it answer.
#include <gtest/gtest.h>

#include <string>

#include "driver/conformance/checks.h"
#include "driver/conformance/suite.h"
#include "testing/fake_transport.h"
#include "testing/fake_vsock.h"

namespace airlock::driver::conformance {
namespace {

using Header = spec::VirtioVsockHdr;
using testing::FakeVsock;

class VsockPacketChecksTest : public ::testing::Test {
 protected:
  VsockPacketChecksTest() {
    vsock().on_packet = [this](const Header& packet, std::string_view) {
      if (packet.src_cid.get() != vsock().guest_cid) return;
      if (packet.op.get() == spec::VIRTIO_VSOCK_OP_RST) return;
      vsock().say(reset_of(packet));
    };
  }

  Finding run(std::string_view id) {
    const auto checks = select_checks(all_checks(), id);
    CHECK(checks.size() == 1);
    Finding found = failed("it did not run");
    const Connector connect = [this]() -> Result<std::unique_ptr<PciTransport>> {
      return std::make_unique<testing::FakeTransport>(parts_.device(), parts_.memfd, lies_,
                                                      testing::FakeTransport::Options{});
    };
    MUST(run_checks(
        connect, checks,
        {.timeout = std::chrono::milliseconds(20), .quiet = std::chrono::milliseconds(1)},
        [&](const Check&, const Finding& finding) { found = finding; }));
    return found;
  }
  void expect_fail(std::string_view id, std::string_view why) {
    const Finding finding = run(id);
    EXPECT_EQ(finding.verdict, Verdict::kFail) << id << ": " << finding.why;
    EXPECT_NE(finding.why.find(why), std::string::npos) << id << ": " << finding.why;
  }
  /// All checks that want a reset for an answer fail.
  void expect_no_reset(std::string_view why) {
    for (const char* id : {"VIRTIO-5.10.6.4.2/type", "VIRTIO-5.10.6.5/data",
                           "VIRTIO-5.10.6.5/response", "VIRTIO-5.10.6.5/operation"})
      expect_fail(id, why);
  }
  /// Every packet is answered by a reset that `change` has made something else of.
  template <class F>
  void answer_with(F change) {
    vsock().on_packet = [this, change](const Header& packet, std::string_view) {
      Header answer = reset_of(packet);
      change(answer);
      vsock().say(answer);
    };
  }
  static Header reset_of(const Header& packet) {
    return FakeVsock::answer_to(packet, spec::VIRTIO_VSOCK_OP_RST);
  }
  FakeVsock& vsock() { return parts_.vsock; }

  testing::FakeVsockDevice parts_;
  testing::Lies lies_;
};

TEST_F(VsockPacketChecksTest, AnHonestDevicePasses) {
  for (const Check& check : vsock_packet_checks()) {
    vsock().deaf = false;
    const Finding finding = run(check.id);
    EXPECT_EQ(finding.verdict, Verdict::kPass) << check.id << ": " << finding.why;
  }
}

// VIRTIO 1.3, 5.10.6.4.2, 5.10.6.5.
TEST_F(VsockPacketChecksTest, SilenceIsNoReset) {
  vsock().on_packet = nullptr;
  expect_no_reset("no answer");
}

TEST_F(VsockPacketChecksTest, AnotherOperationIsNoReset) {
  answer_with([](Header& answer) { answer.op.set(spec::VIRTIO_VSOCK_OP_SHUTDOWN); });
  expect_no_reset("operation 4");
}

TEST_F(VsockPacketChecksTest, AResetOfAnotherConnectionIsNone) {
  answer_with([](Header& answer) { answer.src_port.set(1); });
  expect_no_reset("from port 1");
  answer_with([](Header& answer) { answer.dst_port.set(1); });
  expect_no_reset("to 1");
}

TEST_F(VsockPacketChecksTest, AResetToAnotherGuestIsNone) {
  answer_with([](Header& answer) { answer.dst_cid.set(answer.dst_cid.get() + 1); });
  expect_no_reset("to cid 0x6");
  answer_with([](Header& answer) { answer.dst_cid_high.set(1); });
  expect_no_reset("to cid 0x100000005");
}

TEST_F(VsockPacketChecksTest, AResetHasNoPayload) {
  vsock().on_packet = [this](const Header& packet, std::string_view) {
    vsock().say(reset_of(packet), "more");
  };
  expect_no_reset("48 bytes");
  answer_with([](Header& answer) { answer.len.set(4); });
  expect_no_reset("with 4 bytes");
}

// VIRTIO 1.3, 5.10.6.4.1.
TEST_F(VsockPacketChecksTest, APacketInAnotherNameIsNotAnswered) {
  answer_with([](Header&) {});
  expect_fail("VIRTIO-5.10.6.4.1/cid", "answered");
}

TEST_F(VsockPacketChecksTest, AResetIsNotAnswered) {
  answer_with([](Header&) {});
  expect_fail("VIRTIO-5.10.6.5/reset", "answered");
}

TEST_F(VsockPacketChecksTest, APacketThatLiesAboutItsLengthEnds) {
  vsock().deaf = true;
  for (const char* id : {"VIRTIO-5.10.6/long", "VIRTIO-5.10.6/short"})
    EXPECT_EQ(run(id).verdict, Verdict::kFail) << id;
}

TEST_F(VsockPacketChecksTest, ADeviceThatWritesToPacketsFails) {
  lies_.on_write = [this](const Register&, std::uint64_t) {
    parts_.mapping.bytes().fill_zero(RawQueue::kDataStart, 64);
    return false;
  };
  for (const char* id : {"VIRTIO-5.10.6/long", "VIRTIO-5.10.6/short"})
    expect_fail(id, "wrote to what it was to read");
}

}  // namespace
}  // namespace airlock::driver::conformance
