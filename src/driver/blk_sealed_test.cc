// SPDX-License-Identifier: Apache-2.0
//
// Goal: of a disk's answers the driver takes what the device sealed, whole, or nothing. Method: a
// device by hand: its cipher, and the places that it was told.
#include "driver/blk_sealed.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>

#include "testing/sealed_pair.h"
#include "testing/test_region.h"

namespace airlock::driver {
namespace {

using Bytes = std::vector<std::byte>;

constexpr std::uint32_t kSector = spec::VIRTIO_BLK_SECTOR_BYTES;
constexpr std::uint32_t kWhole = kSector + 1 + crypt::kTagBytes;
constexpr std::uint32_t kPart = 1;

class BlkSealedTest : public ::testing::Test {
 protected:
  /// A read of a sector.
  void begin() {
    ASSERT_TRUE(MUST(sealed_->place(kPart, kSector)));
    frame_ = MUST(sealed_->seal(
        kPart,
        {.header = {.type = Le32(spec::VIRTIO_BLK_T_IN), .reserved = Le32(0), .sector = Le64(0)},
         .target = target_}));
    EXPECT_EQ(frame_.tag.length, 0U);
    EXPECT_EQ(frame_.end.length, 1 + crypt::kTagBytes);
  }
  /// The device answers it.
  void answer(const Bytes& data, std::uint8_t status) {
    const auto chain = MUST(device_.next_chain(frame_.head.length, kWhole));
    const std::array<std::byte, 1> last{std::byte{status}};
    device_.begin_seal(chain, kSector + 1);
    device_.seal(data, region_.bytes(), std::to_underlying(sealed_->data_offset(kPart)));
    device_.seal(last, region_.bytes(), frame_.end.offset);
    region_.bytes().copy_in(frame_.end.offset + 1, device_.finish_seal());
  }
  static crypt::QueueCipher cipher(crypt::Side side) {
    return MUST(crypt::QueueCipher::create(
        *testing::SealedPair::secret(crypt::Algorithm::kAes256Gcm), 0, side));
  }

  testing::TestRegion region_;
  std::unique_ptr<pool::Pool> pool_ = MUST(pool::Pool::create(region_.bytes(), {}));
  crypt::QueueCipher driver_ = cipher(crypt::Side::kDriver);
  crypt::QueueCipher device_ = cipher(crypt::Side::kDevice);
  std::unique_ptr<BlkSealed> sealed_ = MUST(BlkSealed::create(*pool_, driver_, 4));
  BlkSealed::Frame frame_;
  Bytes target_ = Bytes(kSector, std::byte{0xee});
};

// ENC-6, and the place after it is free again.
TEST_F(BlkSealedTest, OpensAnAnswer) {
  begin();
  answer(Bytes(kSector, std::byte{0x42}), spec::VIRTIO_BLK_S_OK);
  EXPECT_EQ(MUST(sealed_->open(kPart, kWhole)), spec::VIRTIO_BLK_S_OK);
  EXPECT_EQ(target_, Bytes(kSector, std::byte{0x42}));
  EXPECT_GT(pool_->stats().used, 1U);
  sealed_->release(kPart);
  EXPECT_EQ(pool_->stats().used, 1U);  // the frames
}

// ENC-9: the used length is the ring's, which anybody may have written.
TEST_F(BlkSealedTest, RefusesAnAnswerThatWasCut) {
  begin();
  answer(Bytes(kSector, std::byte{0x42}), spec::VIRTIO_BLK_S_OK);
  for (const std::uint32_t written : {kWhole - 1, kWhole + 1, 0U}) {
    const auto opened = sealed_->open(kPart, written);
    ASSERT_FALSE(opened) << written;
    EXPECT_EQ(opened.error().code, Errc::kNotAuthentic);
    EXPECT_EQ(target_, Bytes(kSector));
  }
}

TEST_F(BlkSealedTest, RefusesAnotherStatus) {
  begin();
  answer(Bytes(kSector, std::byte{0x42}), spec::VIRTIO_BLK_S_IOERR);
  const auto at = frame_.end.offset;
  region_.bytes().store_relaxed<std::uint8_t>(at,
                                              region_.bytes().load_relaxed<std::uint8_t>(at) ^ 1U);
  EXPECT_EQ(sealed_->open(kPart, kWhole).error().code, Errc::kNotAuthentic);
  EXPECT_EQ(target_, Bytes(kSector));
}

// ENC-10: nothing is sealed any more.
TEST_F(BlkSealedTest, EndsWithItsKey) {
  driver_.skip_to(crypt::kChainsMost);
  EXPECT_EQ(sealed_->seal(kPart, {.header = spec::VirtioBlkReqHeader()}).error().code,
            Errc::kKeySpent);
}

// HD-30: a pool without room is no failure.
TEST_F(BlkSealedTest, WaitsForRoom) {
  const std::uint64_t most = pool_->max_mapping_bytes();
  EXPECT_EQ(sealed_->place(kPart, most + pool::kSlotBytes).error().code, Errc::kTooLarge);
  EXPECT_FALSE(MUST(sealed_->place(kPart, most)));  // the frames are there already
  EXPECT_TRUE(MUST(sealed_->place(kPart, kSector)));
}

}  // namespace
}  // namespace airlock::driver
