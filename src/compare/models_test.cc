// SPDX-License-Identifier: Apache-2.0
//
// Goal: what each model shows the device, and when. Method: the driver's side of a model alone; the
// test looks at the shared memory as a device would.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <thread>
#include <vector>

#include "compare/message.h"
#include "compare/models/pool.h"
#include "compare/models/region.h"
#include "compare/models/share.h"
#include "compare/models/shared.h"
#include "pool/linux_model.h"
#include "spec/virtio.h"

namespace airlock::compare {
namespace {

constexpr std::uint64_t kBytes = std::uint64_t{4} << 20;
constexpr std::uint64_t kAt = 0x80400;  // in a page, with neighbours on both sides
constexpr std::uint64_t kKey = 42;

bool all_zero(std::span<const std::byte> bytes) {
  return std::ranges::all_of(bytes, [](std::byte b) { return b == std::byte{0}; });
}

std::vector<std::byte> seen(const Access& access, std::uint64_t offset, std::uint64_t length) {
  std::vector<std::byte> bytes(length);
  access.memory().copy_out(offset, bytes);
  return bytes;
}

class ModelTest : public testing::Test {
 protected:
  void connect(const Model& model, const Fd* trusted = nullptr) {
    access_ = MUST(model.connect({.private_bytes = kBytes, .trusted = trusted}));
    access_->private_memory().fill(Canary(kKey));
  }
  [[nodiscard]] std::span<std::byte> buffer(std::uint64_t length, std::uint64_t at = kAt) const {
    return access_->private_memory().span().subspan(at, length);
  }
  [[nodiscard]] std::vector<std::byte> seen_of(const MappedBuffer& mapped) const {
    return seen(*access_, std::to_underlying(mapped.offset), mapped.buffer.size());
  }
  [[nodiscard]] bool shows_private(const MappedBuffer& mapped) const {
    return std::ranges::equal(seen_of(mapped), mapped.buffer);
  }
  void device_writes(const MappedBuffer& mapped, std::uint64_t length, std::byte value) const {
    access_->memory().copy_in(std::to_underlying(mapped.offset),
                              std::vector<std::byte>(length, value));
  }

