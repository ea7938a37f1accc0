// SPDX-License-Identifier: Apache-2.0
//
// Goal: bytes are found wherever the driver's framing put them (VIRTIO 1.3, 2.7.4). Method: one
// chain whose parts are cut into uneven buffers, read and written at every offset and length.
#include "ring/chain.h"

#include <gtest/gtest.h>

#include <array>
#include <string>

#include "ring/split_device_queue.h"
#include "testing/chain_builder.h"

namespace airlock::ring {
namespace {

struct Pair {
  Le16 first;
  Le16 second;
};

class ChainTest : public ::testing::Test {
 protected:
  ChainTest() {
    built_ = testing::ChainBuilder(driver_)
                 .readable("ab")
                 .readable("cdefg")
                 .readable("h")
                 .writable(1)
                 .writable(6)
                 .writable(2)
                 .submit();
    CHECK(MUST(queue_.pop(chain_)).has_value());
  }

  static std::string text(std::span<const std::byte> bytes) {
    std::string all;
    for (const std::byte b : bytes)
      all.push_back(static_cast<char>(b));
    return all;
  }
  static std::string text(const std::vector<shm::SharedBytes>& pieces) {
    std::string all;
    for (const shm::SharedBytes& piece : pieces) {
      std::vector<std::byte> bytes(piece.size());
      piece.copy_out(0, bytes);
      all += text(bytes);
    }
    return all;
  }

  testing::TestRegion region_;
  testing::FakeDriver driver_{region_, 8};
  SplitDeviceQueue queue_ = MUST(SplitDeviceQueue::create(driver_.config(), region_.window()));
  testing::BuiltChain built_{driver_, {}};
  Chain chain_;
};

TEST_F(ChainTest, KnowsItsParts) {
  EXPECT_EQ(chain_.readable().size(), 3U);
  EXPECT_EQ(chain_.writable().size(), 3U);
  EXPECT_EQ(chain_.readable_bytes(), 8U);
  EXPECT_EQ(chain_.writable_bytes(), 9U);
}

TEST_F(ChainTest, ReadsAcrossBuffers) {
  const std::string all = "abcdefgh";
  for (std::uint32_t offset = 0; offset <= 8; ++offset) {
    for (std::uint32_t length = 0; offset + length <= 8; ++length) {
      std::vector<std::byte> bytes(length);
      ASSERT_TRUE(chain_.read(offset, bytes));
      EXPECT_EQ(text(bytes), all.substr(offset, length));
      std::vector<shm::SharedBytes> pieces;
      ASSERT_TRUE(chain_.append_readable({.offset = offset, .length = length}, pieces));
      EXPECT_EQ(text(pieces), all.substr(offset, length));
    }
  }
  EXPECT_EQ(MUST(chain_.read<Pair>(1)).second.get(), 'd' | 'e' << 8);
}

TEST_F(ChainTest, ReadsNothingPastTheReadablePart) {
  std::array<std::byte, 3> three{std::byte{'x'}, std::byte{'x'}, std::byte{'x'}};
  EXPECT_EQ(chain_.read(6, three).error(),
            (Error{.code = Errc::kOutOfRange, .detail = 3, .address = 6}));
  EXPECT_EQ(text(three), "xxx");
  EXPECT_EQ(chain_.read(9, std::span(three).first(0)).error().code, Errc::kOutOfRange);
  EXPECT_EQ(chain_.read(~std::uint32_t{0}, three).error().code, Errc::kOutOfRange);
  EXPECT_EQ(chain_.read<Pair>(5).error().code, Errc::kOutOfRange);
  std::vector<shm::SharedBytes> pieces;
  EXPECT_EQ(chain_.append_readable({.offset = 1, .length = ~std::uint32_t{0}}, pieces).error().code,
            Errc::kOutOfRange);
  EXPECT_TRUE(pieces.empty());
}

TEST_F(ChainTest, WritesAcrossBuffers) {
  const std::string source = "123456789";
  for (std::uint32_t offset = 0; offset <= 9; ++offset) {
    for (std::uint32_t length = 0; offset + length <= 9; ++length) {
      ASSERT_TRUE(chain_.write(0, std::vector<std::byte>(9, std::byte{'.'})));
      const auto bytes = std::as_bytes(std::span(source)).first(length);
      ASSERT_TRUE(chain_.write(offset, bytes));
      std::string wanted(9, '.');
      wanted.replace(offset, length, source.substr(0, length));
      EXPECT_EQ(text(built_.written()), wanted);
    }
  }
  std::vector<shm::SharedBytes> pieces;
  ASSERT_TRUE(chain_.append_writable({.offset = 1, .length = 7}, pieces));
  EXPECT_EQ(pieces.size(), 2U);
}

TEST_F(ChainTest, WritesNothingPastTheWritablePart) {
  const std::array<std::byte, 2> two{std::byte{'x'}, std::byte{'x'}};
  EXPECT_EQ(chain_.write(8, two).error(),
            (Error{.code = Errc::kOutOfRange, .detail = 2, .address = 8}));
  EXPECT_EQ(built_.written(), std::vector<std::byte>(9));
  std::vector<shm::SharedBytes> pieces;
  EXPECT_EQ(chain_.append_writable({.offset = 0, .length = 10}, pieces).error().code,
            Errc::kOutOfRange);
}

TEST_F(ChainTest, KeepsItsStorageWhenRefilled) {
  const auto* const storage = chain_.readable().data();
  ASSERT_TRUE(queue_.push_used(chain_.head(), 0));
  testing::ChainBuilder(driver_).writable(4).submit();
  ASSERT_TRUE(MUST(queue_.pop(chain_)).has_value());
  EXPECT_EQ(chain_.readable().size(), 0U);
  EXPECT_EQ(chain_.readable_bytes(), 0U);
  EXPECT_EQ(chain_.writable_bytes(), 4U);
  EXPECT_EQ(chain_.writable().data(), storage);
}

}  // namespace
}  // namespace airlock::ring
