// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <limits>
#include <memory>

#include "base/checked.h"
#include "base/event_fd.h"
#include "base/fd.h"
#include "base/le.h"
#include "base/log.h"
#include "base/result.h"

namespace airlock {
namespace {

Result<int> half(int value) {
  if (value % 2 != 0) return fail({.code = Errc::kNotAligned, .detail = 2, .address = 7});
  return value / 2;
}

Result<int> quarter(int value) {
  return TRY(half(TRY(half(value))));
}

Result<std::unique_ptr<int>> boxed(int value) {
  return std::make_unique<int>(TRY(half(value)));
}

TEST(Result, TryPassesValuesOnAndReturnsErrors) {
  EXPECT_EQ(MUST(quarter(8)), 2);
  EXPECT_EQ(quarter(6).error(), (Error{.code = Errc::kNotAligned, .detail = 2, .address = 7}));
  EXPECT_EQ(*MUST(boxed(4)), 2);
}

TEST(Result, MustStopsOnOurBug) {
  EXPECT_DEATH(static_cast<void>(MUST(half(3))), "bug:");
}

TEST(Error, SaysQueueAddressAndReason) {
  EXPECT_EQ(describe({.code = Errc::kAddressOutside, .queue = 1, .detail = 16, .address = 0xfff}),
            "queue 1: address 0xfff + 0x10 is outside what the device may touch");
  EXPECT_EQ(describe(system_error(ENOENT)), "No such file or directory");
}

TEST(Checked, SaysWhenANumberDoesNotFit) {
  constexpr auto kMax = std::numeric_limits<std::uint64_t>::max();
  EXPECT_EQ(checked_add<std::uint64_t>(kMax - 1, 1), kMax);
  EXPECT_EQ(checked_add<std::uint64_t>(kMax, 1), std::nullopt);
  EXPECT_EQ(checked_multiply<std::uint32_t>(0x10000, 0x10000), std::nullopt);
  EXPECT_EQ(checked_align_up(4097, 4096), 8192U);
  EXPECT_EQ(checked_align_up(kMax, 4096), std::nullopt);
  EXPECT_EQ(saturate<std::uint32_t>(kMax), 0xffffffffU);
  EXPECT_EQ(saturate<std::uint32_t>(std::uint64_t{5}), 5U);
}

TEST(Le, IsLittleEndianInMemory) {
  EXPECT_EQ(std::bit_cast<std::uint32_t>(Le32(1)) & 0xff,
            std::endian::native == std::endian::little ? 1U : 0U);
  EXPECT_EQ(Le64(0x0123456789abcdef).get(), 0x0123456789abcdefU);
}

TEST(Fd, ClosesWhatItOwnsOnce) {
  int raw = -1;
  {
    Fd fd = MUST(own_fd(open("/dev/null", O_RDONLY | O_CLOEXEC)));
    raw = fd.get();
    const Fd other = std::move(fd);
    EXPECT_EQ(fcntl(raw, F_GETFD), FD_CLOEXEC);
  }
  EXPECT_EQ(fcntl(raw, F_GETFD), -1);
  EXPECT_EQ(own_fd(open("/nonexistent", O_RDONLY)).error(), system_error(ENOENT));
}

TEST(EventFd, SignalsAndDrainsWithoutBlocking) {
  const EventFd event = MUST(EventFd::create());
  EXPECT_FALSE(event.drain());
  event.signal();
  event.signal();
  EXPECT_TRUE(event.drain());
  EXPECT_FALSE(event.drain());
}

// HD-19: a peer that has the fd too can clear O_NONBLOCK for both, and fill the counter.
TEST(EventFd, NeverBlocksWhateverItsPeerDoesToIt) {
  const EventFd event = MUST(EventFd::create());
  ASSERT_EQ(fcntl(event.fd(), F_SETFL, 0), 0);
  EXPECT_FALSE(event.drain());
  event.signal();
  EXPECT_TRUE(event.drain());

  const EventFd shared = MUST(EventFd::adopt(Fd(dup(event.fd()))));
  const std::uint64_t full = 0xfffffffffffffffe;
  ASSERT_EQ(write(event.fd(), &full, sizeof full), 8);
  ASSERT_EQ(fcntl(event.fd(), F_SETFL, 0), 0);
  shared.signal();
  EXPECT_TRUE(shared.drain());
}

TEST(LogLimit, LetsABurstThroughThenRefills) {
  LogLimit limit({.burst = 2, .refill = std::chrono::milliseconds(1000)});
  const auto start = std::chrono::steady_clock::time_point(std::chrono::hours(1));
  EXPECT_TRUE(limit.allow(start));
  EXPECT_TRUE(limit.allow(start));
  EXPECT_FALSE(limit.allow(start));
  EXPECT_FALSE(limit.allow(start + std::chrono::milliseconds(999)));
  EXPECT_TRUE(limit.allow(start + std::chrono::milliseconds(1000)));
  EXPECT_FALSE(limit.allow(start + std::chrono::milliseconds(1000)));
  EXPECT_EQ(limit.take_suppressed(), 3U);
}

}  // namespace
}  // namespace airlock
