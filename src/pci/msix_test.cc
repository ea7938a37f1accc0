// SPDX-License-Identifier: Apache-2.0
//
// Goal: a vector wakes whoever listens to it, now or later, and nothing else. Method: eventfds on
// both ends of every rule; threads against a control thread that swaps them.
#include "pci/msix.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <thread>
#include <vector>

#include "spec/virtio_pci.h"

namespace airlock::pci {
namespace {

/// An eventfd of which the vector and the test each have an end.
struct Line {
  EventFd mine;
  EventFd given;
};

Line line() {
  EventFd given = MUST(EventFd::create());
  EventFd mine = MUST(EventFd::adopt(MUST(own_fd(dup(given.fd())))));
  return {.mine = std::move(mine), .given = std::move(given)};
}

TEST(MsixVectors, FiresTheVectorThatWasAskedFor) {
  MsixVectors vectors(2);
  Line a = line();
  Line b = line();
  ASSERT_TRUE(vectors.install(0, std::move(a.given)));
  ASSERT_TRUE(vectors.install(1, std::move(b.given)));
  vectors.fire(1);
  EXPECT_FALSE(a.mine.drain());
  EXPECT_TRUE(b.mine.drain());
}

TEST(MsixVectors, NoVectorAndUnknownOnesAreNothingToFire) {
  MsixVectors vectors(2);
  vectors.fire(spec::VIRTIO_MSI_NO_VECTOR);
  vectors.fire(2);
  EXPECT_EQ(vectors.install(2, EventFd()).error().code, Errc::kOutOfRange);
}

// VFIO_USER 2.5: firing without an eventfd is tolerated. PCI 3.0, 6.8.3.5: a masked vector that was
// to fire does so when it is unmasked.
TEST(MsixVectors, WhatFiredUnheardIsDeliveredOnce) {
  MsixVectors vectors(1);
  vectors.fire(0);
  vectors.fire(0);
  Line first = line();
  ASSERT_TRUE(vectors.install(0, std::move(first.given)));
  EXPECT_TRUE(first.mine.drain());
  Line second = line();
  ASSERT_TRUE(vectors.install(0, std::move(second.given)));
  EXPECT_FALSE(second.mine.drain());
}

TEST(MsixVectors, NothingIsPendingAfterResetOrWithoutMsix) {
  MsixVectors vectors(1);
  vectors.fire(0);
  vectors.clear_pending();
  Line first = line();
  ASSERT_TRUE(vectors.install(0, std::move(first.given)));
  EXPECT_FALSE(first.mine.drain());
  vectors.remove_all();
  vectors.fire(0);
  EXPECT_FALSE(first.mine.drain());
  vectors.remove_all();
  Line second = line();
  ASSERT_TRUE(vectors.install(0, std::move(second.given)));
  EXPECT_FALSE(second.mine.drain());
}

// A worker fires while the control thread swaps the eventfd: none is lost, none hits a closed fd.
TEST(MsixVectors, FiringBesideInstallLosesNothing) {
  constexpr int kRounds = 2000;
  MsixVectors vectors(1);
  std::vector<EventFd> ends;
  std::jthread worker([&] {
    for (int i = 0; i < kRounds; ++i) {
      vectors.fire(0);
    }
  });
  for (int i = 0; i < 50; ++i) {
    Line next = line();
    ends.push_back(std::move(next.mine));
    ASSERT_TRUE(vectors.install(0, std::move(next.given)));
    ASSERT_TRUE(vectors.install(0, EventFd()));
  }
  worker.join();
  Line last = line();
  ASSERT_TRUE(vectors.install(0, std::move(last.given)));
  bool heard = last.mine.drain();
  for (const EventFd& end : ends) {
    heard = end.drain() || heard;
  }
  EXPECT_TRUE(heard);
}

TEST(MsixTable, SizesItsBarForTableAndPendingBits) {
  EXPECT_EQ(MsixTable(3).bar_size(), 4096U);
  EXPECT_EQ(MsixTable(256).bar_size(), 8192U);
  EXPECT_EQ(MsixTable(2048).bar_size(), 65536U);
  const MsixTable table(3);
  const spec::PciMsixCap cap = table.capability(1);
  EXPECT_EQ(cap.message_control.get(), 2);
  EXPECT_EQ(cap.table.get(), 1U);
  EXPECT_EQ(cap.pba.get(), 0x30U | 1U);
}

TEST(MsixTable, ReadsBackTheTableAndZeroElsewhere) {
  MsixTable table(2);
  std::array<std::byte, 16> entry{};
  table.read(0, entry);
  EXPECT_EQ(entry[12], std::byte{1});  // masked, as after power-on
  const std::array<std::byte, 8> written{std::byte{1}, std::byte{2}, std::byte{3}, std::byte{4},
                                         std::byte{5}, std::byte{6}, std::byte{7}, std::byte{8}};
  table.write(16, written);
  std::array<std::byte, 8> got{};
  table.read(16, got);
  EXPECT_EQ(got, written);
  table.write(28, written);  // half of it behind the table
  std::array<std::byte, 16> edge{};
  table.read(24, edge);
  EXPECT_EQ(edge[4], std::byte{1});
  EXPECT_EQ(edge[8], std::byte{0});
  table.write(table.pba_offset(), written);
  table.read(table.pba_offset(), got);
  EXPECT_EQ(got, (std::array<std::byte, 8>{}));
  table.reset();
  table.read(16, got);
  EXPECT_EQ(got, (std::array<std::byte, 8>{}));
}

}  // namespace
}  // namespace airlock::pci
