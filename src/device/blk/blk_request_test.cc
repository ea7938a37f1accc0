// SPDX-License-Identifier: Apache-2.0
// Requests through a real ring into the parser: each accepted form beside the forms that must be
// refused, and with which status. VIRTIO 1.3, 5.2.6, 5.2.6.2.
#include "device/blk/blk_request.h"

#include <gtest/gtest.h>

#include "ring/split_device_queue.h"
#include "testing/blk_driver.h"

namespace airlock::device {
namespace {

using Kind = BlkRequest::Kind;
using testing::BlkDriver;
using testing::ChainBuilder;
using testing::filled;

constexpr std::uint64_t kSectors = 64;

class BlkRequestTest : public ::testing::Test {
 protected:
  /// Takes the chain submitted last.
  Result<void> parse() {
    CHECK(MUST(ring_.pop(chain_)).has_value());
    auto done = parse_blk_request(chain_, limits_, request_);
    MUST(ring_.push_used(chain_.head(), 0));
    return done;
  }
  void expect(Kind kind) {
    ASSERT_TRUE(parse());
    EXPECT_EQ(request_.kind, kind);
  }
  void expect_refused(std::uint8_t status) {
    ASSERT_TRUE(parse());
    EXPECT_EQ(request_.kind, Kind::kRefused);
    EXPECT_EQ(request_.refusal, status);
  }
  void expect_io_error() { expect_refused(spec::VIRTIO_BLK_S_IOERR); }
  void expect_unsupported() { expect_refused(spec::VIRTIO_BLK_S_UNSUPP); }

