// SPDX-License-Identifier: Apache-2.0
//
// Goal: an honest device passes every check, and each check that matters notices the device that
// breaks its rule. Method: a disk in this process, whole and honest at first; then one lie a test,
// and the one check that has to fail by it.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <set>
#include <string>

#include "testing/conformance_fixture.h"

namespace airlock::driver::conformance {
namespace {

using pci::AddressOffer;
using pci::DmaPolicy;

// --- honest ones ---

TEST_F(ConformanceTest, IdsAreUniqueAndNameARequirement) {
  std::set<std::string_view> seen;
  for (const Check* check : all_checks()) {
    EXPECT_TRUE(seen.insert(check->id).second) << check->id;
    EXPECT_NE(check->what, "");
    EXPECT_NE(check->run, nullptr);
    const auto known = {"GEN-", "PCI-", "DMB-", "BASE-", "DEF-", "VIRTIO-"};
    EXPECT_TRUE(std::ranges::any_of(known, [&](const char* prefix) {
      return check->id.starts_with(prefix);
    })) << check->id;
  }
  EXPECT_GE(seen.size(), 100U);
}

TEST_F(ConformanceTest, SelectsOneOrAllOfARequirement) {
  EXPECT_EQ(select_checks(all_checks(), "DEF-5/queue-wraps").size(), 1U);
  EXPECT_GE(select_checks(all_checks(), "DEF-5").size(), 8U);
  EXPECT_TRUE(select_checks(all_checks(), "DEF-").empty());
  EXPECT_TRUE(select_checks(all_checks(), "DEF-5/no-such").empty());
}

TEST_F(ConformanceTest, HonestDeviceWithBusAddressesPasses) {
  expect_all_pass();
  EXPECT_EQ(connections_, 1U);
  EXPECT_NE(run("GEN-DV1").why.find("withheld"), std::string::npos);
}

TEST_F(ConformanceTest, HonestDeviceWithOffsetsPasses) {
  make({.offer = AddressOffer::kOffset});
  expect_all_pass();
}

TEST_F(ConformanceTest, HonestDeviceThatPrefersTheRegionPasses) {
  make({.policy = DmaPolicy::kPrefer});
  expect_all_pass();
  expect_pass("PCI-DR1");
  EXPECT_NE(run("GEN-DV1").why.find("goes on"), std::string::npos);
}

TEST_F(ConformanceTest, HonestDeviceWithoutInterruptsPasses) {
  interrupts_ = false;
  expect_all_pass();
  EXPECT_EQ(run("VIRTIO-2.7.7.2/interrupt").verdict, Verdict::kSkip);
  expect_pass("DEF-5/queue-outside");  // by ISR
}

TEST_F(ConformanceTest, DeviceWithoutARegionIsSkippedWhereOneIsNeeded) {
  make({.policy = DmaPolicy::kOpen});
  for (const auto& [id, finding] : run(checks_for_fakes()))
    EXPECT_NE(finding.verdict, Verdict::kFail) << id << ": " << finding.why;
  EXPECT_EQ(run("DEF-5/queue-outside").verdict, Verdict::kSkip);
}

TEST_F(ConformanceTest, WritesNothingToTheDiskUnlessAsked) {
  const auto before = disk().bytes;
  expect_all_pass();
  EXPECT_TRUE(std::ranges::none_of(disk().seen, [](const spec::VirtioBlkReqHeader& header) {
    return header.type.get() == spec::VIRTIO_BLK_T_OUT;
  }));
  EXPECT_EQ(disk().bytes, before);
  EXPECT_EQ(run("VIRTIO-5.2.6.2/write").verdict, Verdict::kSkip);
}

TEST_F(ConformanceTest, PutsBackWhatItOverwrote) {
  destructive_ = true;
  disk().own_features |= spec::feature(spec::VIRTIO_BLK_F_WRITE_ZEROES);
  std::ranges::fill(disk().bytes, std::byte{0x3c});
  const auto before = disk().bytes;
  expect_pass("VIRTIO-5.2.6.2/write");
  expect_pass("VIRTIO-5.2.6.2/write-zeroes");
  EXPECT_EQ(disk().bytes, before);
}

TEST_F(ConformanceTest, HonestDeviceWithEveryRingFeaturePasses) {
  offer_ring_features();
  expect_all_pass();
  for (const char* id : {"VIRTIO-2.7.7.2/used-event", "VIRTIO-2.7.10.2/event-flags",
                         "VIRTIO-4.1.5.2/data", "VIRTIO-6.2/in-order", "VIRTIO-2.7.5.3.2/table",
                         "VIRTIO-2.1.2/table-loop", "DEF-5/table-buffer", "VIRTIO-2.6.1.1.1"})
    expect_pass(id);
}

// --- liars ---

TEST_F(ConformanceTest, NoticesAQueueThatIsNotThereOrNoPowerOfTwo) {
  lie(offsetof(Cfg, queue_size), 48);
  expect_fail("VIRTIO-4.1.4.3.1/missing-queue", "queue 1 has size 48");
  expect_fail("VIRTIO-4.1.4.3.1/queue-size", "48");
}

TEST_F(ConformanceTest, NoticesACountOfQueuesThatCanBeWritten) {
  auto value = std::make_shared<std::uint64_t>(1);
  lies_.on_write = [value](const Register& to, std::uint64_t written) {
    if (is_common(to, offsetof(Cfg, num_queues))) *value = written;
    return false;
  };
  lies_.on_read = [value](const Register& from, std::uint64_t& read) {
    if (is_common(from, offsetof(Cfg, num_queues))) read = *value;
  };
  expect_fail("VIRTIO-4.1.4.3/fixed", "num_queues");
}

TEST_F(ConformanceTest, NoticesAGenerationThatNeverStands) {  // BASE-7
  auto count = std::make_shared<std::uint8_t>(0);
  lies_.on_read = [count](const Register& from, std::uint64_t& read) {
    if (is_common(from, offsetof(Cfg, config_generation))) read = ++*count;
  };
  expect_fail("VIRTIO-4.1.4.3.1/generation", "never stands still");
}

TEST_F(ConformanceTest, NoticesValuesThatChangeBehindTheGeneration) {  // VIRTIO 1.3, 2.5.2
  auto count = std::make_shared<std::uint8_t>(0);
  lies_.on_read = [count](const Register& from, std::uint64_t& read) {
    if (from.offset == pci::kDeviceConfigOffset) read = ++*count;
  };
  expect_fail("VIRTIO-4.1.4.3.1/generation", "did not");
}

TEST_F(ConformanceTest, NoticesANotifyAddressBeyondTheStructure) {
  lie(offsetof(Cfg, queue_notify_off), 0xffff);
  expect_fail("VIRTIO-4.1.4.4.1/offsets", "queue 0");
}

TEST_F(ConformanceTest, NoticesAQueueThatAResetLeavesEnabled) {
  lie(offsetof(Cfg, queue_enable), 1);
  expect_fail("VIRTIO-4.1.4.3.1/reset-queues", "queue_enable of queue 0 is 1");
}

TEST_F(ConformanceTest, NoticesAVectorThatIsNotThere) {
  auto last = std::make_shared<std::uint64_t>(0);
  lies_.on_write = [last](const Register& to, std::uint64_t value) {
    if (is_common(to, offsetof(Cfg, config_msix_vector))) *last = value;
    return false;
  };
  lies_.on_read = [last](const Register& from, std::uint64_t& read) {
    if (is_common(from, offsetof(Cfg, config_msix_vector))) read = *last;
  };
  expect_pass("VIRTIO-4.1.5.1.2.1/map");
  expect_fail("VIRTIO-4.1.5.1.2.1/out-of-range", "config_msix_vector 0x2");
  expect_fail("VIRTIO-4.1.5.1.2.1/reset", "config_msix_vector 0x0");
}

TEST_F(ConformanceTest, NoticesAnIsrThatReadingDoesNotClear) {
  lies_.on_read = [](const Register& from, std::uint64_t& read) {
    if (from.bar == pci::kRegistersBar && from.offset == pci::kIsrOffset) {
      read = spec::VIRTIO_PCI_ISR_CONFIG;
    }
  };
  expect_fail("VIRTIO-4.1.4.5.1/config", "read again");
}

TEST_F(ConformanceTest, NoticesAWindowThatReadsSomethingElse) {
  const std::size_t data =
      capability(spec::VIRTIO_PCI_CAP_PCI_CFG) + offsetof(spec::VirtioPciCfgCap, pci_cfg_data);
  lie_in_config(data, 0x5a);
  expect_fail("VIRTIO-4.1.4.9.1/read", "num_queues is 90");
}

// HD-19: it never says that it is reset. The check ends all the same, and so does the run.
TEST_F(ConformanceTest, NoticesAResetThatNeverEnds) {
  lie(offsetof(Cfg, device_status), spec::VIRTIO_CONFIG_S_ACKNOWLEDGE);
  expect_fail("VIRTIO-2.4.1/reset", "does not reset");
  EXPECT_GE(connections_, 1U);
}

TEST_F(ConformanceTest, NoticesADeviceThatHidesItsNeedForAReset) {  // DEF-5
  lies_.on_read = [](const Register& from, std::uint64_t& read) {
    if (is_common(from, offsetof(Cfg, device_status))) read &= ~0x40ULL;
  };
  expect_fail("DEF-5/queue-outside", "DEVICE_NEEDS_RESET was not set");
  expect_fail("DEF-5/buffer-wraps", "DEVICE_NEEDS_RESET was not set");
  expect_fail("VIRTIO-2.1.2/loop", "DEVICE_NEEDS_RESET was not set");
}

TEST_F(ConformanceTest, NoticesThatNoConfigurationInterruptCame) {  // DEF-5
  lies_.on_write = [](const Register& to, std::uint64_t /*value*/) {
    return is_common(to, offsetof(Cfg, config_msix_vector));
  };
  expect_fail("DEF-5/buffer-outside", "without a configuration interrupt");
}

TEST_F(ConformanceTest, NoticesWritesToARefusedRequest) {  // DMB-D7
  make({.offer = AddressOffer::kOffset});
  lies_.on_write = [this](const Register& to, std::uint64_t /*value*/) {
    if (is_notification(to)) disk_->mapping.bytes().fill_zero(RawQueue::kDataStart, 64);
    return false;
  };
  expect_fail("DMB-D7/buffer-straddles", "wrote to memory");
}

TEST_F(ConformanceTest, NoticesAWrongId) {
  disk().held = true;
  lies_.on_write = [this](const Register& to, std::uint64_t /*value*/) {
    if (is_notification(to) && disk().running()) disk().raw(0).use(7, 513);
    return false;
  };
  expect_fail("VIRTIO-2.7.8.2/id", "as id 7");
}

TEST_F(ConformanceTest, NoticesALengthBeyondTheBuffer) {
  disk().held = true;
  lies_.on_write = [this](const Register& to, std::uint64_t /*value*/) {
    if (is_notification(to) && disk().running()) disk().raw(0).use(0, 514);
    return false;
  };
  expect_fail("VIRTIO-2.7.8.2/length", "514 bytes");
}

TEST_F(ConformanceTest, NoticesScribblesOverTheDescriptors) {  // VIRTIO 1.3, 2.7.5.1
  disk().held = true;
  lies_.on_write = [this](const Register& to, std::uint64_t /*value*/) {
    if (!is_notification(to) || !disk().running()) return false;
    disk().serve();
    disk().raw(0).scribble_descriptor(40, {.address = 1, .length = 1, .flags = 0, .next = 0});
    return true;
  };
  expect_fail("VIRTIO-2.7.5.1", "wrote to the descriptors");
}

TEST_F(ConformanceTest, NoticesADeviceThatServesBeforeDriverOk) {  // VIRTIO 1.3, 2.4.1
  lies_.on_write = [this](const Register& to, std::uint64_t /*value*/) {
    if (is_notification(to)) disk_->mapping.bytes().fill_zero(RawQueue::kDataStart + 1024, 512);
    return false;
  };
  expect_fail("VIRTIO-2.1.2/driver-ok", "before DRIVER_OK");
  expect_fail("VIRTIO-2.4.1/quiet", "after it was reset");
  expect_fail("DEF-7", "before the reset");
}

TEST_F(ConformanceTest, NoticesADeviceThatAnswersNothing) {
  disk().held = true;
  expect_fail("GEN-0", "no answer within 20 ms");
  expect_fail("VIRTIO-2.7.10.2/hint", "no answer");
}

TEST_F(ConformanceTest, NoticesThatNoInterruptCame) {
  offer_ring_features();
  lies_.on_write = [](const Register& to, std::uint64_t /*value*/) {
    return is_common(to, offsetof(Cfg, queue_msix_vector));
  };
  expect_fail("VIRTIO-2.7.7.2/interrupt", "no interrupt came");
  expect_fail("VIRTIO-2.7.7.2/used-event", "no interrupt came");
}

TEST_F(ConformanceTest, NoticesADiskThatReadsWhatItDoesNotHave) {
  disk().on_answer = [](const spec::VirtioBlkReqHeader& /*header*/,
                        testing::FakeDisk::Answer& answer) {
    answer.status = spec::VIRTIO_BLK_S_OK;
  };
  expect_fail("VIRTIO-5.2.6/beyond", "status 0, not 1");
  expect_fail("VIRTIO-5.2.6/across-the-end", "status 0, not 1");
  expect_fail("VIRTIO-5.2.6/unknown-type", "status 0, not 2");
}

TEST_F(ConformanceTest, NoticesADiskThatForgetsWhatWasWritten) {  // VIRTIO 1.3, 5.2.6.2
  destructive_ = true;
  disk().on_answer = [this](const spec::VirtioBlkReqHeader& header,
                            testing::FakeDisk::Answer& /*answer*/) {
    if (header.type.get() == spec::VIRTIO_BLK_T_OUT) std::ranges::fill(disk().bytes, std::byte{0});
  };
  expect_fail("VIRTIO-5.2.6.2/write", "other bytes");
}

// VIRTIO 1.3, 5.2.4, 5.2.5, 5.2.5.2.
TEST_F(ConformanceTest, NoticesADiskWithNonsenseInItsConfiguration) {
  disk().own_features |=
      spec::feature(spec::VIRTIO_BLK_F_BLK_SIZE) | spec::feature(spec::VIRTIO_BLK_F_SEG_MAX) |
      spec::feature(spec::VIRTIO_BLK_F_TOPOLOGY) | spec::feature(spec::VIRTIO_BLK_F_MQ);
  disk().config.blk_size.set(768);
  disk().config.physical_block_exp = 64;
  disk().config.num_queues.set(9);
  disk().config.unused0 = 1;
  expect_fail("VIRTIO-5.2.4/blk-size", "768");
  expect_fail("VIRTIO-5.2.4/segments", "seg_max 0");
  expect_fail("VIRTIO-5.2.4/topology", "physical_block_exp 64");
  expect_fail("VIRTIO-5.2.4/num-queues", "9 queues");
  expect_fail("VIRTIO-5.2.5.2/padding", "byte 33");
}

TEST_F(ConformanceTest, NoticesUsedFlagsBesideEventIndices) {
  offer_ring_features();
  lies_.on_write = [this](const Register& to, std::uint64_t /*value*/) {
    if (is_notification(to) && disk().running()) disk().raw(0).set_used_flags(1);
    return false;
  };
  expect_fail("VIRTIO-2.7.10.2/event-flags", "used.flags 0x1");
}

TEST_F(ConformanceTest, NoticesABatchOutOfOrder) {
  offer_ring_features();
  disk().held = true;
  lies_.on_write = [this](const Register& to, std::uint64_t /*value*/) {
    if (!is_notification(to) || !disk().running()) return false;
    auto raw = disk().raw(0);
    for (std::uint32_t i = raw.avail_index(); i > 0; --i)
      raw.use(raw.available(static_cast<std::uint16_t>(i - 1)), 513);
    return true;
  };
  expect_fail("VIRTIO-6.2/in-order", "has id 0");
}

TEST_F(ConformanceTest, NoticesATableThatIsNotRefused) {  // DEF-5
  offer_ring_features();
  lies_.on_read = [](const Register& from, std::uint64_t& read) {
    if (is_common(from, offsetof(Cfg, device_status))) read &= ~0x40ULL;
  };
  expect_fail("DEF-5/table-outside", "DEVICE_NEEDS_RESET was not set");
  expect_fail("VIRTIO-2.1.2/table-in-table", "DEVICE_NEEDS_RESET was not set");
}

TEST_F(ConformanceTest, NoticesAQueueResetThatNeverEnds) {
  offer_ring_features();
  lie(offsetof(Cfg, queue_reset), 1);
  expect_fail("VIRTIO-4.1.4.3.1/queue-reset", "never reads 0");
}

// --- a device that dies ---

TEST_F(ConformanceTest, SkipsTheRestOfADeviceThatIsGone) {
  connections_most_ = 1;
  lie(offsetof(Cfg, device_status), 0xff);
  std::vector<const Check*> checks;
  for (const char* id : {"VIRTIO-2.4.1/reset", "BASE-1", "PCI-D2"})
    checks.push_back(select_checks(all_checks(), id).front());
  const auto findings = run(checks);
  EXPECT_EQ(findings.at("VIRTIO-2.4.1/reset").verdict, Verdict::kFail);
  EXPECT_EQ(findings.at("BASE-1").verdict, Verdict::kSkip);
  EXPECT_NE(findings.at("PCI-D2").why.find("gone since VIRTIO-2.4.1/reset"), std::string::npos);
}

TEST_F(ConformanceTest, ReachesADeviceAnewThatOneCheckBroke) {
  // The first connection never sees a reset end, the second one does.
  lies_.on_read = [this](const Register& from, std::uint64_t& read) {
    if (is_common(from, offsetof(Cfg, device_status)) && connections_ == 1) read = 1;
  };
  std::vector<const Check*> checks;
  for (const char* id : {"VIRTIO-2.4.1/reset", "VIRTIO-3.1.1"})
    checks.push_back(select_checks(all_checks(), id).front());
  const auto findings = run(checks);
  EXPECT_EQ(findings.at("VIRTIO-2.4.1/reset").verdict, Verdict::kFail);
  EXPECT_EQ(findings.at("VIRTIO-3.1.1").verdict, Verdict::kPass);
  EXPECT_EQ(connections_, 2U);
}

TEST_F(ConformanceTest, HasAnErrorWhereThereIsNoDevice) {
  connections_most_ = 0;
  EXPECT_TRUE(run(all_checks()).empty());
  ASSERT_TRUE(run_error_);
  EXPECT_EQ(run_error_->code, Errc::kPeerClosed);
}

}  // namespace
}  // namespace airlock::driver::conformance
