// SPDX-License-Identifier: Apache-2.0
//
// Goal: what a network card put into a shared region a disk takes from there, without a copy and
// whatever becomes of the card; neither takes the other's room; a device that has not the region it
// is said to have is not used. Method: a card and a disk in this process, over one memfd.
#include "driver/shared_pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>

#include "driver/blk.h"
#include "driver/net.h"
#include "testing/fake_disk.h"
#include "testing/fake_net.h"
#include "testing/fake_transport.h"

namespace airlock::driver {
namespace {

using namespace std::chrono_literals;
using testing::FakeTransport;

constexpr std::uint64_t kShareBytes = std::uint64_t{256} << 10;
constexpr std::size_t kHeader = 14;  // of Ethernet
constexpr std::size_t kPayload = 1024;

std::vector<std::byte> frame_of(unsigned seed) {
  std::vector<std::byte> bytes(kHeader + kPayload);
  for (std::size_t i = 0; i < bytes.size(); i++)
    bytes[i] = std::byte((i * 7 + i / 256 + seed * 31) & 0xff);
  return bytes;
}

std::span<const std::byte> payload(std::span<const std::byte> frame) {
  return frame.subspan(kHeader);
}

class SharedPoolTest : public ::testing::Test {
 protected:
  SharedPoolTest() { set_log_level(LogLevel::kError); }

  void make_region(std::vector<std::uint64_t> shares) {
    region_ = std::make_shared<SharedPool>(SharedPool::Options{.share_bytes = std::move(shares)});
  }
  Result<std::unique_ptr<Net>> open_net(std::uint32_t share = 0) {
    const VirtioDevice::Options device{.ring_features = kRingFeaturesByDefault,
                                       .timeout = 50ms,
                                       .shared = region_,
                                       .share = share};
    return Net::open(
        transport(net_device_.device(), net_device_.memfd),
        {.receive_bytes = 32 << 10, .receive_in_place = true, .timeout = 50ms, .device = device});
  }
  Result<std::unique_ptr<Blk>> open_disk(testing::FakeDiskDevice& disk, std::uint32_t share = 1) {
    return Blk::open(
        transport(disk.device(), disk.memfd),
        {.timeout = 50ms, .device = {.timeout = 50ms, .shared = region_, .share = share}});
  }
  void open() {
    net_ = MUST(open_net());
    disk_ = MUST(open_disk(disk_device_));
  }
  NetReceivedInPlace take() {
    auto received = MUST(net_->in_place_receiver(0).poll());
    CHECK(received.has_value());
    return std::move(*received);
  }
  std::span<const std::byte> on_disk(std::size_t offset, std::size_t length) {
    return std::span(disk_device_.disk.bytes).subspan(offset, length);
  }
  static bool same(std::span<const std::byte> a, std::span<const std::byte> b) {
    return std::ranges::equal(a, b);
  }

  std::unique_ptr<PciTransport> transport(pci::VirtioPciDevice& device,
                                          const shm::SealedMemfd& memfd) {
    return std::make_unique<FakeTransport>(
        device, memfd, lies_,
        FakeTransport::Options{.interrupts = true, .names_file = names_file_});
  }

