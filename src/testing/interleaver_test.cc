// SPDX-License-Identifier: Apache-2.0
//
// Goal: the tool that looks for double fetches finds them, and nothing else. Method: code with a
// known flaw, beside the same code without it.
#include "testing/interleaver.h"

#include <gtest/gtest.h>

#include <array>
#include <optional>
#include <set>

#include "base/le.h"
#include "testing/test_region.h"

namespace airlock::testing {
namespace {

using DoubleFetch = DoubleFetchDetector::DoubleFetch;

class DoubleFetchDetectorTest : public ::testing::Test {
 protected:
  TestRegion region_{{.size = 8192}};
  shm::SharedBytes bytes_ = region_.bytes();
  DoubleFetchDetector detector_{bytes_};
};

TEST_F(DoubleFetchDetectorTest, FindsAWordThatIsReadTwice) {
  const auto found = detector_.watch([&] {
    (void)bytes_.load_relaxed<Le16>(0);
    (void)bytes_.load_relaxed<Le32>(8);
    (void)bytes_.load_acquire<Le32>(8);
  });
  EXPECT_EQ(found, (std::vector{DoubleFetch{.offset = 8, .length = 4, .first = 2, .second = 3}}));
  EXPECT_EQ(describe(found), "4 bytes at 0x8 by loads 2 and 3; ");
}

TEST_F(DoubleFetchDetectorTest, FindsTheBytesThatTwoCopiesShare) {
  std::array<std::byte, 64> copy{};
  const auto found = detector_.watch([&] {
    bytes_.copy_out(100, copy);
    (void)MUST(bytes_.slice(160, 8))
    .load_relaxed<Le64>(0);
  });
  EXPECT_EQ(found, (std::vector{DoubleFetch{.offset = 160, .length = 4, .first = 1, .second = 2}}));
}

TEST_F(DoubleFetchDetectorTest, IsContentWithOneLookAtEachByte) {
  std::array<std::byte, 16> copy{};
  EXPECT_TRUE(detector_
                  .watch([&] {
                    (void)bytes_.load_relaxed<Le32>(0);
                    (void)bytes_.load_relaxed<Le32>(4);
                    bytes_.copy_out(8, copy);
                    bytes_.copy_in(8, copy);
                    bytes_.fill_zero(0, 8);
                  })
                  .empty());
  EXPECT_EQ(detector_.loads(), 3U);
}

TEST_F(DoubleFetchDetectorTest, AllowsWordsThatArePolled) {
  detector_.allow_polling(2, 2);
  const auto twice = [&](std::uint64_t offset) {
    return detector_.watch([&] {
      (void)bytes_.load_acquire<Le16>(offset);
      (void)bytes_.load_acquire<Le16>(offset);
    });
  };
  EXPECT_TRUE(twice(2).empty());
  EXPECT_FALSE(twice(4).empty());
}

TEST_F(DoubleFetchDetectorTest, ForgetsBetweenOperationsAndKnowsItsMapping) {
  const shm::Mapping other = MUST(region_.memfd().map());
  for (int i = 0; i < 2; i++) {
    EXPECT_TRUE(detector_
                    .watch([&] {
                      (void)bytes_.load_relaxed<Le32>(0);
                      (void)other.bytes().load_relaxed<Le32>(0);
                      (void)other.bytes().load_relaxed<Le32>(0);
                    })
                    .empty());
    EXPECT_EQ(detector_.loads(), 1U);
  }
}

// A length, and the bytes that it covers: what a parser of a peer's message reads.
struct Message {
  static constexpr std::uint32_t kMost = 8;

  Message() { region.bytes().store_relaxed<Le32>(0, Le32(4)); }
  [[nodiscard]] shm::SharedBytes memory() const { return region.bytes(); }
  std::uint32_t length() const { return memory().load_relaxed<Le32>(0).get(); }

  TestRegion region{{.size = 8192}};
  std::optional<std::uint32_t> taken;
};

void lengthen(Message& message) {
  message.memory().store_relaxed<Le32>(0, Le32(1000));
}

// Method: the classic mistake (check, then read again) and its cure. The values of `taken`.
std::set<std::uint32_t> outcomes(const std::function<void(Message&)>& parse,
                                 std::uint32_t accesses) {
  std::set<std::uint32_t> taken;
  const Interleaver<Message> interleaver{
      .make = std::make_unique<Message>,
      .operation = parse,
      .mutation = lengthen,
      .invariant = [&](Message& message, std::uint32_t) { taken.insert(*message.taken); }};
  EXPECT_EQ(interleaver.run(), accesses);
  return taken;
}

TEST(Interleaver, FindsTheLengthThatIsCheckedAndThenReadAgain) {
  const auto flawed = [](Message& message) {
    message.taken = message.length() <= Message::kMost ? message.length() : 0;
  };
  EXPECT_EQ(outcomes(flawed, 2), (std::set<std::uint32_t>{0, 4, 1000}));
}

TEST(Interleaver, FindsNothingWhereTheCopyIsUsed) {
  const auto sound = [](Message& message) {
    const std::uint32_t length = message.length();
    message.taken = length <= Message::kMost ? length : 0;
  };
  EXPECT_EQ(outcomes(sound, 1), (std::set<std::uint32_t>{0, 4}));
}

TEST(Interleaver, StrikesBeforeEachAccessOnceAndThenNotAtAll) {
  std::uint32_t strikes = 0;
  std::vector<std::uint32_t> numbers;
  const Interleaver<Message> interleaver{
      .make = std::make_unique<Message>,
      .operation =
          [](Message& message) {
            (void)message.length();
            message.memory().store_relaxed<Le32>(4, Le32(1));
            message.memory().fill_zero(0, 16);
          },
      .mutation = [&](Message&) { strikes++; },
      .invariant = [&](Message&, std::uint32_t number) { numbers.push_back(number); }};
  EXPECT_EQ(interleaver.run(), 3U);
  EXPECT_EQ(strikes, 3U);
  EXPECT_EQ(numbers, (std::vector<std::uint32_t>{1, 2, 3, 4}));
}

}  // namespace
}  // namespace airlock::testing
