// SPDX-License-Identifier: Apache-2.0
//
// Goal: devices that share a region show one and the same; what one client does leaves the others'
// part alone; when the last one has left, nothing of it is found or seen again. Method: the
// handler's functions, called as the servers call them.
#include "device/shared_region.h"

#include <unistd.h>

#include <array>

#include <gtest/gtest.h>

#include "device/endpoint.h"
#include "testing/idle_type.h"

namespace airlock::device {
namespace {

using testing::IdleType;

constexpr std::uint64_t kRegionBytes = 65536;

class SharedRegionTest : public ::testing::Test {
 protected:
  std::unique_ptr<Endpoint> make(IdleType& type, std::shared_ptr<SharedRegion> shared) {
    return MUST(Endpoint::create({.pci = {.negotiation = {}, .name = "test"},
                                  .region_bytes = kRegionBytes,
                                  .post = [](std::function<void()> function) { function(); },
                                  .shared = std::move(shared)},
                                 type));
  }
  static shm::Mapping map(Endpoint& endpoint) {
    const auto shown = endpoint.region(pci::kRegionBar);
    const Fd fd(dup(shown.mapping.value().fd));
    return MUST(shm::Mapping::map(fd, {.length = shown.size}));
  }
  static std::uint32_t word(const shm::Mapping& mapping) {
    return mapping.bytes().load_relaxed<std::uint32_t>(0);
  }
  static void put(const shm::Mapping& mapping, std::uint32_t value) {
    mapping.bytes().store_relaxed<std::uint32_t>(0, value);
  }

  std::shared_ptr<SharedRegion> shared_ = MUST(SharedRegion::create({.bytes = kRegionBytes}));
  IdleType disk_type_;
  IdleType net_type_;
  std::unique_ptr<Endpoint> disk_ = make(disk_type_, shared_);
  std::unique_ptr<Endpoint> net_ = make(net_type_, shared_);
};

TEST_F(SharedRegionTest, DevicesShowOneRegion) {
  net_->connected();
  disk_->connected();
  const auto a = map(*net_);
  const auto b = map(*disk_);
  put(a, 0xdeadbeef);
  EXPECT_EQ(word(b), 0xdeadbeefU);
  std::array<std::byte, 4> seen{};
  ASSERT_TRUE(disk_->read(pci::kRegionBar, 0, seen));
  EXPECT_EQ(seen[0], std::byte{0xef});
}

// The twin: without a name in common nothing is.
TEST_F(SharedRegionTest, OtherDevicesDoNot) {
  IdleType type;
  const auto other = make(type, nullptr);
  net_->connected();
  other->connected();
  put(map(*net_), 0xdeadbeef);
  EXPECT_EQ(word(map(*other)), 0U);
}

TEST_F(SharedRegionTest, WhoIsResetOrLeavesEmptiesNothing) {
  net_->connected();
  disk_->connected();
  const auto mine = map(*disk_);
  put(mine, 0xdeadbeef);
  net_->reset(vfio_user::Reply([](const Result<void>& result) { EXPECT_TRUE(result); }));
  EXPECT_EQ(word(mine), 0xdeadbeefU);
  net_->disconnected();
  EXPECT_EQ(word(mine), 0xdeadbeefU);
  net_->connected();
  EXPECT_EQ(word(map(*net_)), 0xdeadbeefU) << "it is back among those who share it";
}

// What all clients of one time left, those of the next do not find; and who kept a mapping sees
// nothing of theirs.
TEST_F(SharedRegionTest, WhenAllHaveLeftNothingIsLeft) {
  net_->connected();
  disk_->connected();
  const auto kept = map(*net_);
  put(kept, 0xdeadbeef);
  net_->disconnected();
  disk_->disconnected();
  EXPECT_EQ(word(kept), 0U);
  put(kept, 0xdeadbeef);
  net_->connected();
  disk_->connected();
  const auto a = map(*net_);
  EXPECT_EQ(word(a), 0U);
  put(a, 0x12345678);
  EXPECT_EQ(word(map(*disk_)), 0x12345678U) << "and it is one again";
  EXPECT_EQ(word(kept), 0xdeadbeefU);
}

// A device that had no client while the others' came and went: what it made for its first one at
// the start is theirs.
TEST_F(SharedRegionTest, ADeviceWithoutAClientKeepsNoOldRegion) {
  net_->connected();
  const auto kept = map(*net_);
  net_->disconnected();
  disk_->connected();
  const auto mine = map(*disk_);
  put(mine, 0xdeadbeef);
  EXPECT_EQ(word(kept), 0U);
  net_->connected();
  EXPECT_EQ(word(map(*net_)), 0xdeadbeefU);
}

// A device that ends while it has a client takes nothing with it, and is waited for no longer.
TEST_F(SharedRegionTest, ADeviceThatEndsHasLeft) {
  net_->connected();
  disk_->connected();
  const auto kept = map(*disk_);
  put(kept, 0xdeadbeef);
  net_.reset();
  EXPECT_EQ(word(kept), 0xdeadbeefU);
  disk_->disconnected();
  EXPECT_EQ(word(kept), 0U);
}

}  // namespace
}  // namespace airlock::device