  std::shared_ptr<const shm::SealedMemfd> memfd_ = std::make_shared<const shm::SealedMemfd>(
      MUST(shm::SealedMemfd::create({.size = std::uint64_t{1} << 20})));
  testing::FakeNetDevice net_device_{{.shared = memfd_}};
  // The other address mode: a number that one device is given means nothing to the other.
  testing::FakeDiskDevice disk_device_{
      {.negotiation = {.offer = pci::AddressOffer::kOffset}, .shared = memfd_}};
  testing::Lies lies_;
  bool names_file_ = true;
  std::shared_ptr<SharedPool> region_ =
      std::make_shared<SharedPool>(SharedPool::Options{.share_bytes = {kShareBytes, kShareBytes}});
  std::unique_ptr<Net> net_;
  std::unique_ptr<Blk> disk_;
};

TEST_F(SharedPoolTest, AFrameGoesToDiskWithoutACopy) {
  open();
  for (unsigned i = 0; i < 200; i++) {  // more than the ring has, and the pool
    ASSERT_TRUE(net_device_.net.deliver(frame_of(i)));
    const auto received = take();
    ASSERT_TRUE(same(received.frame, frame_of(i)));
    ASSERT_TRUE(disk_->write(std::uint64_t{i} * kPayload, payload(received.frame)));
    ASSERT_TRUE(same(on_disk(i * kPayload, kPayload), payload(frame_of(i))));
  }
  EXPECT_EQ(disk_->stats().copies, 0U);
  EXPECT_EQ(disk_->stats().bytes_written, 200 * kPayload);
  EXPECT_EQ(net_->received().frames, 200U);
  for (const std::uint32_t share : {0U, 1U}) {
    const pool::Stats stats = region_->pool(share).stats();
    EXPECT_EQ(stats.maps + stats.bytes_to_device + stats.bytes_from_device, 0U) << share;
  }
}

// Either way round, and by the pools themselves.
TEST_F(SharedPoolTest, ABufferOfEitherShareServesEitherDevice) {
  open();
  const auto mine = MUST(disk_->allocate(4096));
  const auto sent = frame_of(3);
  std::ranges::copy(sent, mine.span().begin());
  ASSERT_TRUE(net_->send(mine.span().first(sent.size())));
  EXPECT_EQ(net_device_.net.sent.at(0), sent);
  EXPECT_EQ(net_->sent().copies, 0U);
  const auto its = MUST(net_->allocate(4096));
  ASSERT_TRUE(disk_->read(0, its.span()));
  EXPECT_EQ(disk_->stats().copies, 0U);
}

// What is copied anyway is not memory of either share.
TEST_F(SharedPoolTest, OrdinaryMemoryIsCopied) {
  open();
  ASSERT_TRUE(disk_->write(0, std::vector<std::byte>(4096, std::byte{5})));
  EXPECT_EQ(disk_->stats().copies, 1U);
  EXPECT_EQ(region_->pool(1).stats().bytes_to_device, 4096U);
  EXPECT_EQ(region_->pool(0).stats().bytes_to_device, 0U);
}

// The frame's owner gave it up, and the card was reset: the disk has it still.
TEST_F(SharedPoolTest, AFrameStaysUntilItsLastUserIsDone) {
  open();
  disk_device_.disk.held = true;
  ASSERT_TRUE(net_device_.net.deliver(frame_of(1)));
  {
    const auto received = take();
    MUST(disk_->queue(0).submit({.op = BlkOp::kWrite, .source = payload(received.frame)}));
    disk_->queue(0).kick();
  }
  ASSERT_TRUE(net_->reset());
  std::vector<pool::InPlaceBuffer> all;  // whatever is free
  for (auto buffer = net_->allocate(2048); buffer; buffer = net_->allocate(2048)) {
    std::ranges::fill(buffer->span(), std::byte{0xee});
    all.push_back(std::move(*buffer));
  }
  const std::uint64_t used = region_->pool(0).stats().used;
  disk_device_.disk.serve();
  EXPECT_TRUE(same(on_disk(0, kPayload), payload(frame_of(1))));
  ASSERT_TRUE(disk_->queue(0).poll());
  EXPECT_EQ(region_->pool(0).stats().used, used - 1) << "and then it is free";
}

TEST_F(SharedPoolTest, AResetOfOneLeavesTheOthersPartAlone) {
  open();
  const auto mine = MUST(disk_->allocate(4096));
  std::ranges::fill(mine.span(), std::byte{0x5a});
  ASSERT_TRUE(net_->reset());
  net_.reset();
  EXPECT_TRUE(std::ranges::all_of(mine.span(), [](std::byte b) { return b == std::byte{0x5a}; }));
  EXPECT_TRUE(disk_->write(0, mine.span()));
}

// A frame that is kept outlives the card that received it.
TEST_F(SharedPoolTest, AFrameOutlivesItsCard) {
  open();
  ASSERT_TRUE(net_device_.net.deliver(frame_of(1)));
  const auto received = take();
  net_.reset();
  ASSERT_TRUE(disk_->write(0, payload(received.frame)));
  EXPECT_TRUE(same(on_disk(0, kPayload), payload(frame_of(1))));
}

// HD-30: who keeps all frames stops the card, and nothing else; freed, they come again.
TEST_F(SharedPoolTest, AHogStarvesItselfAlone) {
  open();
  std::vector<NetReceivedInPlace> kept;
  for (unsigned i = 0; net_device_.net.deliver(frame_of(i)); i++)
    kept.push_back(take());
  EXPECT_FALSE(net_->allocate(2048));
  EXPECT_EQ(region_->pool(0).stats().used, region_->pool(0).stats().nslabs);
  EXPECT_EQ(region_->pool(0).stats().nslabs * pool::kSlotBytes, kShareBytes) << "its quota";
  std::vector<std::byte> bytes(64 << 10, std::byte{1});
  EXPECT_TRUE(disk_->write(0, bytes));
  EXPECT_TRUE(disk_->allocate(128 << 10));
  EXPECT_EQ(disk_->stats().pool_full, 0U);
  kept.clear();
  EXPECT_FALSE(MUST(net_->in_place_receiver(0).poll()));
  EXPECT_TRUE(net_device_.net.deliver(frame_of(7)));
  EXPECT_TRUE(same(take().frame, frame_of(7)));
}

// The twin: with one share for both there is no quota between them.
TEST_F(SharedPoolTest, WithoutQuotasAHogStarvesTheOther) {
  make_region({2 * kShareBytes});
  net_ = MUST(open_net(0));
  disk_ = MUST(open_disk(disk_device_, 0));
  std::vector<NetReceivedInPlace> kept;
  for (unsigned i = 0; net_device_.net.deliver(frame_of(i)); i++)
    kept.push_back(take());
  EXPECT_EQ(disk_->allocate(2048).error().code, Errc::kPoolFull);
  const std::vector<std::byte> bytes(512, std::byte{1});
  MUST(disk_->queue(0).submit({.op = BlkOp::kWrite, .source = bytes}));
  EXPECT_FALSE(disk_->queue(0).poll());
  EXPECT_GT(disk_->stats().pool_full, 0U);
  kept.clear();
  ASSERT_TRUE(disk_->queue(0).wait(1s));
  EXPECT_FALSE(disk_->queue(0).poll()->error);
}

// HD-23: a card that lies is given up; the disk, and the frames received before, are not.
TEST_F(SharedPoolTest, AQueueThatOneBreaksLeavesTheOthersAtWork) {
  open();
  ASSERT_TRUE(net_device_.net.deliver(frame_of(1)));
  const auto received = take();
  ASSERT_TRUE(net_device_.net.deliver(frame_of(2), {.written = 11}));  // HD-3: not even a header
  EXPECT_EQ(net_->in_place_receiver(0).poll().error().code, Errc::kBadLength);
  EXPECT_TRUE(net_->device().broken());
  EXPECT_FALSE(disk_->device().broken());
  ASSERT_TRUE(disk_->write(0, payload(received.frame)));
  EXPECT_TRUE(same(on_disk(0, kPayload), payload(frame_of(1))));
  ASSERT_TRUE(net_->reset());
  ASSERT_TRUE(net_device_.net.deliver(frame_of(3)));
  EXPECT_TRUE(same(take().frame, frame_of(3)));
}

TEST_F(SharedPoolTest, RegionsOfOtherSizesAreRefused) {
  testing::FakeDiskDevice larger{{.region_bytes = std::uint64_t{2} << 20}};
  net_ = MUST(open_net());
  EXPECT_EQ(open_disk(larger).error().code, Errc::kWrongSize);
  EXPECT_TRUE(open_disk(disk_device_)) << "the right one is not";
}

// DEF-7, and a lie: another region of the same size, whether the kernel can tell or not.
TEST_F(SharedPoolTest, AnotherRegionIsRefused) {
  for (const bool names_file : {true, false}) {
    testing::FakeDiskDevice other{{}};
    names_file_ = names_file;
    make_region({kShareBytes, kShareBytes});
    net_ = MUST(open_net());
    EXPECT_EQ(open_disk(other).error().code, Errc::kNoRegion);
    EXPECT_TRUE(open_disk(disk_device_)) << "the twin";
    net_.reset();
  }
}

// A device that watches what is written to the first one's region, and copies it into its own at
// once, is found out where the kernel can tell; where not, it has shown that it can read all there
// is in it.
TEST_F(SharedPoolTest, ACopyistIsRefused) {
  for (const bool names_file : {true, false}) {
    testing::FakeDiskDevice other{{}};
    names_file_ = names_file;
    make_region({kShareBytes, kShareBytes});
    net_ = MUST(open_net());
    struct Copyist final : shm::AccessObserver {
      shm::SharedBytes first, second;
      bool forth = true;
      void before_access(const shm::Access& access) override {
        if (access.kind != shm::Access::Kind::kLoad || access.length != 32) return;
        std::array<std::byte, 4096> page{};
        (forth ? first : second).copy_out(0, page);
        (forth ? second : first).copy_in(0, page);
        forth = !forth;
      }
    } copyist;
    copyist.first = net_device_.mapping.bytes();
    copyist.second = other.mapping.bytes();
    const shm::ScopedAccessHook hook(&copyist);
    const auto opened = open_disk(other);
    ASSERT_EQ(opened.has_value(), !names_file);
    if (!opened) {
      EXPECT_EQ(opened.error().code, Errc::kNoRegion);
    }
    net_.reset();
  }
}

// What the devices were asked leaves no trace, and no share begins in the page where that was.
TEST_F(SharedPoolTest, NothingIsLeftOfTheProof) {
  open();
  std::array<std::byte, pool::kPageBytes> page{};
  net_device_.mapping.bytes().copy_out(0, page);
  EXPECT_TRUE(std::ranges::all_of(page, [](std::byte b) { return b == std::byte{0}; }));
}

TEST_F(SharedPoolTest, SharesThatDoNotFitAreRefused) {
  make_region({kShareBytes, std::uint64_t{1} << 20});
  EXPECT_EQ(open_net().error().code, Errc::kTooSmall);
  make_region({kShareBytes, 1000});
  EXPECT_EQ(open_net().error().code, Errc::kNotAligned);
  make_region({kShareBytes});
  EXPECT_EQ(open_net(1).error().code, Errc::kBadIndex);
  EXPECT_TRUE(open_net(0));
}

}  // namespace
}  // namespace airlock::driver
