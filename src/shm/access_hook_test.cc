// SPDX-License-Identifier: Apache-2.0
//
// Goal: no access of shared memory by our code goes unseen, and an observer has its say before the
// bytes move. Method: each call of SharedBytes, watched.
#include "shm/access_hook.h"

#include <gtest/gtest.h>

#include <array>
#include <cstdlib>
#include <functional>
#include <thread>
#include <vector>

#include "base/le.h"
#include "shm/sealed_memfd.h"

namespace airlock::shm {
namespace {

struct Seen {
  Access::Kind kind;
  std::uint64_t offset;
  std::uint64_t length;
  friend bool operator==(const Seen&, const Seen&) = default;
};

class AccessHookTest : public ::testing::Test, public AccessObserver {
 protected:
  void before_access(const Access& access) override {
    const auto* const base = bytes_.in_place().data();
    seen_.push_back({.kind = access.kind,
                     .offset = static_cast<std::uint64_t>(access.address - base),
                     .length = access.length});
    if (on_access_) on_access_();
  }

  SealedMemfd memfd_ = MUST(SealedMemfd::create({.size = 8192}));
  Mapping mapping_ = MUST(memfd_.map());
  SharedBytes bytes_ = mapping_.bytes();
  std::vector<Seen> seen_;
  std::function<void()> on_access_;
};

constexpr auto kLoad = Access::Kind::kLoad;
constexpr auto kStore = Access::Kind::kStore;

TEST_F(AccessHookTest, SeesEachAccessOnce) {
  std::array<std::byte, 100> buffer{};
  {
    const ScopedAccessHook hook(this);
    (void)bytes_.load_relaxed<Le16>(2);
    (void)bytes_.load_acquire<Le64>(8);
    bytes_.store_relaxed<std::uint8_t>(5, 1);
    bytes_.store_release<Le32>(16, Le32(1));
    bytes_.copy_out(31, buffer);
    bytes_.copy_in(33, buffer);
    bytes_.fill_zero(4096, 77);
    (void)bytes_.snapshot<Le64>(40);
    bytes_.put(48, Le32(7));
    (void)MUST(bytes_.slice(64, 64))
    .load_relaxed<Le16>(2);
  }
  EXPECT_EQ(seen_, (std::vector<Seen>{{kLoad, 2, 2},
                                      {kLoad, 8, 8},
                                      {kStore, 5, 1},
                                      {kStore, 16, 4},
                                      {kLoad, 31, 100},
                                      {kStore, 33, 100},
                                      {kStore, 4096, 77},
                                      {kLoad, 40, 8},
                                      {kStore, 48, 4},
                                      {kLoad, 66, 2}}));
}

TEST_F(AccessHookTest, IsQuietForNothingAndAfterTheScope) {
  {
    const ScopedAccessHook hook(this);
    bytes_.copy_in(0, {});
    bytes_.fill_zero(8192, 0);
    const ScopedAccessHook none(nullptr);
    (void)bytes_.load_relaxed<Le16>(0);
  }
  (void)bytes_.load_relaxed<Le16>(0);
  EXPECT_TRUE(seen_.empty());
}

TEST_F(AccessHookTest, ActsBeforeTheAccessAndIsNotSeenItself) {
  on_access_ = [this] { bytes_.store_relaxed<Le32>(0, Le32(0x1234)); };
  const ScopedAccessHook hook(this);
  EXPECT_EQ(bytes_.load_relaxed<Le32>(0).get(), 0x1234U);
  bytes_.store_relaxed<Le32>(0, Le32(1));
  std::array<std::byte, 1> first{};
  on_access_ = [this] { bytes_.store_relaxed<Le32>(0, Le32(0xff)); };
  bytes_.copy_out(0, first);
  EXPECT_EQ(first[0], std::byte{0xff});
  EXPECT_EQ(seen_.size(), 3U);
}

TEST_F(AccessHookTest, BelongsToItsThread) {
  const ScopedAccessHook hook(this);
  std::jthread([this] { (void)bytes_.load_relaxed<Le32>(0); }).join();
  EXPECT_TRUE(seen_.empty());
  (void)bytes_.load_relaxed<Le32>(0);
  EXPECT_EQ(seen_.size(), 1U);
}

// An access that is our own bug stops before anybody hears of it.
TEST_F(AccessHookTest, ChecksComeFirst) {
  on_access_ = [] { std::_Exit(0); };
  const ScopedAccessHook hook(this);
  EXPECT_DEATH((void)bytes_.load_relaxed<std::uint32_t>(8190), "bug:");
}

}  // namespace
}  // namespace airlock::shm
