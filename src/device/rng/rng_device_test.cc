// SPDX-License-Identifier: Apache-2.0
// Random numbers for a driver that writes its ring by hand. VIRTIO 1.3, 5.4.
#include "device/rng/rng_device.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>

#include "spec/pci.h"
#include "spec/virtio.h"
#include "testing/driven_queue.h"
#include "testing/readable.h"

namespace airlock::device {
namespace {

using namespace std::chrono_literals;
using testing::DrivenQueue;
using testing::is_readable;
using testing::wait_until_readable;

std::unique_ptr<RngDevice> make_rng(const RngAllowance::Limit& limit = {}) {
  return MUST(RngDevice::create({.limit = limit, .ring_features = 0}));
}

/// How many bytes of `bytes` are zero: of random ones one in 256.
std::ptrdiff_t zeros(const std::vector<std::byte>& bytes) {
  return std::ranges::count(bytes, std::byte{0});
}

class RngQueueTest : public ::testing::Test {
 protected:
  void limit_to(std::uint64_t max_bytes, std::chrono::milliseconds period) {
    rng_ = make_rng({.max_bytes = max_bytes, .period = period});
    queue_.emplace(*rng_, region_, 0, rng_->features());
  }

  testing::TestRegion region_;
  std::unique_ptr<RngDevice> rng_ = make_rng();
  std::optional<DrivenQueue> queue_{std::in_place, *rng_, region_, 0, rng_->features()};
};

TEST(RngDevice, IsOneQueueAndNoConfiguration) {
  const auto rng = MUST(RngDevice::create({.queue_size = 8}));
  EXPECT_EQ(rng->virtio_id(), spec::VIRTIO_ID_RNG);
  EXPECT_EQ(rng->pci_class(), spec::PCI_CLASS_OTHERS);
  EXPECT_EQ(rng->features(), ring::Features::kMask);
  EXPECT_EQ(rng->queue_count(), 1);
  EXPECT_EQ(rng->queue_size_max(0), 8);
  EXPECT_EQ(rng->queue_size_max(1), 0);
  EXPECT_TRUE(rng->config().empty());
}

TEST(RngDevice, RefusesAQueueSizeThatIsNone) {
  for (const std::uint16_t size : std::initializer_list<std::uint16_t>{0, 3, 100, 40000}) {
    EXPECT_EQ(RngDevice::create({.queue_size = size}).error().code, Errc::kBadQueueSize) << size;
  }
}

TEST(RngDevice, ASmallRegionHoldsItsQueue) {
  EXPECT_EQ(rng_region_bytes_min(64), std::uint64_t{64} << 10);
  EXPECT_GT(rng_region_bytes_min(32768), 32768U * 64);
}

// VIRTIO 1.3, 5.4.6.2: one or more random bytes; the length is exact.
TEST_F(RngQueueTest, FillsABuffer) {
  const auto chain = queue_->chain().writable(4096).submit();
  const auto used = queue_->next_used();
  ASSERT_TRUE(used);
  EXPECT_EQ(used->id, chain.head());
  EXPECT_EQ(used->length, 4096U);
  EXPECT_LT(zeros(chain.written()), 100);
  EXPECT_EQ(queue_->task().in_flight(), 0U);
  EXPECT_EQ(queue_->interrupts(), 1);
  EXPECT_EQ(rng_->counts(), (RngCounts{.requests = 1, .bytes = 4096}));
}

TEST_F(RngQueueTest, FillsScatteredBuffers_EachDifferently) {
  const auto chain = queue_->chain().writable(1).writable(64).writable(64).submit();
  ASSERT_EQ(queue_->next_used()->length, 129U);
  const auto bytes = chain.written();
  EXPECT_FALSE(std::equal(bytes.begin() + 1, bytes.begin() + 65, bytes.begin() + 65));
}

// 5.4.6.2: it MAY use less than the entire buffer; what it did not write stays as it was.
TEST_F(RngQueueTest, GivesALongBufferLessThanItTakes) {
  const auto chain = queue_->chain().writable(100'000).submit();
  EXPECT_EQ(queue_->next_used()->length, 65536U);
  const auto bytes = chain.written();
  EXPECT_TRUE(std::all_of(bytes.begin() + 65536, bytes.end(),
                          [](std::byte byte) { return byte == std::byte{0}; }));
}

// VIRTIO 1.3, 5.4.6.1: the driver MUST NOT place device-readable buffers into the queue.
TEST_F(RngQueueTest, AReadableBufferBreaksTheQueue) {
  static_cast<void>(queue_->chain().readable("seed").writable(64).submit());
  EXPECT_EQ(queue_->settle().error(), (Error{.code = Errc::kBadOrder, .queue = 0}));
  EXPECT_EQ(queue_->settle().error().code, Errc::kQueueBroken);
  queue_->task().drain(true);
  EXPECT_EQ(queue_->task().in_flight(), 0U);
  EXPECT_FALSE(queue_->ring().take_used());
  EXPECT_EQ(queue_->task().rebind().error().code, Errc::kQueueBroken);
}

// VIRTIO 1.3, 5.4.6: each buffer comes back.
TEST_F(RngQueueTest, ManyChainsAreTakenInBatches) {
  for (int i = 0; i < 40; ++i)
    static_cast<void>(queue_->chain().writable(16).submit());
  EXPECT_TRUE(MUST(queue_->task().poll()));
  EXPECT_EQ(queue_->ring().used_index(), 16);
  MUST(queue_->settle());
  EXPECT_EQ(queue_->ring().used_index(), 40);
}

// Buffers that overlap: one chain can't make the device work without end.
TEST_F(RngQueueTest, AChainOfMoreThanTheRegionBreaksTheQueue) {
  auto builder = queue_->chain();
  for (int i = 0; i < 2; ++i)
    builder.raw(4096, static_cast<std::uint32_t>(region_.bytes().size() - 4096), true);
  static_cast<void>(builder.submit());
  EXPECT_EQ(queue_->settle().error().code, Errc::kChainTooBig);
}

TEST_F(RngQueueTest, WithoutALimitNothingWakesIt) {
  EXPECT_EQ(queue_->task().completion_fd(), -1);
}

TEST_F(RngQueueTest, ALimitHoldsRequestsBackUntilTheNextPeriod) {
  limit_to(100, 1ms);
  static_cast<void>(queue_->chain().writable(64).submit());
  static_cast<void>(queue_->chain().writable(64).submit());
  static_cast<void>(queue_->chain().writable(64).submit());
  std::uint64_t given = 0;
  for (int count = 0; count < 3;) {
    const auto used = queue_->next_used();
    if (!used) {
      ASSERT_TRUE(wait_until_readable(queue_->task().completion_fd()));
      continue;
    }
    ++count;
    given += used->length;
    EXPECT_LE(used->length, 64U);
  }
  EXPECT_GE(given, 64U + 36 + 64);  // one of them is cut short
  EXPECT_EQ(rng_->counts().bytes, given);
}

TEST_F(RngQueueTest, ALimitIsNeverExceededInOnePeriod) {
  limit_to(100, 1h);
  const auto first = queue_->chain().writable(64).submit();
  const auto second = queue_->chain().writable(64).submit();
  const auto third = queue_->chain().writable(64).submit();
  EXPECT_EQ(queue_->next_used()->length, 64U);
  EXPECT_EQ(queue_->next_used()->length, 36U);
  EXPECT_FALSE(queue_->next_used());
  EXPECT_FALSE(is_readable(queue_->task().completion_fd()));
  EXPECT_EQ(zeros(third.written()), 64);
  // It stays in the ring: nothing keeps the queue from coming to rest.
  EXPECT_EQ(queue_->task().in_flight(), 0U);
  EXPECT_EQ(rng_->counts(), (RngCounts{.requests = 2, .bytes = 100, .waits = 1}));
}

// A driver that resets its queue gets no more for it.
TEST_F(RngQueueTest, ALimitOutlivesTheQueue) {
  limit_to(100, 1h);
  static_cast<void>(queue_->chain().writable(100).submit());
  EXPECT_EQ(queue_->next_used()->length, 100U);
  queue_->task().drain(true);
  DrivenQueue again(*rng_, region_, 0, rng_->features());
  static_cast<void>(again.chain().writable(100).submit());
  EXPECT_FALSE(again.next_used());
}

TEST_F(RngQueueTest, ThereIsOneQueue) {
  DrivenQueue& queue = *queue_;
  queue.ring().config().queue = 1;
  EXPECT_EQ(queue.start().error().code, Errc::kBadIndex);
}

}  // namespace
}  // namespace airlock::device
