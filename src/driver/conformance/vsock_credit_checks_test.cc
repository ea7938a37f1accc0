// SPDX-License-Identifier: Apache-2.0
//
// Goal: the checks of credit pass where a device keeps to it, fail where it does not, and say why
// they can't look. Method: a device of this process with somebody behind it who echoes.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "driver/conformance/checks.h"
#include "driver/conformance/suite.h"
#include "testing/fake_transport.h"
#include "testing/fake_vsock.h"

namespace airlock::driver::conformance {
namespace {

using Header = spec::VirtioVsockHdr;
using testing::FakeVsock;
using namespace spec;  // NOLINT(google-build-using-namespace): the names of the wire

constexpr const char* kValid = "VIRTIO-5.10.6.3.2/valid";
constexpr const char* kLimit = "VIRTIO-5.10.6.3.2/limit";

class VsockCreditChecksTest : public ::testing::Test {
 protected:
  VsockCreditChecksTest() {
    vsock().on_packet = [this](const Header& packet, std::string_view text) {
      if (packet.op.get() == VIRTIO_VSOCK_OP_REQUEST) {
        taken_ = 0;
        echoed_ = 0;
        unsent_.clear();
      }
      take(packet, text);
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
    MUST(run_checks(connect, checks,
                    {.timeout = std::chrono::milliseconds(20),
                     .quiet = std::chrono::milliseconds(1),
                     .vsock_port = port_},
                    [&](const Check&, const Finding& finding) { found = finding; }));
    return found;
  }
  void expect(std::string_view id, Verdict verdict, std::string_view why = {}) {
    const Finding finding = run(id);
    EXPECT_EQ(finding.verdict, verdict) << id << ": " << finding.why;
    EXPECT_NE(finding.why.find(why), std::string::npos) << id << ": " << finding.why;
  }
  void say(const Header& packet, std::uint16_t op, std::string_view text = {}) {
    Header answer = FakeVsock::answer_to(packet, op);
    answer.buf_alloc.set(room_);
    answer.fwd_cnt.set(taken_ + fwd_lie_);
    answer.len.set(static_cast<std::uint32_t>(text.size()));
    vsock().say(answer, text);
  }
  FakeVsock& vsock() { return parts_.vsock; }

  testing::FakeVsockDevice parts_;
  testing::Lies lies_;
  std::optional<std::uint32_t> port_ = 80;
  // What the device does.
  bool listens_ = true;
  bool echoes_ = true;
  bool tells_ = true;           // of credit, when asked
  std::uint32_t more_ = 0;      // bytes beyond what it may send
  std::uint32_t most_ = 65536;  // bytes that it ever echoes
  std::uint32_t room_ = 65536;
  std::uint32_t fwd_lie_ = 0;

 private:
  void take(const Header& packet, std::string_view text) {
    switch (packet.op.get()) {
      case VIRTIO_VSOCK_OP_REQUEST:
        return say(packet, listens_ ? VIRTIO_VSOCK_OP_RESPONSE : VIRTIO_VSOCK_OP_RST);
      case VIRTIO_VSOCK_OP_CREDIT_REQUEST:
        if (tells_) say(packet, VIRTIO_VSOCK_OP_CREDIT_UPDATE);
        return;
      case VIRTIO_VSOCK_OP_RW:
        taken_ += static_cast<std::uint32_t>(text.size());
        if (echoes_) unsent_ += text;
        return echo(packet);
      case VIRTIO_VSOCK_OP_CREDIT_UPDATE:
        return echo(packet);
      default:
        return;
    }
  }
  void echo(const Header& packet) {
    const std::uint32_t free = packet.buf_alloc.get() - (echoed_ - packet.fwd_cnt.get());
    const std::size_t length =
        std::min<std::size_t>({unsent_.size(), free + more_, most_ - echoed_});
    if (length == 0) return;
    echoed_ += static_cast<std::uint32_t>(length);
    say(packet, VIRTIO_VSOCK_OP_RW, unsent_.substr(0, length));
    unsent_.erase(0, length);
  }

  std::uint32_t taken_ = 0;
  std::uint32_t echoed_ = 0;
  std::string unsent_;
};

TEST_F(VsockCreditChecksTest, AnHonestDevicePasses) {
  expect(kValid, Verdict::kPass);
  expect(kLimit, Verdict::kPass);
}

TEST_F(VsockCreditChecksTest, SaysWhyItCanNotLook) {
  echoes_ = false;
  expect(kLimit, Verdict::kSkip, "echoes nothing");
  room_ = 63;
  expect(kLimit, Verdict::kSkip, "no room");
  listens_ = false;
  expect(kValid, Verdict::kSkip, "nobody listens on port 80");
  port_.reset();
  expect(kLimit, Verdict::kSkip, "--vsock-port");
}

// VIRTIO 1.3, 5.10.6.3.2.
TEST_F(VsockCreditChecksTest, MoreThanThereIsRoomForFails) {
  more_ = 1;
  expect(kLimit, Verdict::kFail, "17 bytes came, and there was room for 16");
}

TEST_F(VsockCreditChecksTest, LessThanThereIsRoomForFails) {
  most_ = 40;
  expect(kLimit, Verdict::kFail, "40 bytes came of 64");
}

TEST_F(VsockCreditChecksTest, BytesThatWereNeverSentAreNotTaken) {
  fwd_lie_ = 1;
  expect(kValid, Verdict::kFail, "1 bytes were taken, of 0");
  fwd_lie_ = 0xffff'ffff;
  expect(kValid, Verdict::kFail, "of 0");
}

TEST_F(VsockCreditChecksTest, SilenceWhereCreditIsAskedForFails) {
  tells_ = false;
  expect(kValid, Verdict::kFail, "not answered");
}

TEST_F(VsockCreditChecksTest, SilenceWhereAConnectionIsAskedForFails) {
  vsock().on_packet = nullptr;
  expect(kValid, Verdict::kFail, "not answered");
}

}  // namespace
}  // namespace airlock::driver::conformance
