// SPDX-License-Identifier: Apache-2.0
//
// The guard's smaller parts, each by itself.
#include <sys/mman.h>
#include <unistd.h>

#include <fstream>
#include <sstream>

#include <gtest/gtest.h>

#include "guard/audit.h"
#include "guard/config_space.h"
#include "guard/decision.h"
#include "guard/policy.h"
#include "guard/register_cache.h"
#include "guard/restart_limit.h"
#include "shm/sealed_memfd.h"
#include "spec/pci.h"
#include "spec/virtio_pci.h"

namespace airlock::guard {
namespace {

using namespace std::chrono_literals;

TEST(PolicyTest, WordsAndWindows) {
  EXPECT_EQ(parse_policy("bounce")->policy, AIRLOCK_GUARD_BOUNCE);
  EXPECT_EQ(parse_policy("open")->policy, AIRLOCK_GUARD_OPEN);
  const auto window = parse_policy("window=0x80000000+64M");
  ASSERT_TRUE(window.has_value());
  EXPECT_EQ(window->policy, AIRLOCK_GUARD_WINDOW);
  EXPECT_EQ(window->window_first, 0x80000000U);
  EXPECT_EQ(window->window_bytes, 64U << 20U);
  EXPECT_EQ(parse_policy("window=2G+0x1000")->window_bytes, 0x1000U);
}

TEST(PolicyTest, BadOnes) {
  for (const char* text : {"", "bounced", "window", "window=", "window=0x1000", "window=x+4K",
                           "window=0x+4K", "window=0x1000+0", "window=0xffffffffffffffff+2"}) {
    EXPECT_FALSE(parse_policy(text).has_value()) << text;
  }
}

TEST(PolicyTest, TheExplanationIsWhatCoreDecides) {
  EXPECT_EQ(explain(*parse_policy("bounce")).find("guest memory, by DMA_READ READABLE"),
            std::string::npos);
  const auto lines_with = [](const std::string& policy, const std::string& word) {
    std::istringstream text(explain(*parse_policy(policy)));
    int count = 0;
    for (std::string line; std::getline(text, line);)
      count += line.starts_with("guest memory") && line.find(word) != std::string::npos ? 1 : 0;
    return count;
  };
  EXPECT_EQ(lines_with("bounce", "ABLE"), 0);
  EXPECT_EQ(lines_with("open", "ABLE"), 4);
  EXPECT_EQ(lines_with("window=0x80000000+64M", "ABLE"), 3);
}

TEST(FileFactsTest, WhatAFileIs) {
  const auto sealed = MUST(shm::SealedMemfd::create({.size = 4096}));
  auto facts = file_facts(sealed.fd());
  EXPECT_TRUE(facts.present && facts.memfd && !facts.huge);
  EXPECT_EQ(facts.seals & 7U, 7U);
  EXPECT_EQ(facts.bytes, 4096U);
  facts = file_facts(Fd(memfd_create("x", MFD_CLOEXEC | MFD_ALLOW_SEALING)));
  EXPECT_TRUE(facts.present && facts.memfd);
  EXPECT_EQ(facts.seals, 0U);
  std::array<int, 2> ends{};
  ASSERT_EQ(pipe(ends.data()), 0);
  const Fd out(ends[1]);
  EXPECT_FALSE(file_facts(Fd(ends[0])).memfd);
  EXPECT_FALSE(file_facts(Fd()).present);
}

TEST(AuditTest, LinesAreJsonAndAFloodIsShort) {
  Fd file(memfd_create("audit", MFD_CLOEXEC));
  const Fd reader = MUST(file.duplicate());
  Audit audit(std::move(file), "a \"device\"");
  for (int i = 0; i < 1000; ++i)
    audit.record({.message = "DMA_READ", .decision = Decision::kRefused, .reason = "no\n\xff"});
  for (int i = 0; i < 20; ++i) {
    audit.record(
        {.message = "device", .decision = Decision::kFailed, .reason = "why", .rare = true});
  }
  audit.write_counters();
  std::ifstream lines("/proc/self/fd/" + std::to_string(reader.get()));
  std::vector<std::string> all;
  for (std::string line; std::getline(lines, line);)
    all.push_back(line);
  ASSERT_EQ(all.size(), 37U);  // a burst of 16, all that is rare, the counters
  EXPECT_NE(all[0].find(R"("device":"a \"device\"","message":"DMA_READ","decision":"refused",)"
                        R"("reason":"no??")"),
            std::string::npos)
      << all[0];
  EXPECT_NE(all[36].find(R"("DMA_READ":{"refused":1000})"), std::string::npos) << all[36];
  EXPECT_EQ(audit.count("DMA_READ", Decision::kRefused), 1000U);
}

class ConfigSpaceTest : public testing::Test {
 protected:
  ConfigSpaceTest() {
    set(spec::PCI_STATUS, spec::PCI_STATUS_CAP_LIST);
    set(spec::PCI_CAPABILITY_LIST, 0x40);
    set(0x40, spec::PCI_CAP_ID_MSIX);
    set(0x41, 0x50);
    set(0x50, spec::PCI_CAP_ID_VNDR);
  }
  void set(std::size_t offset, unsigned value) { config.at(offset) = std::byte(value); }
  std::vector<std::byte> config = std::vector<std::byte>(4096);
};

TEST_F(ConfigSpaceTest, ListsThatEnd) {
  EXPECT_TRUE(check_config_space(config));
  set(spec::PCI_STATUS, 0);
  set(0x51, 0x40);
  EXPECT_TRUE(check_config_space(config));  // no list, whatever stands there
}

TEST_F(ConfigSpaceTest, ListsThatDoNot) {
  set(0x51, 0x40);
  EXPECT_EQ(check_config_space(config).error().code, Errc::kMalformed);
  set(0x51, 0x50);
  EXPECT_FALSE(check_config_space(config));
  set(0x51, 0x10);  // into the header
  EXPECT_FALSE(check_config_space(config));
}

TEST_F(ConfigSpaceTest, ExtendedListsGoForwards) {
  set(0x100, 3);
  set(0x103, 0x20);  // next: 0x200
  EXPECT_TRUE(check_config_space(config));
  set(0x200, 3);
  set(0x203, 0x10);  // back to 0x100
  EXPECT_FALSE(check_config_space(config));
}

// VIRTIO 1.3, 4.1.4.1: of several capabilities of a kind the first counts.
TEST_F(ConfigSpaceTest, WhereVirtiosStructuresAre) {
  set(spec::PCI_VENDOR_ID, 0xf4);
  set(spec::PCI_VENDOR_ID + 1, 0x1a);
  set(spec::PCI_DEVICE_ID, 0x42);
  set(spec::PCI_DEVICE_ID + 1, 0x10);
  const auto add = [this](std::size_t at, unsigned next, unsigned kind, unsigned bar) {
    set(at, spec::PCI_CAP_ID_VNDR);
    set(at + 1, next);
    set(at + 3, kind);
    set(at + 4, bar);
    set(at + 12, 0x40);  // bytes
  };
  EXPECT_FALSE(find_virtio(config).has_value());  // not a structure yet
  add(0x50, 0x70, spec::VIRTIO_PCI_CAP_COMMON_CFG, 1);
  add(0x70, 0x90, spec::VIRTIO_PCI_CAP_COMMON_CFG, 2);
  EXPECT_FALSE(find_virtio(config).has_value());  // no place to notify
  add(0x90, 0, spec::VIRTIO_PCI_CAP_NOTIFY_CFG, 3);
  set(0x90 + 16, 4);
  const auto places = find_virtio(config);
  ASSERT_TRUE(places.has_value());
  EXPECT_EQ(places->common.bar, 1);
  EXPECT_EQ(places->notify.bar, 3);
  EXPECT_EQ(places->notify_multiplier, 4U);
  set(0x54, 6);  // no BAR
  EXPECT_EQ(find_virtio(config)->common.bar, 2);
  set(spec::PCI_VENDOR_ID, 0);
  EXPECT_FALSE(find_virtio(config).has_value());
}

TEST(RegisterCacheTest, RemembersWhatWasReadLast) {
  RegisterCache cache;
  const std::vector<std::byte> bytes(4, std::byte{7});
  std::vector<std::byte> seen(6, std::byte{1});
  cache.recall(0, 0, seen);
  EXPECT_EQ(seen, std::vector<std::byte>(6));
  cache.learn(0, 2, bytes);
  cache.recall(0, 4, seen);
  EXPECT_EQ(seen[1], std::byte{7});
  EXPECT_EQ(seen[2], std::byte{0});
  cache.learn(0, RegisterCache::kKept - 2, bytes);  // the end of it is not kept
  cache.learn(0, ~std::uint64_t{0}, bytes);
  cache.recall(0, RegisterCache::kKept - 2, seen);
  EXPECT_EQ(seen[1], std::byte{7});
  EXPECT_EQ(seen[2], std::byte{0});
}

TEST(RestartLimitTest, AtOnceThenLaterThenNoMore) {
  RestartLimit limit({.burst = 3, .interval = 10s, .first_delay = 50ms, .longest_delay = 80ms});
  const TimePoint now = Clock::now();
  EXPECT_EQ(limit.failed(now), now);
  EXPECT_EQ(limit.failed(now), now + 50ms);
  EXPECT_EQ(limit.failed(now), now + 80ms);
  EXPECT_EQ(limit.failed(now), std::nullopt);
  limit.came_up();
  EXPECT_EQ(limit.failed(now + 11s), now + 11s);  // long ago does not count
}

}  // namespace
}  // namespace airlock::guard
