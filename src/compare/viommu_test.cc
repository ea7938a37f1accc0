// SPDX-License-Identifier: Apache-2.0
//
// Goal: behind a virtio-iommu a device gets at what is mapped, as long as it is, and as it is; of
// what it tries beyond that the driver is told. Method: the host's side in a thread, the driver's
// side in the test, which looks at and writes to the device's file as a device would.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <thread>
#include <vector>

#include "compare/models/pool.h"
#include "compare/models/viommu.h"
#include "compare/models/viommu_driver.h"
#include "spec/virtio.h"

namespace airlock::compare {
namespace {

using iommu::Mapping;

constexpr std::uint64_t kRam = std::uint64_t{4} << 20;
constexpr std::uint64_t kIo = std::to_underlying(kIoBase);
constexpr std::uint64_t kPhysical = std::to_underlying(kPrivateBase);
constexpr std::uint64_t kAt = 0x80400;  // in a page, with neighbours on both sides
constexpr std::uint64_t kKey = 42;

class ViommuTest : public testing::Test {
 protected:
  void serve(const Controls& controls = {}) {
    SocketPair sockets = MUST(socket_pair());
    guest_ = std::move(sockets.first);
    host_ = std::jthread([socket = std::move(sockets.second), controls] {
      EXPECT_EQ(serve_viommu(socket, controls).error().code, Errc::kPeerClosed);
    });
  }
  void TearDown() override {
    access_.reset();
    driver_.reset();
    guest_.reset();
  }
  void connect(const Model& model, const Controls& controls = {}) {
    serve(controls);
    access_ = MUST(model.connect({.private_bytes = kRam, .trusted = &guest_}));
    access_->private_memory().fill(Canary(kKey));
  }
  /// The driver alone, and nothing attached yet.
  void start_driver() {
    serve();
    auto started = MUST(ask<ViommuReply>(
        guest_, ViommuRequest{.kind = ViommuRequest::Kind::kStart, .bytes = kRam}));
    own_ = MUST(PrivateMemory::adopt(std::move(started.fds.at(0)), kRam));
    own_.fill(Canary(kKey));
    driver_ = MUST(ViommuDriver::start(guest_, own_.bytes(), area_));
  }
  /// What the device of an endpoint is let at.
  Result<shm::Mapping> let_at(std::uint32_t endpoint) {
    auto let = TRY(ask<ViommuReply>(
        guest_, ViommuRequest{.kind = ViommuRequest::Kind::kLetAt, .endpoint = endpoint}));
    const auto file =
        TRY(shm::SealedMemfd::adopt(std::move(let.fds.at(0)), let.message.grant.size));
    return TRY(file.map());
  }
  static Mapping page(std::uint64_t index, std::uint64_t own, bool readable, bool writable) {
    const std::uint64_t first = kIo + index * kPageBytes;
    return {.range = {.first = first, .last = first + kPageBytes - 1},
            .physical = kPhysical + own,
            .readable = readable,
            .writable = writable};
  }
  std::vector<iommu::Fault> faults() {
    MUST(ask<ViommuReply>(guest_, ViommuRequest{.kind = ViommuRequest::Kind::kCounts}));
    return MUST(driver_->take_faults());
  }
  [[nodiscard]] std::span<std::byte> buffer(std::uint64_t length, std::uint64_t at = kAt) const {
    return access_->private_memory().span().subspan(at, length);
  }
  /// What a device sees of the addresses from `offset` on.
  [[nodiscard]] std::span<std::byte> seen(const MappedBuffer& mapped) const {
    return access_->memory().in_place().subspan(std::to_underlying(mapped.offset),
                                                mapped.buffer.size());
  }
  static bool blank(std::span<const std::byte> bytes) {
    return std::ranges::all_of(bytes, [](std::byte byte) { return byte == std::byte{0}; });
  }

