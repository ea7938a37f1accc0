// SPDX-License-Identifier: Apache-2.0
// The frames of a stream, however it is cut, and lengths that there are none of.
#include "backend/net/stream_parser.h"

#include <algorithm>
#include <vector>

#include <gtest/gtest.h>

namespace airlock::backend {
namespace {

using Bytes = std::vector<std::byte>;

void append(Bytes& stream, std::uint32_t length, std::size_t sent) {
  for (unsigned shift = 32; shift > 0; shift -= 8)
    stream.push_back(std::byte(length >> (shift - 8) & 0xff));
  for (std::size_t i = 0; i < sent; i++)
    stream.push_back(std::byte(i + length));
}

void feed(StreamParser& parser, std::span<const std::byte> bytes) {
  const auto room = parser.room();
  ASSERT_GE(room.size(), bytes.size());
  std::ranges::copy(bytes, room.begin());
  parser.came(bytes.size());
}

TEST(StreamParser, FindsFramesHoweverTheyAreCut) {
  Bytes stream;
  const std::vector<std::uint32_t> lengths{60, 0, 1514, 14, kNetFrameMax, 1, 9000};
  for (const std::uint32_t length : lengths)
    append(stream, length, length);
  for (const std::size_t step :
       {std::size_t{1}, std::size_t{3}, std::size_t{4096}, std::size_t{65536}, stream.size()}) {
    StreamParser parser;
    std::vector<std::uint32_t> found;
    for (std::size_t at = 0; at < stream.size(); at += step) {
      feed(parser, std::span(stream).subspan(at, std::min(step, stream.size() - at)));
      while (const auto frame = MUST(parser.next())) {
        found.push_back(static_cast<std::uint32_t>(frame->size()));
        if (frame->empty()) continue;
        EXPECT_EQ((*frame)[0], std::byte(frame->size() & 0xff));
      }
    }
    EXPECT_EQ(found, lengths);
  }
}

TEST(StreamParser, RefusesALengthThatNoFrameHas) {
  for (const std::uint32_t length : {std::uint32_t{kNetFrameMax} + 1, 0x7fffffffU, 0xffffffffU}) {
    StreamParser parser;
    Bytes stream;
    append(stream, 60, 60);
    append(stream, length, 100);
    feed(parser, stream);
    EXPECT_EQ(MUST(parser.next())->size(), 60U);
    EXPECT_EQ(parser.next().error(), (Error{.code = Errc::kBadLength, .detail = length}));
    EXPECT_FALSE(parser.next());
    parser.clear();
    EXPECT_FALSE(MUST(parser.next()));
  }
}

// A peer that sends the start of a frame and no more leaves room for all of the rest.
TEST(StreamParser, AlwaysHasRoomForAFrame) {
  StreamParser parser;
  for (int i = 0; i < 20; i++) {
    Bytes stream;
    append(stream, kNetFrameMax, kNetFrameMax);
    const std::span<const std::byte> bytes = stream;
    feed(parser, bytes.first(1000));
    EXPECT_FALSE(MUST(parser.next()));
    EXPECT_GE(parser.room().size(), kNetFrameMax + kStreamPrefixBytes - 1000);
    feed(parser, bytes.subspan(1000));
    EXPECT_EQ(MUST(parser.next())->size(), kNetFrameMax);
  }
}

}  // namespace
}  // namespace airlock::backend