  std::unique_ptr<Access> access_;
};

using RegionModelTest = ModelTest;

// SYS-2, HD-26.
TEST_F(RegionModelTest, ShowsWhatIsWrittenAndNothingForWhatIsRead) {
  connect(kRegion);
  const MappedBuffer out = MUST(access_->map(buffer(512), pool::Direction::kToDevice));
  EXPECT_TRUE(shows_private(out));
  ASSERT_TRUE(access_->unmap(out, 0));
  EXPECT_TRUE(all_zero(seen_of(out)));
  const MappedBuffer in = MUST(access_->map(buffer(512), pool::Direction::kFromDevice));
  EXPECT_TRUE(all_zero(seen_of(in)));
  device_writes(in, 512, std::byte{7});
  ASSERT_TRUE(access_->unmap(in, 256));
  EXPECT_EQ(in.buffer[255], std::byte{7});
  EXPECT_NE(in.buffer[256], std::byte{7});
}

TEST_F(RegionModelTest, SyncShowsWhatWasWrittenSince) {
  connect(kRegion);
  const MappedBuffer mapped = MUST(access_->map(buffer(512), pool::Direction::kToDevice));
  mapped.buffer[3] ^= std::byte{1};
  EXPECT_FALSE(shows_private(mapped));
  ASSERT_TRUE(access_->sync_for_device(mapped));
  EXPECT_TRUE(shows_private(mapped));
}

TEST_F(RegionModelTest, CopiesInPlaceBuffersNever) {
  connect(kRegionInPlace);
  const std::span<std::byte> in_region = MUST(access_->allocate_buffer(kAt, 4096));
  const std::uint64_t before = access_->counts().copied_bytes;
  const MappedBuffer mapped = MUST(access_->map(in_region, pool::Direction::kToDevice));
  ASSERT_TRUE(access_->sync_for_device(mapped));
  ASSERT_TRUE(access_->unmap(mapped, 0));
  EXPECT_FALSE(access_->unmap(mapped, 0));
  EXPECT_EQ(access_->counts().copied_bytes, before);
}

TEST_F(RegionModelTest, TakesTheGuestsOwnBuffersOnly) {
  connect(kRegion);
  std::vector<std::byte> elsewhere(512);
  EXPECT_EQ(access_->map(elsewhere, pool::Direction::kToDevice).error().code, Errc::kOutOfRange);
  EXPECT_EQ(access_->map(buffer(512, 0), pool::Direction::kToDevice).error().code,
            Errc::kOutOfRange);
}

using PoolModelTest = ModelTest;

// SYS-1, DT-8.
TEST_F(PoolModelTest, MapsUpTo256KiB) {
  connect(kPool);
  constexpr std::uint64_t kMost = pool::LinuxModel::kLargest;
  EXPECT_TRUE(access_->map(buffer(kMost), pool::Direction::kToDevice));
  EXPECT_EQ(access_->map(buffer(kMost + 1), pool::Direction::kToDevice).error().code,
            Errc::kTooLarge);
}

// SYS-1, DT-6.
TEST_F(PoolModelTest, HasRingsInThePool) {
  connect(kPool);
  const std::uint64_t before = access_->counts().high_water_bytes;
  const auto offset = std::to_underlying(MUST(access_->allocate_coherent(5000)));
  EXPECT_LE(offset + 8192, access_->memory().size());
  EXPECT_EQ(access_->counts().high_water_bytes, before + 8192);
  EXPECT_TRUE(all_zero(seen(*access_, offset, 8192)));
  EXPECT_EQ(access_->allocate_coherent(pool::LinuxModel::kLargest + 1).error().code,
            Errc::kTooLarge);
}

// SYS-1, DT-11: what a hardened driver does not do (HD-26).
TEST_F(PoolModelTest, ShowsOldBytesOfWhatIsReadAndLeavesThemThere) {
  connect(kPool);
  const MappedBuffer in = MUST(access_->map(buffer(512), pool::Direction::kFromDevice));
  EXPECT_TRUE(shows_private(in));
  const std::vector<std::byte> before(in.buffer.begin(), in.buffer.end());
  device_writes(in, 100, std::byte{7});
  ASSERT_TRUE(access_->unmap(in, 100));
  EXPECT_EQ(in.buffer[99], std::byte{7});
  EXPECT_TRUE(std::ranges::equal(in.buffer.subspan(100), std::span(before).subspan(100)));
  EXPECT_FALSE(all_zero(seen_of(in)));
}

TEST_F(PoolModelTest, SyncShowsWhatWasWrittenSince) {
  connect(kPool);
  const MappedBuffer mapped = MUST(access_->map(buffer(512), pool::Direction::kToDevice));
  mapped.buffer[3] ^= std::byte{1};
  EXPECT_FALSE(shows_private(mapped));
  ASSERT_TRUE(access_->sync_for_device(mapped));
  EXPECT_TRUE(shows_private(mapped));
}

// SYS-1, SYS-5, DT-10: no room is an error, counted, and passes; the high-water mark stays.
TEST_F(PoolModelTest, RunsFullAndRecovers) {
  connect(kPool);
  std::vector<MappedBuffer> mapped;
  constexpr std::uint64_t kEach = 0x20000;
  for (;;) {
    auto one = access_->map(buffer(kEach), pool::Direction::kToDevice);
    if (!one) {
      EXPECT_EQ(one.error().code, Errc::kPoolFull);
      break;
    }
    mapped.push_back(*one);
    ASSERT_LT(mapped.size(), 1000U);
  }
  EXPECT_EQ(access_->counts().full, 1U);
  EXPECT_GE(access_->counts().high_water_bytes, mapped.size() * kEach);
  ASSERT_TRUE(access_->unmap(mapped.back(), 0));
  EXPECT_TRUE(access_->map(buffer(kEach), pool::Direction::kToDevice));
}

using SharedModelTest = ModelTest;

// SYS-5: both bits, or no device.
TEST_F(SharedModelTest, TakesOnlyDevicesOfThePlatform) {
  connect(kShared);
  const std::uint64_t version = spec::feature(spec::VIRTIO_F_VERSION_1);
  const std::uint64_t platform = spec::feature(spec::VIRTIO_F_ACCESS_PLATFORM);
  EXPECT_EQ(MUST(access_->choose(version | platform)), version | platform);
  EXPECT_EQ(access_->choose(version).error().code, Errc::kUnsupported);
  EXPECT_EQ(access_->choose(platform).error().code, Errc::kUnsupported);
  connect(kPool);
  EXPECT_EQ(MUST(access_->choose(version)), version);
  EXPECT_FALSE(access_->choose(platform));
}

// SYS-5: with each limit, and a size between.
TEST_F(SharedModelTest, SharesSixPerCentWithinLimits) {
  constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
  EXPECT_EQ(shared_pool_bytes(16 * kMiB), 64 * kMiB);
  EXPECT_EQ(shared_pool_bytes(8192 * kMiB), std::uint64_t{8192} * kMiB / 100 * 6 / 4096 * 4096);
  EXPECT_EQ(shared_pool_bytes(std::uint64_t{1} << 40), 1024 * kMiB);
}

class ShareModelTest : public ModelTest {
 protected:
  void connect_owner(const Model& model, const Controls& controls = {}) {
    SocketPair sockets = MUST(socket_pair());
    guest_ = std::move(sockets.first);
    owner_ = std::jthread([socket = std::move(sockets.second), controls] {
      EXPECT_EQ(serve_share(socket, controls).error().code, Errc::kPeerClosed);
    });
    connect(model, &guest_);
  }
  void TearDown() override {
    access_.reset();
    guest_.reset();
  }
  [[nodiscard]] ShareReply ask_owner(const ShareRequest& request) const {
    MUST(send(guest_, request));
    return MUST(receive<ShareReply>(guest_, kAnswerWithin))
    .message;
  }
  [[nodiscard]] std::vector<std::byte> page_seen(std::uint64_t at = kAt) const {
    return seen(*access_, at / kPageBytes * kPageBytes, kPageBytes);
  }
  [[nodiscard]] std::span<std::byte> page_of_guest(std::uint64_t at = kAt) const {
    return buffer(kPageBytes, at / kPageBytes * kPageBytes);
  }