  Fd guest_;
  std::jthread host_;
  std::unique_ptr<Access> access_;
  PrivateMemory own_;
  CoherentArea area_{0, PrivateMemory::kReserved};
  std::unique_ptr<ViommuDriver> driver_;
};

// SYS-6: before a map and after an unmap.
TEST_F(ViommuTest, ShowsPagesFromMapToUnmap) {
  connect(kViommu);
  EXPECT_TRUE(blank(access_->memory().in_place().subspan(kPageBytes, 8 * kPageBytes)));
  const MappedBuffer mapped = MUST(access_->map(buffer(512), pool::Direction::kToDevice));
  EXPECT_TRUE(std::ranges::equal(seen(mapped), mapped.buffer));
  ASSERT_TRUE(access_->unmap(mapped, 0));
  EXPECT_TRUE(blank(seen(mapped)));
  EXPECT_EQ(access_->unmap(mapped, 0).error().code, Errc::kBadHandle);
}

TEST_F(ViommuTest, ControlThatIsNotTakenBackIsSeen) {
  connect(kViommu, {.keep_shared = true});
  const MappedBuffer mapped = MUST(access_->map(buffer(512), pool::Direction::kToDevice));
  ASSERT_TRUE(access_->unmap(mapped, 0));
  EXPECT_FALSE(blank(seen(mapped)));
}

TEST_F(ViommuTest, SyncShowsWhatWasWrittenSince) {
  connect(kViommu);
  const MappedBuffer mapped = MUST(access_->map(buffer(512), pool::Direction::kToDevice));
  mapped.buffer[3] ^= std::byte{1};
  EXPECT_FALSE(std::ranges::equal(seen(mapped), mapped.buffer));
  ASSERT_TRUE(access_->sync_for_device(mapped));
  EXPECT_TRUE(std::ranges::equal(seen(mapped), mapped.buffer));
}

// Two buffers in a page are two mappings of it, and neither undoes what came by the other.
TEST_F(ViommuTest, WhatADeviceWritesGoesBackAndNothingElse) {
  connect(kViommu);
  const MappedBuffer first = MUST(access_->map(buffer(64), pool::Direction::kFromDevice));
  const MappedBuffer second =
      MUST(access_->map(buffer(64, kAt + 512), pool::Direction::kFromDevice));
  std::ranges::fill(seen(first), std::byte{1});
  std::ranges::fill(seen(second), std::byte{2});
  buffer(1, kAt + 100)[0] = std::byte{3};  // the guest's own, beside them
  ASSERT_TRUE(access_->unmap(first, 64));
  ASSERT_TRUE(access_->unmap(second, 64));
  EXPECT_EQ(buffer(64)[63], std::byte{1});
  EXPECT_EQ(buffer(64, kAt + 512)[0], std::byte{2});
  EXPECT_EQ(buffer(1, kAt + 100)[0], std::byte{3});
}

// SYS-6: a translation that the device holds on to, while it copies.
TEST_F(ViommuTest, AStaleTranslationReachesNobody) {
  connect(kViommu);
  const MappedBuffer mapped =
      MUST(access_->map(buffer(4096, 0x80000), pool::Direction::kFromDevice));
  std::atomic<bool> enough{false};
  std::atomic<std::uint32_t> laps{0};
  std::jthread device([&] {
    const std::vector<std::byte> ones(4096, std::byte{1});
    const std::vector<std::byte> twos(4096, std::byte{2});
    while (!enough) {
      const bool even = laps++ % 2 == 0;
      access_->memory().copy_in(std::to_underlying(mapped.offset), even ? ones : twos);
    }
  });
  while (laps < 2)
    std::this_thread::yield();
  const bool unmapped = access_->unmap(mapped, 4096).has_value();
  const std::vector<std::byte> then(mapped.buffer.begin(), mapped.buffer.end());
  const std::uint32_t lap = laps;
  while (laps < lap + 100)
    std::this_thread::yield();
  EXPECT_TRUE(std::ranges::equal(mapped.buffer, then));
  enough = true;
  device.join();
  ASSERT_TRUE(unmapped);
  EXPECT_TRUE(std::ranges::equal(mapped.buffer, then));
  // Nor does what it wrote there later come with the next one that has these addresses.
  EXPECT_GT(MUST(access_->trusted_counts()).stand_in_bytes, 0U);
  EXPECT_TRUE(blank(seen(mapped)));
  EXPECT_GT(access_->counts().faults, 0U);
}

// SYS-6, VIRTIO 1.3, 5.13.6.9: the driver is told what the device tried, and where.
TEST_F(ViommuTest, ReportsAccessesWhereNothingIsMapped) {
  start_driver();
  ASSERT_TRUE(driver_->attach(kDiskEndpoint));
  const shm::Mapping io = MUST(let_at(kDiskEndpoint));
  ASSERT_TRUE(driver_->map(page(4, 0x80000, true, true)));
  EXPECT_TRUE(faults().empty());
  // Across the mapping's edge.
  io.bytes().fill_zero(4 * kPageBytes, 1);
  io.bytes().copy_in(5 * kPageBytes - 1, std::vector<std::byte>(2, std::byte{1}));
  const std::vector<iommu::Fault> found = faults();
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0], (iommu::Fault{.reason = spec::VIRTIO_IOMMU_FAULT_R_MAPPING,
                                    .access = window::Access::kWrite,
                                    .endpoint = kDiskEndpoint,
                                    .address = kIo + 5 * kPageBytes}));
  EXPECT_TRUE(blank(io.bytes().in_place().subspan(5 * kPageBytes, kPageBytes)));
  // That look was a read of nothing.
  const std::vector<iommu::Fault> read = faults();
  ASSERT_EQ(read.size(), 1U);
  EXPECT_EQ(read[0].access, window::Access::kRead);
  ASSERT_TRUE(driver_->unmap({.first = kIo, .last = kIo + kIoBytes - 1}));
  EXPECT_EQ(own_.span()[0x80fff], std::byte{1});
}