  BlkDriver driver_{64};
  ring::SplitDeviceQueue ring_ =
      MUST(ring::SplitDeviceQueue::create(driver_.ring().config(), driver_.region().window()));
  ring::Chain chain_;
  BlkRequest request_;
  BlkLimits limits_{.capacity_bytes = kSectors * 512,
                    .flush = true,
                    .discard = true,
                    .write_zeroes = true,
                    .max_discard_sectors = 32,
                    .max_discard_ranges = 4,
                    .max_write_zeroes_sectors = 16,
                    .max_write_zeroes_ranges = 2};
};

TEST_F(BlkRequestTest, Read) {
  driver_.read(3, 1024);
  expect(Kind::kRead);
  EXPECT_EQ(request_.offset, 3U * 512);
  EXPECT_EQ(request_.data.offset, 0U);
  EXPECT_EQ(request_.data.length, 1024U);
}

TEST_F(BlkRequestTest, Write) {
  driver_.write(5, filled(512, 1));
  expect(Kind::kWrite);
  EXPECT_EQ(request_.offset, 5U * 512);
  EXPECT_EQ(request_.data.offset, 16U);
  EXPECT_EQ(request_.data.length, 512U);
}

// VIRTIO 1.3, 2.7.4.1: the framing means nothing.
TEST_F(BlkRequestTest, FramingDoesNotMatter) {
  const auto header = BlkDriver::header(spec::VIRTIO_BLK_T_OUT, 5);
  const auto bytes = std::as_bytes(std::span(&header, 1));
  std::vector<std::byte> tail(bytes.begin() + 9, bytes.end());
  tail.resize(tail.size() + 300, std::byte{1});
  ChainBuilder(driver_.ring())
      .readable(bytes.first(1))
      .readable(bytes.subspan(1, 8))
      .readable(tail)
      .readable(filled(212, 2))
      .writable(1)
      .submit();
  expect(Kind::kWrite);
  EXPECT_EQ(request_.offset, 5U * 512);
  EXPECT_EQ(request_.data.length, 512U);

  ChainBuilder(driver_.ring())
      .readable_struct(BlkDriver::header(spec::VIRTIO_BLK_T_IN, 7))
      .writable(100)
      .writable(413)  // the status is the last byte of the last buffer
      .submit();
  expect(Kind::kRead);
  EXPECT_EQ(request_.offset, 7U * 512);
  EXPECT_EQ(request_.data.length, 512U);
}

TEST_F(BlkRequestTest, NoRoomForAStatusBreaksTheQueue) {
  ChainBuilder(driver_.ring())
      .readable_struct(BlkDriver::header(spec::VIRTIO_BLK_T_FLUSH))
      .submit();
  const auto done = parse();
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, Errc::kTooSmall);
}

TEST_F(BlkRequestTest, NoWholeHeaderIsAnIoError) {
  ChainBuilder(driver_.ring()).writable(1).submit();
  expect_io_error();
  ChainBuilder(driver_.ring()).readable(filled(15, 0)).writable(513).submit();
  expect_io_error();
  ChainBuilder(driver_.ring()).readable(filled(16, 0)).writable(513).submit();
  expect(Kind::kRead);
}

// 5.2.6.1: the data is a multiple of 512 bytes.
TEST_F(BlkRequestTest, OnlyWholeSectors) {
  for (const std::uint32_t length : {1U, 511U, 513U, 1000U}) {
    driver_.read(0, length);
    expect_io_error();
    driver_.write(0, filled(length, 0));
    expect_io_error();
  }
  driver_.read(0, 512);
  expect(Kind::kRead);
}

// 5.2.6.1: a driver never goes beyond the capacity; 5.2.5: sectors are of 512 bytes.
TEST_F(BlkRequestTest, OnlyWhatIsOnTheDisk) {
  driver_.read(kSectors - 1, 512);
  expect(Kind::kRead);
  driver_.read(kSectors - 1, 1024);
  expect_io_error();
  driver_.read(kSectors, 512);
  expect_io_error();
  driver_.write(kSectors - 2, filled(1024, 0));
  expect(Kind::kWrite);
  driver_.write(kSectors - 1, filled(1024, 0));
  expect_io_error();
}

TEST_F(BlkRequestTest, NoSectorNumberWraps) {
  // Times 512 these are 0 modulo 2^64, or near its end.
  for (const std::uint64_t sector :
       {std::uint64_t{1} << 55, (std::uint64_t{1} << 55) - 1, ~std::uint64_t{0},
        (std::uint64_t{1} << 55) + 1, std::uint64_t{1} << 63}) {
    driver_.read(sector, 512);
    expect_io_error();
    driver_.ranges(spec::VIRTIO_BLK_T_DISCARD, {BlkDriver::range(sector, 1)});
    expect_io_error();
  }
}

TEST_F(BlkRequestTest, NothingToTransferIsFine) {
  driver_.read(kSectors, 0);
  expect(Kind::kRead);
  EXPECT_EQ(request_.data.length, 0U);
  driver_.read(kSectors + 1, 0);
  expect_io_error();
}

// 5.2.6.2: IOERR for a write if VIRTIO_BLK_F_RO was offered.
TEST_F(BlkRequestTest, ReadOnly) {
  limits_.read_only = true;
  driver_.write(0, filled(512, 0));
  expect_io_error();
  driver_.read(0, 512);
  expect(Kind::kRead);
}

TEST_F(BlkRequestTest, FlushIfNegotiated) {
  driver_.flush();
  expect(Kind::kFlush);
  limits_.flush = false;
  driver_.flush();
  expect_unsupported();
}

// 5.2.6.1: the data is 20 bytes.
TEST_F(BlkRequestTest, GetIdNeedsRoomForIt) {
  driver_.get_id(20);
  expect(Kind::kGetId);
  driver_.get_id(512);
  expect(Kind::kGetId);
  driver_.get_id(19);
  expect_io_error();
  driver_.get_id(0);
  expect_io_error();
}

TEST_F(BlkRequestTest, UnknownTypesAreUnsupported) {
  for (const std::uint32_t type :
       {2U, 3U, 5U, 6U, 7U, spec::VIRTIO_BLK_T_GET_LIFETIME, 12U, spec::VIRTIO_BLK_T_SECURE_ERASE,
        15U, 0x80000000U, 0xffffffffU}) {
    driver_.request(BlkDriver::header(type), filled(16, 0), 512);
    expect_unsupported();
  }
}

TEST_F(BlkRequestTest, Discard) {
  driver_.ranges(spec::VIRTIO_BLK_T_DISCARD,
                 {BlkDriver::range(0, 1), BlkDriver::range(8, 32), BlkDriver::range(kSectors, 0)});
  expect(Kind::kDiscard);
  ASSERT_EQ(request_.ranges().size(), 3U);
  EXPECT_EQ(request_.ranges()[1].offset, 8U * 512);
  EXPECT_EQ(request_.ranges()[1].length, 32U * 512);
  EXPECT_FALSE(request_.ranges()[1].unmap);
}

// 5.2.6.2: UNSUPP for a discard with the unmap flag, or any unknown one.
TEST_F(BlkRequestTest, DiscardHasNoFlags) {
  for (const std::uint32_t flags : {1U, 2U, 0x80000000U}) {
    driver_.ranges(spec::VIRTIO_BLK_T_DISCARD,
                   {BlkDriver::range(0, 1), BlkDriver::range(0, 1, flags)});
    expect_unsupported();
  }
}

TEST_F(BlkRequestTest, WriteZeroes) {
  driver_.ranges(
      spec::VIRTIO_BLK_T_WRITE_ZEROES,
      {BlkDriver::range(0, 16, spec::VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP), BlkDriver::range(16, 1)});
  expect(Kind::kWriteZeroes);
  ASSERT_EQ(request_.ranges().size(), 2U);
  EXPECT_TRUE(request_.ranges()[0].unmap);
  EXPECT_FALSE(request_.ranges()[1].unmap);
}

// 5.2.6.2: UNSUPP for any unknown flag.
TEST_F(BlkRequestTest, WriteZeroesHasOneFlag) {
  for (const std::uint32_t flags : {2U, 3U, 0x80000001U}) {
    driver_.ranges(spec::VIRTIO_BLK_T_WRITE_ZEROES, {BlkDriver::range(0, 1, flags)});
    expect_unsupported();
  }
}

TEST_F(BlkRequestTest, RangesWithinLimits) {
  const auto one = BlkDriver::range(0, 1);
  driver_.ranges(spec::VIRTIO_BLK_T_DISCARD, {one, one, one, one});
  expect(Kind::kDiscard);
  driver_.ranges(spec::VIRTIO_BLK_T_DISCARD, {one, one, one, one, one});
  expect_io_error();
  driver_.ranges(spec::VIRTIO_BLK_T_WRITE_ZEROES, {one, one, one});
  expect_io_error();
  driver_.ranges(spec::VIRTIO_BLK_T_DISCARD, {BlkDriver::range(0, 33)});
  expect_io_error();
  driver_.ranges(spec::VIRTIO_BLK_T_WRITE_ZEROES, {BlkDriver::range(0, 17)});
  expect_io_error();
  driver_.ranges(spec::VIRTIO_BLK_T_DISCARD, {BlkDriver::range(kSectors - 1, 2)});
  expect_io_error();
}

// 5.2.6.1: a multiple of the segment's size.
TEST_F(BlkRequestTest, RangesAreWhole) {
  const auto header = BlkDriver::header(spec::VIRTIO_BLK_T_DISCARD);
  for (const std::size_t bytes : {0U, 1U, 15U, 17U, 31U}) {
    driver_.request(header, filled(bytes, 0), 0);
    expect_io_error();
  }
  driver_.request(header, filled(16, 0), 0);
  expect(Kind::kDiscard);
}

TEST_F(BlkRequestTest, RangesOnlyIfNegotiated) {
  limits_.discard = limits_.write_zeroes = false;
  driver_.ranges(spec::VIRTIO_BLK_T_DISCARD, {BlkDriver::range(0, 1)});
  expect_unsupported();
  driver_.ranges(spec::VIRTIO_BLK_T_WRITE_ZEROES, {BlkDriver::range(0, 1)});
  expect_unsupported();
}

}  // namespace
}  // namespace airlock::device
