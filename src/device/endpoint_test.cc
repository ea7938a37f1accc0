// SPDX-License-Identifier: Apache-2.0
//
// Goal: guest memory that a VMM offers is mapped only where the policy allows, and gone when it is
// taken back; no client finds what another left. Method: the handler's functions, called as the
// server calls them, with real memfds.
#include "device/endpoint.h"

#include <dirent.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "spec/vfio_user.h"
#include "testing/idle_type.h"

namespace airlock::device {
namespace {

using testing::IdleType;

constexpr std::uint64_t kGuestBytes = 65536;

std::size_t open_fds() {
  std::size_t count = 0;
  DIR* const folder = opendir("/proc/self/fd");
  while (readdir(folder) != nullptr)
    ++count;
  closedir(folder);
  return count;
}

class EndpointTest : public ::testing::Test {
 protected:
  void make(pci::DmaPolicy policy) {
    endpoint_ = MUST(Endpoint::create({.pci = {.negotiation = {.policy = policy}, .name = "test"},
                                       .region_bytes = 65536,
                                       .post = [](std::function<void()> function) { function(); }},
                                      type_));
    endpoint_->connected();
  }
  /// What DMA_MAP answers.
  Result<void> map(std::uint64_t address, bool with_fd = true) {
    Result<void> answer = fail(Errc::kTimeout);
    endpoint_->dma_map(
        {.address = address, .size = kGuestBytes, .readable = true, .writable = true},
        with_fd ? MUST(guest_.fd().duplicate()) : Fd(),
        vfio_user::Reply([&](const Result<void>& result) { answer = result; }));
    return answer;
  }
  Result<void> unmap(std::uint64_t address, std::uint64_t size, bool all = false) {
    Result<void> answer = fail(Errc::kTimeout);
    endpoint_->dma_unmap(address, size, all,
                         vfio_user::Reply([&](const Result<void>& result) { answer = result; }));
    return answer;
  }

  IdleType type_;
  shm::SealedMemfd guest_ = MUST(shm::SealedMemfd::create({.size = kGuestBytes}));
  std::unique_ptr<Endpoint> endpoint_;
};

// T1: under require an fd of guest memory is closed at once, and nothing is mapped.
TEST_F(EndpointTest, RequireClosesGuestMemoryAtOnce) {
  make(pci::DmaPolicy::kRequire);
  const std::size_t before = open_fds();
  EXPECT_TRUE(map(0));
  EXPECT_EQ(open_fds(), before);
  const Endpoint::Stats stats = endpoint_->stats();
  EXPECT_EQ(stats.dma_fds_closed, 1U);
  EXPECT_EQ(stats.dma_fds_mapped, 0U);
  EXPECT_EQ(stats.guest_bytes_max, 0U);
  EXPECT_TRUE(unmap(0, kGuestBytes));
}

TEST_F(EndpointTest, PreferMapsItUntilItIsTakenBack) {
  make(pci::DmaPolicy::kPrefer);
  const std::size_t before = open_fds();
  EXPECT_TRUE(map(0));
  EXPECT_TRUE(map(0x100000));
  EXPECT_TRUE(map(0x200000, false));
  EXPECT_EQ(open_fds(), before) << "the mapping is kept, the fd is not";
  EXPECT_EQ(endpoint_->stats().guest_bytes, 2 * kGuestBytes);
  EXPECT_FALSE(map(0)) << "over a range that is there";
  EXPECT_EQ(endpoint_->stats().dma_fds_mapped, 2U);
  EXPECT_FALSE(unmap(0, 4096)) << "half a range";
  EXPECT_EQ(endpoint_->stats().guest_bytes, 2 * kGuestBytes);
  EXPECT_TRUE(unmap(0, kGuestBytes));
  EXPECT_TRUE(unmap(0x200000, kGuestBytes)) << "never mapped, but known to the client";
  EXPECT_EQ(endpoint_->stats().guest_bytes, kGuestBytes);
  EXPECT_TRUE(unmap(0, 0, true));
  EXPECT_EQ(endpoint_->stats().guest_bytes, 0U);
}

TEST_F(EndpointTest, ClientThatLeavesTakesItsMemoryWithIt) {
  make(pci::DmaPolicy::kOpen);
  EXPECT_TRUE(map(0));
  endpoint_->disconnected();
  EXPECT_EQ(endpoint_->stats().guest_bytes, 0U);
  EXPECT_EQ(endpoint_->stats().guest_bytes_max, kGuestBytes);
}

// What one client left in the region the next one does not find, nor the first one any more.
TEST_F(EndpointTest, EachClientHasARegionOfItsOwn) {
  make(pci::DmaPolicy::kRequire);
  const auto first = endpoint_->region(pci::kRegionBar);
  ASSERT_TRUE(first.mapping);
  const Fd kept(dup(first.mapping->fd));
  const shm::Mapping mine = MUST(shm::Mapping::map(kept, {.length = first.size}));
  mine.bytes().store_relaxed<std::uint32_t>(0, 0xdeadbeef);
  endpoint_->disconnected();
  EXPECT_EQ(mine.bytes().load_relaxed<std::uint32_t>(0), 0U);

  endpoint_->connected();
  mine.bytes().store_relaxed<std::uint32_t>(0, 0xdeadbeef);
  std::array<std::byte, 4> seen{std::byte{1}};
  ASSERT_TRUE(endpoint_->read(pci::kRegionBar, 0, seen));
  EXPECT_EQ(seen, (std::array<std::byte, 4>{}));
  EXPECT_EQ(endpoint_->stats().clients, 2U);
}

TEST_F(EndpointTest, ShowsNoRegionWhereItIsNotOffered) {
  make(pci::DmaPolicy::kOpen);
  EXPECT_EQ(endpoint_->region(pci::kRegionBar).size, 0U);
  EXPECT_FALSE(endpoint_->region(pci::kRegionBar).mapping);
}

// VFIO_USER 1.8. The same eventfd at each asking, until the client goes; then another.
TEST_F(EndpointTest, HasADoorbellForEachQueueAndNowhereElse) {
  make(pci::DmaPolicy::kRequire);
  const auto found = endpoint_->doorbells(pci::kRegistersBar);
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].offset, pci::notify_offset(0));
  EXPECT_EQ(found[0].size, 2U);
  EXPECT_EQ(endpoint_->doorbells(pci::kRegistersBar)[0].fd, found[0].fd);
  for (std::uint32_t region = 1; region < spec::VFIO_PCI_NUM_REGIONS; ++region)
    EXPECT_TRUE(endpoint_->doorbells(region).empty()) << region;
  const EventFd kept = MUST(EventFd::adopt(Fd(dup(found[0].fd))));
  endpoint_->disconnected();
  EXPECT_TRUE(endpoint_->doorbells(pci::kRegistersBar).empty()) << "nobody is there";
  endpoint_->connected();
  kept.signal();
  const EventFd next =
      MUST(EventFd::adopt(Fd(dup(endpoint_->doorbells(pci::kRegistersBar)[0].fd))));
  EXPECT_FALSE(next.drain()) << "the old client's is the next one's";
}