// VIRTIO 1.3, 5.13.6.9.1: what has more in it than this driver knows is not taken for less.
TEST_F(ViommuTest, IgnoresReportsWithReservedBytes) {
  start_driver();
  const shm::Mapping io = MUST(let_at(kOtherEndpoint));
  for (const std::uint8_t reserved : {std::uint8_t{0}, std::uint8_t{1}}) {
    io.bytes().fill_zero(0, 1);
    MUST(ask<ViommuReply>(guest_, ViommuRequest{.kind = ViommuRequest::Kind::kCounts}));
    spec::VirtioIommuFault report;
    report.reason = spec::VIRTIO_IOMMU_FAULT_R_DOMAIN;
    report.flags = Le32(spec::VIRTIO_IOMMU_FAULT_F_READ | spec::VIRTIO_IOMMU_FAULT_F_ADDRESS);
    report.endpoint = Le32(kOtherEndpoint);
    report.address = Le64(kIo);
    const auto queues = own_.span().first(PrivateMemory::kReserved);
    const auto found = std::ranges::search(queues, std::as_bytes(std::span(&report, 1)));
    ASSERT_FALSE(found.empty());
    found[offsetof(spec::VirtioIommuFault, reserved)] = std::byte{reserved};
    EXPECT_EQ(MUST(driver_->take_faults()).size(), reserved == 0 ? 1U : 0U);
    // Out of the way of the next search.
    std::ranges::fill(found, std::byte{0});
  }
}

// SYS-6: wrong permission. What is written to pages that are to be read reaches nobody.
TEST_F(ViommuTest, WhatMayBeReadIsNotWritten) {
  start_driver();
  ASSERT_TRUE(driver_->attach(kDiskEndpoint));
  const shm::Mapping io = MUST(let_at(kDiskEndpoint));
  const std::byte before = own_.span()[0x80000];
  for (const bool writable : {false, true}) {
    const Mapping mapping = page(1, 0x80000, true, writable);
    ASSERT_TRUE(driver_->map(mapping));
    EXPECT_EQ(io.bytes().in_place()[kPageBytes], before);
    io.bytes().in_place()[kPageBytes] = before ^ std::byte{0xff};
    ASSERT_TRUE(driver_->unmap(mapping.range));
    EXPECT_EQ(own_.span()[0x80000] == before, !writable);
    const std::vector<iommu::Fault> found = faults();
    EXPECT_EQ(found.size(), writable ? 0U : 1U);
    if (!writable && !found.empty()) {
      EXPECT_EQ(found[0].access, window::Access::kWrite);
      EXPECT_EQ(found[0].address, mapping.range.first);
    }
  }
}