  Fd guest_;
  std::jthread owner_;
};

// SYS-4: a page is what is shared, neighbours and all; nothing is left when it was taken back.
TEST_F(ShareModelTest, ShowsThePageAroundABufferUntilItIsUnmapped) {
  connect_owner(kShare);
  EXPECT_TRUE(all_zero(page_seen()));
  const MappedBuffer mapped = MUST(access_->map(buffer(8), pool::Direction::kToDevice));
  EXPECT_TRUE(std::ranges::equal(page_seen(), page_of_guest()));
  ASSERT_TRUE(access_->unmap(mapped, 0));
  EXPECT_TRUE(all_zero(page_seen()));
}

TEST_F(ShareModelTest, ControlThatIsNotTakenBackIsSeen) {
  connect_owner(kShare, {.keep_shared = true});
  const MappedBuffer mapped = MUST(access_->map(buffer(8), pool::Direction::kToDevice));
  ASSERT_TRUE(access_->unmap(mapped, 0));
  EXPECT_FALSE(all_zero(page_seen()));
}

// SYS-4: a device that holds on to its mapping writes to a page that is no longer the guest's.
TEST_F(ShareModelTest, WhatADeviceWritesAfterwardsReachesNobody) {
  connect_owner(kShare);
  MappedBuffer mapped = MUST(access_->map(buffer(512), pool::Direction::kFromDevice));
  device_writes(mapped, 512, std::byte{7});
  ASSERT_TRUE(access_->unmap(mapped, 512));
  EXPECT_EQ(buffer(512)[511], std::byte{7});
  device_writes(mapped, 512, std::byte{9});
  EXPECT_EQ(buffer(512)[511], std::byte{7});
  mapped = MUST(access_->map(buffer(512), pool::Direction::kToDevice));
  EXPECT_TRUE(shows_private(mapped));
}

// SYS-4
TEST_F(ShareModelTest, APageInUseTwiceStaysUntilTheLastIsUnmapped) {
  connect_owner(kShare);
  const MappedBuffer first = MUST(access_->map(buffer(64), pool::Direction::kToDevice));
  const MappedBuffer second = MUST(access_->map(buffer(64, kAt + 512), pool::Direction::kToDevice));
  ASSERT_TRUE(access_->unmap(first, 0));
  EXPECT_TRUE(shows_private(second));
  ASSERT_TRUE(access_->unmap(second, 0));
  EXPECT_TRUE(all_zero(page_seen()));
}

// SYS-4: a page that is nobody's any more, or never was; sharing a page twice takes two to end.
TEST_F(ShareModelTest, TheOwnerTakesBackOnlyWhatIsShared) {
  connect_owner(kShare);
  using Kind = ShareRequest::Kind;
  const auto refusal = [&](const ShareRequest& request) {
    const Answer answer = ask_owner(request).answer;
    EXPECT_TRUE(answer.failed);
    return answer.error.code;
  };
  EXPECT_EQ(refusal({.kind = Kind::kUnshare, .offset = kAt, .length = 8}), Errc::kBadHandle);
  EXPECT_EQ(refusal({.kind = Kind::kSync, .offset = kAt, .length = 8}), Errc::kBadHandle);
  EXPECT_EQ(refusal({.kind = Kind::kShare, .offset = kBytes, .length = 8}), Errc::kOutOfRange);
  EXPECT_EQ(refusal({.kind = Kind::kShare, .offset = 8, .length = ~std::uint64_t{0}}),
            Errc::kOutOfRange);
  EXPECT_EQ(refusal({.kind = Kind::kShare, .offset = kAt, .length = 0}), Errc::kOutOfRange);
  // Half of it is shared: nothing of it is taken back.
  const MappedBuffer mapped = MUST(access_->map(buffer(8), pool::Direction::kToDevice));
  EXPECT_EQ(refusal({.kind = Kind::kUnshare, .offset = kAt, .length = kPageBytes}),
            Errc::kBadHandle);
  EXPECT_TRUE(shows_private(mapped));
  EXPECT_FALSE(ask_owner({.kind = Kind::kShare, .offset = kAt, .length = 8}).answer.failed);
  for (int i = 0; i < 2; ++i) {
    EXPECT_TRUE(shows_private(mapped));
    EXPECT_FALSE(ask_owner({.kind = Kind::kUnshare, .offset = kAt, .length = 8}).answer.failed);
  }
  EXPECT_TRUE(all_zero(page_seen()));
  EXPECT_EQ(refusal({.kind = Kind::kUnshare, .offset = kAt, .length = 8}), Errc::kBadHandle);
}

// SYS-4: in the midst of a request. The device keeps what it was shown, and gets nothing more.
TEST_F(ShareModelTest, AGuestThatDiesShowsNoMoreThanItShared) {
  connect_owner(kShare);
  ASSERT_TRUE(access_->map(buffer(2 * kPageBytes, 0x80000), pool::Direction::kBidirectional));
  std::vector<std::byte> before(kBytes);
  access_->memory().copy_out(0, before);
  guest_.reset();
  owner_.join();  // it ended as it should: connect_owner()
  EXPECT_EQ(seen(*access_, 0, kBytes), before);
  for (std::uint64_t page = 0; page < kBytes; page += kPageBytes) {
    const bool shared = page >= 0x80000 && page < 0x80000 + (2 * kPageBytes);
    EXPECT_EQ(all_zero(page_seen(page)), !shared) << page;
  }
}

// SYS-4, SYS-1: each map and each unmap asks the owner; a pool is asked at the start alone.
TEST_F(ShareModelTest, AsksTwiceForEachRequest) {
  constexpr std::uint64_t kRequests = 50;
  const auto asked = [&] {
    const std::uint64_t before = access_->counts().messages;
    for (std::uint64_t i = 0; i < kRequests; ++i) {
      const MappedBuffer mapped = MUST(access_->map(buffer(512), pool::Direction::kToDevice));
      MUST(access_->unmap(mapped, 0));
    }
    return access_->counts().messages - before;
  };
  connect_owner(kShare);
  EXPECT_EQ(asked(), 2 * kRequests);
  EXPECT_EQ(access_->counts().copied_bytes, 0U);
  connect(kPool);
  EXPECT_EQ(asked(), 0U);
  EXPECT_EQ(access_->counts().copied_bytes, kRequests * 512);
}

// SYS-4: the owner's ledger says of pages what the alias has.
TEST_F(ShareModelTest, TheLedgerAgreesWithTheAlias) {
  connect_owner(kShare);
  ASSERT_TRUE(access_->map(buffer(3 * kPageBytes), pool::Direction::kToDevice));
  const MappedBuffer gone = MUST(access_->map(buffer(64, 0x100000), pool::Direction::kToDevice));
  ASSERT_TRUE(access_->unmap(gone, 0));
  std::uint64_t populated = 0;
  for (std::uint64_t page = 0; page < kBytes; page += kPageBytes)
    populated += all_zero(seen(*access_, page, kPageBytes)) ? 0U : 1U;
  const ShareReply counts = ask_owner({.kind = ShareRequest::Kind::kCounts});
  EXPECT_EQ(counts.pages_shared, 4U);  // three, from the middle of one on
  EXPECT_EQ(counts.pages_shared, populated);
  EXPECT_EQ(counts.pages_most, 5U);
}

TEST_F(ShareModelTest, BouncedBuffersShowNoNeighbours) {
  connect_owner(kShareBounce);
  const MappedBuffer mapped = MUST(access_->map(buffer(512), pool::Direction::kBidirectional));
  EXPECT_TRUE(all_zero(page_seen()));
  const auto page = page_seen(std::to_underlying(mapped.offset));
  EXPECT_TRUE(std::ranges::equal(std::span(page).first(512), mapped.buffer));
  EXPECT_TRUE(all_zero(std::span(page).subspan(512)));
  device_writes(mapped, 512, std::byte{7});
  ASSERT_TRUE(access_->unmap(mapped, 512));
  EXPECT_EQ(buffer(512)[0], std::byte{7});
  EXPECT_TRUE(all_zero(page_seen(std::to_underlying(mapped.offset))));
  // Whole pages are shared as they are.
  const MappedBuffer whole =
      MUST(access_->map(buffer(kPageBytes, 0x100000), pool::Direction::kToDevice));
  EXPECT_EQ(std::to_underlying(whole.offset), 0x100000U);
}

}  // namespace
}  // namespace airlock::compare
