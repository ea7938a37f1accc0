// SPDX-License-Identifier: Apache-2.0
//
// Goal: checks of types that are no disks pass an honest device, and notice one that breaks their
// rule. Method: a fake of the type, and one lie a test.
#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <string>

#include "driver/conformance/suite.h"
#include "spec/virtio_console.h"
#include "testing/fake_model.h"
#include "testing/fake_transport.h"

namespace airlock::driver::conformance {
namespace {

class TypeChecksTest : public ::testing::Test {
 protected:
  Finding run(std::string_view id) {
    const auto checks = select_checks(all_checks(), id);
    CHECK(checks.size() == 1);
    Finding found = failed("it did not run");
    const Connector connect = [this]() -> Result<std::unique_ptr<PciTransport>> {
      return std::make_unique<testing::FakeTransport>(
          device_.device(), device_.memfd, lies_,
          testing::FakeTransport::Options{.interrupts = true});
    };
    MUST(run_checks(connect, checks,
                    {.destructive = destructive_,
                     .timeout = std::chrono::milliseconds(20),
                     .quiet = std::chrono::milliseconds(1)},
                    [&](const Check&, const Finding& finding) { found = finding; }));
    return found;
  }
  void expect_pass(std::string_view id) {
    const Finding finding = run(id);
    EXPECT_EQ(finding.verdict, Verdict::kPass) << id << ": " << finding.why;
  }
  void expect_fail(std::string_view id, std::string_view why) {
    const Finding finding = run(id);
    EXPECT_EQ(finding.verdict, Verdict::kFail) << id << ": " << finding.why;
    EXPECT_NE(finding.why.find(why), std::string::npos) << id << ": " << finding.why;
  }
  testing::FakeModel& model() { return device_.model; }

  testing::FakeModelDevice device_;
  testing::Lies lies_;
  bool destructive_ = false;
};

class RngChecksTest : public TypeChecksTest {
 protected:
  RngChecksTest() {
    model().type = spec::VIRTIO_ID_RNG;
    model().on_chain = [this](std::uint16_t, const ring::Chain& chain) {
      std::vector<std::byte> bytes(chain.writable_bytes());
      for (std::byte& byte : bytes)
        byte = static_cast<std::byte>(next_ += 7);
      if (same_) next_ = 0;
      MUST(chain.write(0, bytes));
      return std::optional(nothing_ ? 0 : chain.writable_bytes());
    };
  }
  unsigned next_ = 0;
  bool same_ = false;
  bool nothing_ = false;
};

TEST_F(RngChecksTest, AnHonestOnePasses) {
  next_ = 1;
  for (const char* id : {"VIRTIO-5.4.2", "VIRTIO-5.4.6.2/bytes", "VIRTIO-5.4.6.2/beyond",
                         "DEF-5/rng-buffer-outside"}) {
    expect_pass(id);
  }
}

// VIRTIO 1.3, 5.4.6.2.
TEST_F(RngChecksTest, NoBytesAtAll) {
  nothing_ = true;
  expect_fail("VIRTIO-5.4.6.2/bytes", "no bytes at all");
}

TEST_F(RngChecksTest, TheSameBytesAgain) {
  same_ = true;
  expect_fail("VIRTIO-5.4.6.2/differ", "the same bytes");
}

TEST_F(RngChecksTest, DifferentOnesPass) {
  model().on_chain = [this](std::uint16_t, const ring::Chain& chain) {
    std::vector<std::byte> bytes(chain.writable_bytes(), static_cast<std::byte>(++next_));
    MUST(chain.write(0, bytes));
    return std::optional(chain.writable_bytes());
  };
  expect_pass("VIRTIO-5.4.6.2/differ");
}

TEST_F(RngChecksTest, BytesBeyondTheBuffer) {
  model().on_chain = [](std::uint16_t, const ring::Chain& chain) {
    // The next buffer of the data area is behind this one's.
    auto* const end = chain.writable().back().in_place().data() + chain.writable().back().size();
    *end = ~*end;
    return std::optional(chain.writable_bytes());
  };
  expect_fail("VIRTIO-5.4.6.2/beyond", "beyond its buffer");
}

TEST_F(RngChecksTest, AnotherTypeIsSkipped) {
  model().type = spec::VIRTIO_ID_CONSOLE;
  EXPECT_EQ(run("VIRTIO-5.4.2").verdict, Verdict::kSkip);
  EXPECT_EQ(run("VIRTIO-5.4.6.2/bytes").verdict, Verdict::kSkip);
}

class ConsoleChecksTest : public TypeChecksTest {
 protected:
  ConsoleChecksTest() {
    model().type = spec::VIRTIO_ID_CONSOLE;
    model().own_features = spec::feature(spec::VIRTIO_CONSOLE_F_MULTIPORT) |
                           spec::feature(spec::VIRTIO_CONSOLE_F_EMERG_WRITE);
    model().queue_sizes.assign(6, 64);
    set_ports(2);
  }
  bool wrote_ = false;
  void set_ports(std::uint32_t ports) {
    const spec::VirtioConsoleConfig config{
        .cols = Le16(80), .rows = Le16(25), .max_nr_ports = Le32(ports), .emerg_wr = {}};
    const auto bytes = std::as_bytes(std::span(&config, 1));
    model().config.assign(bytes.begin(), bytes.end());
  }
};

TEST_F(ConsoleChecksTest, AnHonestOnePasses) {
  destructive_ = true;
  for (const char* id :
       {"VIRTIO-5.3.2", "VIRTIO-5.3.4/fixed", "VIRTIO-5.3.4.1", "VIRTIO-5.3.3/plain"}) {
    expect_pass(id);
  }
}

TEST_F(ConsoleChecksTest, MorePortsThanQueues) {
  set_ports(3);
  expect_fail("VIRTIO-5.3.2", "6 queues for 3 ports");
  set_ports(0);
  expect_fail("VIRTIO-5.3.2", "max_nr_ports is 0");
}

TEST_F(ConsoleChecksTest, ASizeThatCanBeWritten) {
  model().on_config_write = [this](std::uint32_t offset, std::span<const std::byte> source) {
    std::ranges::copy(source, model().config.begin() + offset);
  };
  expect_fail("VIRTIO-5.3.4/fixed", "byte 0 can be written");
}

// VIRTIO 1.3, 5.3.4.1.
TEST_F(ConsoleChecksTest, AnEmergencyThatItCantTake) {
  destructive_ = true;
  lies_.on_read = [this](const Register& from, std::uint64_t& read) {
    const bool is_status =
        from.bar == pci::kRegistersBar &&
        from.offset == pci::kCommonOffset + offsetof(spec::VirtioPciCommonCfg, device_status);
    if (is_status && wrote_) read |= spec::VIRTIO_CONFIG_S_NEEDS_RESET;
  };
  model().on_config_write = [this](std::uint32_t, std::span<const std::byte>) { wrote_ = true; };
  EXPECT_EQ(run("VIRTIO-5.3.4.1").verdict, Verdict::kFail);
}

TEST_F(ConsoleChecksTest, NothingIsWrittenToAConsoleUnlessAsked) {
  model().on_config_write = [](std::uint32_t, std::span<const std::byte>) { FAIL(); };
  EXPECT_EQ(run("VIRTIO-5.3.4.1").verdict, Verdict::kSkip);
}

}  // namespace
}  // namespace airlock::driver::conformance