// SYS-6: attached to nothing, with bypass off and on; and an endpoint of no IOMMU.
TEST_F(ViommuTest, WhoIsNotAttachedGetsAtNothingUnlessItBypasses) {
  start_driver();
  EXPECT_EQ(let_at(7).error().code, Errc::kBadHandle);
  ASSERT_TRUE(driver_->attach(kDiskEndpoint));
  ASSERT_TRUE(driver_->map(page(0, 0x80000, true, true)));
  const shm::Mapping refused = MUST(let_at(kOtherEndpoint));
  EXPECT_EQ(refused.bytes().size(), kIoBytes);
  EXPECT_TRUE(blank(refused.bytes().in_place().first(2 * kPageBytes)));
  const std::vector<iommu::Fault> found = faults();
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].reason, spec::VIRTIO_IOMMU_FAULT_R_DOMAIN);
  EXPECT_EQ(found[0].endpoint, kOtherEndpoint);
  ASSERT_TRUE(driver_->write_bypass(true));
  const shm::Mapping all = MUST(let_at(kOtherEndpoint));
  ASSERT_EQ(all.bytes().size(), kRam);
  EXPECT_TRUE(
      std::ranges::equal(all.bytes().in_place().subspan(kAt, 64), own_.span().subspan(kAt, 64)));
  // The disk is attached: it has what is mapped, all the same.
  EXPECT_EQ(MUST(let_at(kDiskEndpoint)).bytes().size(), kIoBytes);
  // A file that was given away can't be had back: whoever bypassed is not said to be confined.
  EXPECT_FALSE(driver_->write_bypass(false));
  EXPECT_EQ(driver_->attach(kOtherEndpoint).error().detail, spec::VIRTIO_IOMMU_S_DEVERR);
}

// VIRTIO 1.3, 5.13.6.4.2.
TEST_F(ViommuTest, DetachingTakesEverythingBack) {
  start_driver();
  ASSERT_TRUE(driver_->attach(kDiskEndpoint));
  ASSERT_TRUE(driver_->map(page(0, 0x80000, true, true)));
  const shm::Mapping io = MUST(let_at(kDiskEndpoint));
  EXPECT_FALSE(blank(io.bytes().in_place().first(kPageBytes)));
  ASSERT_TRUE(driver_->detach(kDiskEndpoint));
  EXPECT_TRUE(blank(io.bytes().in_place().first(kPageBytes)));
  EXPECT_EQ(driver_->map(page(0, 0x80000, true, true)).error().detail, spec::VIRTIO_IOMMU_S_NOENT);
}

// SYS-6: the driver says what the IOMMU refused.
TEST_F(ViommuTest, RefusalsReachTheDriver) {
  start_driver();
  EXPECT_EQ(driver_->attach(7).error().detail, spec::VIRTIO_IOMMU_S_NOENT);
  ASSERT_TRUE(driver_->attach(kDiskEndpoint));
  Mapping two_pages = page(0, 0x80000, true, true);
  two_pages.range.last += kPageBytes;
  ASSERT_TRUE(driver_->map(two_pages));
  EXPECT_EQ(driver_->map(page(1, 0, true, true)).error().detail, spec::VIRTIO_IOMMU_S_INVAL);
  EXPECT_EQ(driver_->map(page(2, kRam, true, true)).error().detail, spec::VIRTIO_IOMMU_S_FAULT);
  EXPECT_EQ(driver_->unmap({.first = kIo, .last = kIo + kPageBytes - 1}).error().detail,
            spec::VIRTIO_IOMMU_S_RANGE);
  EXPECT_TRUE(driver_->unmap(two_pages.range));
}

