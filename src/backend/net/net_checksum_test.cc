// SPDX-License-Identifier: Apache-2.0
// Checksums that a guest left out: where they may be, and that they are right.
#include "backend/net/net_checksum.h"

#include <cstdint>
#include <cstring>
#include <vector>

#include <gtest/gtest.h>

#include "backend/net_backend.h"

namespace airlock::backend {
namespace {

spec::VirtioNetHdr header_for(std::uint16_t start, std::uint16_t offset) {
  spec::VirtioNetHdr header;
  header.flags = spec::VIRTIO_NET_HDR_F_NEEDS_CSUM;
  header.csum_start.set(start);
  header.csum_offset.set(offset);
  return header;
}

// As RFC 1071 has it, byte by byte: the sum of everything, the checksum included, is all ones.
std::uint32_t sum_of(std::span<const std::byte> bytes) {
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i < bytes.size(); i++)
    sum += std::to_integer<std::uint32_t>(bytes[i]) << (i % 2 == 0 ? 8 : 0);
  while (sum > 0xffff)
    sum = (sum & 0xffff) + (sum >> 16);
  return sum;
}

TEST(NetChecksum, IsCompletedForAnyLength) {
  for (std::size_t length = 54; length < 80; length++) {
    std::vector<std::byte> frame(length);
    for (std::size_t i = 0; i < length; i++)
      frame[i] = std::byte(i * 37 + length);
    // The field has the sum of the pseudo header; here: of nothing.
    frame[34 + 16] = frame[34 + 17] = std::byte{0};
    const auto before = frame;
    complete_checksum(header_for(34, 16), frame);
    EXPECT_EQ(sum_of(std::span(frame).subspan(34)), 0xffffU);
    EXPECT_TRUE(std::equal(frame.begin(), frame.begin() + 50, before.begin()));
    EXPECT_TRUE(std::equal(frame.begin() + 52, frame.end(), before.begin() + 52));
  }
}

TEST(NetChecksum, StandsForAPseudoHeaderToo) {
  std::vector<std::byte> frame(42 + 8, std::byte{0x11});
  frame[40] = std::byte{0x12};
  frame[41] = std::byte{0x34};
  complete_checksum(header_for(34, 6), frame);
  // What was there is a part of the sum.
  EXPECT_EQ((sum_of(std::span(frame).subspan(34)) + 0x1234) % 0xffff, 0U);
}

TEST(NetChecksum, IsNeverZeroWhichWouldMeanNone) {
  std::vector<std::byte> frame(60, std::byte{0});
  frame[34] = frame[35] = std::byte{0xff};
  complete_checksum(header_for(34, 6), frame);
  EXPECT_EQ(frame[40], std::byte{0xff});
  EXPECT_EQ(frame[41], std::byte{0xff});
}

TEST(NetChecksum, LeavesAFrameAloneThatHasItsChecksum) {
  std::vector<std::byte> frame(60, std::byte{7});
  complete_checksum({}, frame);
  EXPECT_EQ(frame, std::vector<std::byte>(60, std::byte{7}));
}

TEST(NetChecksum, FitsOnlyInsideTheFrame) {
  EXPECT_TRUE(header_fits(header_for(34, 16), 52));
  EXPECT_FALSE(header_fits(header_for(34, 16), 51));
  EXPECT_FALSE(header_fits(header_for(52, 0), 52));
  EXPECT_FALSE(header_fits(header_for(0xffff, 0xffff), kNetFrameMax));
  EXPECT_TRUE(header_fits({}, 14));
  spec::VirtioNetHdr segments;
  segments.gso_type = spec::VIRTIO_NET_HDR_GSO_TCPV4;
  EXPECT_FALSE(header_fits(segments, 1000));
  segments.gso_size.set(100);
  EXPECT_TRUE(header_fits(segments, 1000));
}

}  // namespace
}  // namespace airlock::backend