// VIRTIO 1.3, 2.5.2: a change is seen by the generation.
TEST_F(EndpointTest, ShowsAConfigurationThatBothSidesChange) {
  make(pci::DmaPolicy::kRequire);
  const auto read = [&](std::uint64_t offset) {
    std::array<std::byte, 1> seen{};
    EXPECT_TRUE(endpoint_->read(pci::kRegistersBar, offset, seen));
    return seen[0];
  };
  const auto generation = [&] {
    return read(offsetof(spec::VirtioPciCommonCfg, config_generation));
  };
  const std::byte before = generation();
  type_.change(std::byte{7});
  EXPECT_EQ(read(pci::kDeviceConfigOffset + 3), std::byte{7});
  EXPECT_NE(generation(), before);
  const std::array written{std::byte{9}};
  ASSERT_TRUE(endpoint_->write(pci::kRegistersBar, pci::kDeviceConfigOffset + 2, written));
  EXPECT_EQ(read(pci::kDeviceConfigOffset + 2), std::byte{9});
  ASSERT_TRUE(endpoint_->write(pci::kRegistersBar, pci::kDeviceConfigOffset + 4, written));
  EXPECT_EQ(read(pci::kDeviceConfigOffset + 4), std::byte{0}) << "past its end";
}

TEST_F(EndpointTest, TellsTheTypeThatAClientLeft) {
  make(pci::DmaPolicy::kRequire);
  EXPECT_EQ(type_.stops(), 0);
  endpoint_->disconnected();
  EXPECT_EQ(type_.stops(), 1);
  type_.change(std::byte{1});  // with nobody there
}

TEST_F(EndpointTest, HasMsixAndNoOtherInterrupts) {
  make(pci::DmaPolicy::kRequire);
  for (std::uint32_t index = 0; index < 5; ++index) {
    EXPECT_EQ(endpoint_->irq_count(index), index == 2 ? 2U : 0U);
  }
}

}  // namespace
}  // namespace airlock::device