// SYS-6, SYS-1: one mapping for good, and swiotlb's algorithm in there.
TEST_F(ViommuTest, TheWindowIsMappedOnce) {
  connect(kViommuBounce);
  const std::uint64_t messages = access_->counts().messages;
  const MappedBuffer mapped = MUST(access_->map(buffer(512), pool::Direction::kToDevice));
  EXPECT_TRUE(std::ranges::equal(seen(mapped), mapped.buffer));
  ASSERT_TRUE(access_->unmap(mapped, 0));
  EXPECT_EQ(access_->counts().messages, messages);
  EXPECT_EQ(access_->counts().copied_bytes, 512U);
}

// SYS-5: addresses of the platform's own are for devices that ask it. One that does not takes them
// for physical ones, where it finds something else, or nothing; where the two are the same, it
// does.
TEST_F(ViommuTest, ADeviceWithoutThePlatformIsForPhysicalAddressesOnly) {
  const std::uint64_t version = spec::feature(spec::VIRTIO_F_VERSION_1);
  const std::uint64_t platform = spec::feature(spec::VIRTIO_F_ACCESS_PLATFORM);
  const auto finds_it = [&](window::BusAddress physical) {
    const MappedBuffer mapped = MUST(access_->map(buffer(512), pool::Direction::kToDevice));
    window::Window all(access_->memory());
    all.configure(window::AddressMode::kBus, window::Reach::kRegion);
    all.set_region_bus_base(physical);
    const auto there = all.translate(access_->publisher().publish(mapped.offset),
                                     mapped.buffer.size(), window::Access::kRead);
    return there && std::ranges::equal(there->in_place(), mapped.buffer);
  };
  connect(kViommu);
  EXPECT_FALSE(finds_it(kPrivateBase));
  EXPECT_TRUE(finds_it(kIoBase));  // as the IOMMU translates for who asks it
  EXPECT_EQ(access_->choose(version).error().code, Errc::kUnsupported);
  EXPECT_EQ(MUST(access_->choose(version | platform)), version | platform);
  access_ = MUST(kPool.connect({.private_bytes = kRam}));
  EXPECT_TRUE(finds_it(kSharedBase));
  EXPECT_EQ(MUST(access_->choose(version)), version);
}

TEST_F(ViommuTest, RunsOutOfAddressesAndRecovers) {
  connect(kViommu);
  constexpr std::uint64_t kEach = 0x100000;
  std::vector<MappedBuffer> mapped;
  for (;;) {
    auto one = access_->map(buffer(kEach, 0x100000), pool::Direction::kToDevice);
    if (!one) {
      EXPECT_EQ(one.error().code, Errc::kPoolFull);
      break;
    }
    mapped.push_back(*one);
    ASSERT_LE(mapped.size(), kIoBytes / kEach);
  }
  EXPECT_EQ(mapped.size(), kIoBytes / kEach);
  EXPECT_EQ(access_->counts().full, 1U);
  ASSERT_TRUE(access_->unmap(mapped.back(), 0));
  EXPECT_TRUE(access_->map(buffer(kEach, 0x100000), pool::Direction::kToDevice));
  std::vector<std::byte> elsewhere(512);
  EXPECT_EQ(access_->map(elsewhere, pool::Direction::kToDevice).error().code, Errc::kOutOfRange);
}

TEST(IoAddresses, AreGivenOutOnce) {
  IoAddresses addresses(4 * kPageBytes);
  EXPECT_EQ(addresses.take(3), 0U);
  EXPECT_EQ(addresses.take(2), std::nullopt);
  EXPECT_EQ(addresses.take(1), 3 * kPageBytes);
  EXPECT_TRUE(addresses.holds(0, 4));
  EXPECT_FALSE(addresses.holds(0, 5));
  EXPECT_FALSE(addresses.holds(~std::uint64_t{0}, 2));
  addresses.give_back(kPageBytes, 2);
  EXPECT_FALSE(addresses.holds(0, 2));
  EXPECT_EQ(addresses.take(2), kPageBytes);
}

}  // namespace
}  // namespace airlock::compare
