// SPDX-License-Identifier: Apache-2.0
//
// For tests: a disk in this process, honest until told to lie, and checks that run against it.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/log.h"
#include "driver/conformance/suite.h"
#include "testing/fake_disk.h"
#include "testing/fake_transport.h"

namespace airlock::driver::conformance {

class ConformanceTest : public ::testing::Test {
 protected:
  using Cfg = spec::VirtioPciCommonCfg;

  static bool is_common(const Register& where, std::size_t offset) {
    return where.bar == pci::kRegistersBar && where.offset == pci::kCommonOffset + offset;
  }
  static bool is_notification(const Register& where) {
    return where.bar == pci::kRegistersBar && where.offset >= pci::kNotifyOffset;
  }

  ConformanceTest() {
    set_log_level(LogLevel::kError);
    make({});
  }

  void make(const pci::NegotiationOptions& negotiation) {
    disk_ = std::make_unique<testing::FakeDiskDevice>(
        testing::FakeDiskDevice::Options{.negotiation = negotiation});
    disk().own_features = spec::feature(spec::VIRTIO_BLK_F_FLUSH);
  }
  testing::FakeDisk& disk() { return disk_->disk; }
  void offer_ring_features() {
    disk().own_features |=
        spec::feature(spec::VIRTIO_F_INDIRECT_DESC) | spec::feature(spec::VIRTIO_F_EVENT_IDX) |
        spec::feature(spec::VIRTIO_F_IN_ORDER) | spec::feature(spec::VIRTIO_F_RING_RESET) |
        spec::feature(spec::VIRTIO_F_NOTIFICATION_DATA);
  }

  // What the checks of these ids find, by id.
  std::map<std::string, Finding> run(const std::vector<const Check*>& checks) {
    std::map<std::string, Finding> findings;
    const Connector connect = [this]() -> Result<std::unique_ptr<PciTransport>> {
      ++connections_;
      if (connections_ > connections_most_) return fail(Errc::kPeerClosed);
      return std::make_unique<testing::FakeTransport>(
          disk_->device(), disk_->memfd, lies_,
          testing::FakeTransport::Options{.interrupts = interrupts_});
    };
    run_error_ = std::nullopt;
    const auto done = run_checks(
        connect, checks,
        {.destructive = destructive_,
         .timeout = std::chrono::milliseconds(20),
         .quiet = std::chrono::milliseconds(1)},
        [&](const Check& check, const Finding& finding) {
          EXPECT_TRUE(findings.emplace(check.id, finding).second) << check.id << " ran twice";
          EXPECT_TRUE(finding.verdict == Verdict::kPass || !finding.why.empty()) << check.id;
        });
    if (!done) run_error_ = done.error();
    return findings;
  }
  Finding run(std::string_view id) {
    const auto checks = select_checks(all_checks(), id);
    CHECK(checks.size() == 1);
    return run(checks).at(std::string(id));
  }
  void expect_fail(std::string_view id, std::string_view why) {
    const Finding finding = run(id);
    EXPECT_EQ(finding.verdict, Verdict::kFail) << id << ": " << finding.why;
    EXPECT_NE(finding.why.find(why), std::string::npos) << id << ": " << finding.why;
  }
  void expect_pass(std::string_view id) {
    const Finding finding = run(id);
    EXPECT_EQ(finding.verdict, Verdict::kPass) << id << ": " << finding.why;
  }

  // All but what the disk of the tests, made for honest drivers, does not survive.
  static std::vector<const Check*> checks_for_fakes() {
    auto all = all_checks();
    std::erase_if(all, [](const Check* check) {
      return check->id == "VIRTIO-5.2.6/short-header" || check->id == "VIRTIO-5.2.6/no-header" ||
             check->id == "VIRTIO-5.2.6/no-status";
    });
    return all;
  }
  void expect_all_pass() {
    unsigned passes = 0;
    for (const auto& [id, finding] : run(checks_for_fakes())) {
      EXPECT_NE(finding.verdict, Verdict::kFail) << id << ": " << finding.why;
      if (finding.verdict == Verdict::kPass) ++passes;
    }
    EXPECT_FALSE(run_error_);
    EXPECT_GE(passes, 80U);
  }

  // --- lies ---
  void lie(std::size_t offset, std::uint64_t value) {
    lies_.on_read = [offset, value](const Register& from, std::uint64_t& read) {
      if (is_common(from, offset)) read = value;
    };
  }
  void lie_about_offer(std::uint64_t set, std::uint64_t clear) {
    lies_.on_write = [this](const Register& to, std::uint64_t value) {
      if (is_common(to, offsetof(Cfg, device_feature_select))) select_ = value;
      return false;
    };
    lies_.on_read = [this, set, clear](const Register& from, std::uint64_t& read) {
      if (!is_common(from, offsetof(Cfg, device_feature)) || select_ > 1) return;
      read = (read | (set >> (32 * select_))) & ~(clear >> (32 * select_)) & 0xffff'ffff;
    };
  }
  // A byte of configuration space that reads as `value`, wherever the read starts.
  void lie_in_config(std::size_t offset, std::uint8_t value) {
    lies_.on_config_read = [offset, value](std::uint16_t from, std::span<std::byte> target) {
      if (offset < from || offset - from >= target.size()) return;
      target[offset - from] = std::byte{value};
    };
  }
  // Where the capability of this type stands.
  std::size_t capability(std::uint8_t type) {
    testing::Lies honest;
    testing::FakeTransport transport(disk_->device(), disk_->memfd, honest, {});
    const CheckContext context = MUST(CheckContext::create(transport, {}));
    for (const RawCapability& one : context.raw_capabilities()) {
      if (one.id == spec::PCI_CAP_ID_VNDR && one.type == type) return one.position;
    }
    CHECK(false);
  }

  std::unique_ptr<testing::FakeDiskDevice> disk_;
  testing::Lies lies_;
  bool interrupts_ = true;
  bool destructive_ = false;
  unsigned connections_ = 0;
  unsigned connections_most_ = ~0U;
  std::optional<Error> run_error_;
  std::uint64_t select_ = 0;
};

}  // namespace airlock::driver::conformance
