// SPDX-License-Identifier: Apache-2.0
//
// Goal: each rule of the pool: what a device can see in a slot, what comes back from it, and which
// handles are believed. Method: each rule beside the twin that breaks it.
#include "pool/pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <ranges>
#include <vector>

#include "shm/sealed_memfd.h"

namespace airlock::pool {
namespace {

constexpr std::uint64_t kRegionBytes = 65536;
constexpr std::uint64_t kSlots = (kRegionBytes - kPageBytes) / kSlotBytes;

std::vector<std::byte> pattern(std::size_t size, unsigned seed = 1) {
  std::vector<std::byte> bytes(size);
  for (std::size_t i = 0; i < size; i++)
    bytes[i] = std::byte((i * 7 + seed) | 1);
  return bytes;
}

bool all_zero(std::span<const std::byte> bytes) {
  return std::ranges::all_of(bytes, [](std::byte b) { return b == std::byte{0}; });
}

class PoolTest : public testing::TestWithParam<Scrub> {
 protected:
  // What the device sees.
  [[nodiscard]] std::vector<std::byte> slots(const Mapped& mapped) const {
    const std::uint64_t length = (mapped.bytes + kSlotBytes - 1) / kSlotBytes * kSlotBytes;
    std::vector<std::byte> bytes(length);
    device_.copy_out(std::to_underlying(mapped.offset), bytes);
    return bytes;
  }
  void device_writes(const Mapped& mapped, std::span<const std::byte> bytes) const {
    device_.copy_in(std::to_underlying(mapped.offset), bytes);
  }

  shm::SealedMemfd memfd_ = MUST(shm::SealedMemfd::create({.size = kRegionBytes}));
  shm::Mapping device_mapping_ = MUST(memfd_.map());
  shm::SharedBytes device_ = device_mapping_.bytes();
  shm::Mapping mapping_ = MUST(memfd_.map());
  std::unique_ptr<Pool> pool_ = MUST(Pool::create(mapping_.bytes(), {.scrub = GetParam()}));
};

INSTANTIATE_TEST_SUITE_P(Scrub, PoolTest, testing::Values(Scrub::kOnUnmap, Scrub::kOnMap),
                         [](const auto& scrub) {
                           return scrub.param == Scrub::kOnUnmap ? "OnUnmap" : "OnMap";
                         });

TEST_P(PoolTest, ToDeviceCopiesInAndZeroesTheSlackOfTheLastSlot) {  // HD-26
  device_.copy_in(0, pattern(kRegionBytes, 77));                    // DEF-7: garbage
  const auto source = pattern(kSlotBytes + 100);
  const Mapped mapped = MUST(pool_->map_to_device(source));
  const auto seen = slots(mapped);
  ASSERT_EQ(seen.size(), 2 * kSlotBytes);
  EXPECT_TRUE(std::equal(source.begin(), source.end(), seen.begin()));
  EXPECT_TRUE(all_zero(std::span(seen).subspan(source.size())));
  EXPECT_TRUE(pool_->unmap(mapped, 0));
}

TEST_P(PoolTest, FromDeviceShowsZeroesAndNotWhatWasThereBefore) {  // HD-26
  device_.copy_in(0, pattern(kRegionBytes, 77));
  auto target = pattern(3 * kSlotBytes, 9);
  const Mapped first = MUST(pool_->map_from_device(target));
  EXPECT_TRUE(all_zero(slots(first)));
  EXPECT_TRUE(pool_->unmap(first, 0));
  const Mapped secret = MUST(pool_->map_to_device(pattern(3 * kSlotBytes)));
  EXPECT_TRUE(pool_->unmap(secret, 0));
  const Mapped second = MUST(pool_->map_from_device(target));
  EXPECT_EQ(second.offset, secret.offset);
  EXPECT_TRUE(all_zero(slots(second)));
  EXPECT_TRUE(pool_->unmap(second, 0));
}

TEST_P(PoolTest, UnmapCopiesBackTheBytesWrittenAndNoMore) {
  auto target = pattern(1000, 3);
  const auto before = target;
  const auto written = pattern(1000, 50);
  const Mapped mapped = MUST(pool_->map_from_device(target));
  device_writes(mapped, written);
  ASSERT_TRUE(pool_->unmap(mapped, 400));
  EXPECT_TRUE(std::equal(target.begin(), target.begin() + 400, written.begin()));
  EXPECT_TRUE(std::equal(target.begin() + 400, target.end(), before.begin() + 400));
}

TEST_P(PoolTest, UnmapWithMoreThanWasMappedCopiesNothing) {  // HD-3, HD-10, DMB-DR5
  auto target = pattern(1000, 3);
  const auto before = target;
  const Mapped mapped = MUST(pool_->map_from_device(target));
  device_writes(mapped, pattern(1000, 50));
  EXPECT_EQ(pool_->unmap(mapped, 1001).error().code, Errc::kBadLength);
  EXPECT_EQ(target, before);
  EXPECT_EQ(pool_->stats().used, 0U);
}

TEST_P(PoolTest, ToDeviceBringsNothingBack) {
  auto source = pattern(100);
  const auto before = source;
  const Mapped mapped = MUST(pool_->map_to_device(source));
  device_writes(mapped, pattern(100, 99));
  EXPECT_EQ(pool_->unmap(mapped, 1).error().code, Errc::kBadLength);
  EXPECT_EQ(source, before);
}

TEST_P(PoolTest, BidirectionalGoesBothWays) {
  auto buffer = pattern(100);
  const Mapped mapped = MUST(pool_->map_bidirectional(buffer));
  EXPECT_TRUE(std::ranges::equal(slots(mapped) | std::views::take(100), buffer));
  const auto answer = pattern(100, 99);
  device_writes(mapped, answer);
  EXPECT_TRUE(pool_->unmap(mapped, 100));
  EXPECT_EQ(buffer, answer);
}

TEST_P(PoolTest, SyncsWhatIsAskedAndInTheDirectionMapped) {
  auto buffer = pattern(100);
  const Mapped out = MUST(pool_->map_to_device(buffer));
  buffer[5] = std::byte{0xee};
  EXPECT_TRUE(pool_->sync_for_device(out, 5, 1));
  EXPECT_EQ(slots(out)[5], std::byte{0xee});
  EXPECT_EQ(pool_->sync_for_cpu(out, 0, 1).error().code, Errc::kWrongState);
  EXPECT_EQ(pool_->sync_for_device(out, 5, 96).error().code, Errc::kOutOfRange);
  EXPECT_TRUE(pool_->unmap(out, 0));

  const Mapped in = MUST(pool_->map_from_device(buffer));
  device_writes(in, pattern(100, 200));
  EXPECT_TRUE(pool_->sync_for_cpu(in, 0, 2));
  EXPECT_EQ(buffer[1], pattern(100, 200)[1]);
  EXPECT_EQ(buffer[5], std::byte{0xee});
  EXPECT_EQ(pool_->sync_for_device(in, 0, 1).error().code, Errc::kWrongState);
  EXPECT_EQ(pool_->sync_for_cpu(in, ~std::uint64_t{0}, 2).error().code, Errc::kOutOfRange);
  EXPECT_TRUE(pool_->unmap(in, 0));
}

TEST_P(PoolTest, BelievesAHandleOnce) {  // HD-27: liveness
  const Mapped mapped = MUST(pool_->map_to_device(pattern(100)));
  EXPECT_TRUE(pool_->unmap(mapped, 0));
  EXPECT_EQ(pool_->unmap(mapped, 0).error().code, Errc::kBadHandle);
  const Mapped again = MUST(pool_->map_to_device(pattern(100)));
  ASSERT_EQ(again.offset, mapped.offset);
  EXPECT_EQ(pool_->unmap(mapped, 0).error().code, Errc::kBadHandle);  // of the earlier life
  EXPECT_EQ(pool_->sync_for_device(mapped, 0, 1).error().code, Errc::kBadHandle);
  EXPECT_TRUE(pool_->unmap(again, 0));
  EXPECT_EQ(pool_->stats().bad_handles, 3U);
}

TEST_P(PoolTest, BelievesNoHandleThatItDidNotGive) {  // HD-27: range, alignment, length, kind
  const Mapped mapped = MUST(pool_->map_to_device(pattern(2 * kSlotBytes)));
  const auto coherent = MUST(pool_->allocate_coherent(100, kSlotBytes));
  const auto refused = [&](std::uint64_t offset, std::uint64_t bytes) {
    const Mapped forged{.offset = window::RegionOffset{offset}, .bytes = bytes, .generation = 1};
    const auto result = pool_->unmap(forged, 0);
    return !result && result.error().code == Errc::kBadHandle;
  };
  const std::uint64_t offset = std::to_underlying(mapped.offset);
  EXPECT_TRUE(refused(0, mapped.bytes));
  EXPECT_TRUE(refused(kRegionBytes, mapped.bytes));
  EXPECT_TRUE(refused(~std::uint64_t{0} - kSlotBytes + 1, mapped.bytes));
  EXPECT_TRUE(refused(offset + 1, mapped.bytes));
  EXPECT_TRUE(refused(offset + kSlotBytes, mapped.bytes));
  EXPECT_TRUE(refused(offset, mapped.bytes - 1));
  EXPECT_TRUE(refused(std::to_underlying(coherent.offset()), 100));
  EXPECT_TRUE(pool_->unmap(mapped, 0));
}

TEST_P(PoolTest, NeverGivesOutPageZero) {  // DMB-DR3
  std::vector<Mapped> all;
  for (std::uint64_t i = 0; i < kSlots; i++) {
    all.push_back(MUST(pool_->map_to_device(pattern(1))));
    EXPECT_GE(std::to_underlying(all.back().offset), kPageBytes);
  }
  for (const Mapped& mapped : all)
    EXPECT_TRUE(pool_->unmap(mapped, 0));
  EXPECT_EQ(Pool::create(mapping_.bytes(), {.first_usable = 0}).error().code, Errc::kTooSmall);
  EXPECT_EQ(Pool::create(mapping_.bytes(), {.first_usable = 5000}).error().code, Errc::kNotAligned);
}

TEST_P(PoolTest, FullIsBackPressureAndTooLargeIsFinal) {  // HD-30, DMB-DR4
  const std::vector<std::byte> most(pool_->max_mapping_bytes());
  ASSERT_EQ(most.size(), kSlots * kSlotBytes);
  const Mapped all = MUST(pool_->map_to_device(most));
  EXPECT_EQ(pool_->map_to_device(pattern(1)).error().code, Errc::kPoolFull);
  EXPECT_TRUE(pool_->unmap(all, 0));
  EXPECT_TRUE(pool_->unmap(MUST(pool_->map_to_device(pattern(1))), 0));
  const std::vector<std::byte> more(most.size() + 1);
  EXPECT_EQ(pool_->map_to_device(more).error().code, Errc::kTooLarge);
  EXPECT_EQ(pool_->allocate(4096, 1 << 20).error().code, Errc::kTooLarge);
  EXPECT_EQ(pool_->map_to_device({}).error().code, Errc::kBadLength);
  const Stats stats = pool_->stats();
  EXPECT_EQ(stats.full, 1U);
  EXPECT_EQ(stats.too_large, 2U);
}

TEST_P(PoolTest, MapsMoreThan256KiBInOnePiece) {  // unlike swiotlb, DT-8
  const auto memfd = MUST(shm::SealedMemfd::create({.size = 4 << 20}));
  const shm::Mapping mapping = MUST(memfd.map());
  const auto pool = MUST(Pool::create(mapping.bytes(), {.scrub = GetParam()}));
  const auto source = pattern(1 << 20);
  const Mapped mapped = MUST(pool->map_to_device(source));
  std::vector<std::byte> seen(source.size());
  mapping.bytes().copy_out(std::to_underlying(mapped.offset), seen);
  EXPECT_EQ(seen, source);
  EXPECT_TRUE(pool->unmap(mapped, 0));
}

TEST_P(PoolTest, InPlaceBufferIsTheRegionItself) {
  auto buffer = MUST(pool_->allocate(5000, kPageBytes));
  EXPECT_EQ(std::to_underlying(buffer.offset()) % kPageBytes, 0U);
  ASSERT_EQ(buffer.span().size(), 5000U);
  EXPECT_TRUE(all_zero(buffer.span()));
  const auto bytes = pattern(5000);
  std::ranges::copy(bytes, buffer.span().begin());
  std::vector<std::byte> seen(5000);
  device_.copy_out(std::to_underlying(buffer.offset()), seen);
  EXPECT_EQ(seen, bytes);
  EXPECT_EQ(pool_->stats().bytes_to_device, 0U);
  EXPECT_EQ(pool_->stats().used, 3U);
  buffer.reset();
  EXPECT_EQ(pool_->stats().used, 0U);
  EXPECT_EQ(pool_->allocate(1, 3).error().code, Errc::kNotPowerOfTwo);
}

TEST_P(PoolTest, PinsWhatLiesInOneLiveInPlaceBuffer) {
  auto first = MUST(pool_->allocate(3 * kSlotBytes));
  auto second = MUST(pool_->allocate(3 * kSlotBytes));
  const auto coherent = MUST(pool_->allocate_coherent(kSlotBytes, kSlotBytes));
  const Pinned pinned = MUST(pool_->pin(first.span().subspan(5000, 100)));
  EXPECT_EQ(std::to_underlying(pinned.offset), std::to_underlying(first.offset()) + 5000);
  ASSERT_EQ(first.span().data() + first.size(), second.span().data());
  const std::span<std::byte> both(first.span().data(), 4 * kSlotBytes);
  EXPECT_EQ(pool_->pin(both).error().code, Errc::kBadHandle);
  EXPECT_EQ(pool_->pin(coherent.bytes().in_place()).error().code, Errc::kBadHandle);
  EXPECT_EQ(pool_->pin(pattern(4)).error().code, Errc::kBadHandle);
  EXPECT_FALSE(pool_->contains(pattern(4)));
  EXPECT_TRUE(pool_->contains(both));
  EXPECT_TRUE(pool_->unpin(pinned));
  EXPECT_EQ(pool_->unpin(pinned).error().code, Errc::kBadHandle);
}

TEST_P(PoolTest, BufferReleasedInFlightLivesUntilItsLastPin) {
  auto buffer = MUST(pool_->allocate(kSlotBytes));
  const auto span = buffer.span();
  const Pinned first = MUST(pool_->pin(span));
  const Pinned second = MUST(pool_->pin(span.first(1)));
  buffer.reset();
  EXPECT_EQ(pool_->stats().used, 1U);
  EXPECT_EQ(pool_->pin(span).error().code, Errc::kBadHandle);
  EXPECT_TRUE(pool_->unpin(first));
  EXPECT_EQ(pool_->stats().used, 1U);
  EXPECT_TRUE(pool_->unpin(second));
  EXPECT_EQ(pool_->stats().used, 0U);
}

TEST_P(PoolTest, CoherentMemoryIsAlignedAndZero) {
  device_.copy_in(0, pattern(kRegionBytes, 77));
  const auto coherent = MUST(pool_->allocate_coherent(100, 8192));
  EXPECT_EQ(std::to_underlying(coherent.offset()) % 8192, 0U);
  std::vector<std::byte> seen(100);
  coherent.bytes().copy_out(0, seen);
  EXPECT_TRUE(all_zero(seen));
}

TEST_P(PoolTest, CountsWhatItDoes) {
  const auto pool = MUST(Pool::create(mapping_.bytes(), {.areas = 4, .scrub = GetParam()}));
  auto target = pattern(3000);
  const Mapped out = MUST(pool->map_to_device(target));
  const Mapped in = MUST(pool->map_from_device(target));
  EXPECT_TRUE(pool->unmap(out, 0));
  EXPECT_TRUE(pool->unmap(in, 17));
  const Stats stats = pool->stats();
  EXPECT_EQ(stats.nslabs, kSlots);
  EXPECT_EQ(stats.used, 0U);
  EXPECT_EQ(stats.high_water, 4U);
  EXPECT_EQ(stats.maps, 2U);
  EXPECT_EQ(stats.bytes_to_device, 3000U);
  EXPECT_EQ(stats.bytes_from_device, 17U);
}

TEST_P(PoolTest, AreasShareTheRegionWithoutOverlapAndSpillOver) {
  const auto pool = MUST(Pool::create(mapping_.bytes(), {.areas = 4, .scrub = GetParam()}));
  EXPECT_EQ(pool->max_mapping_bytes(), (kSlots - 18) * kSlotBytes);
  std::vector<std::uint64_t> offsets;
  std::vector<Mapped> all;
  for (std::uint64_t i = 0; i < kSlots; i++) {
    all.push_back(MUST(pool->map_to_device(pattern(1))));
    offsets.push_back(std::to_underlying(all.back().offset));
  }
  std::ranges::sort(offsets);
  for (std::uint64_t i = 0; i < kSlots; i++)
    EXPECT_EQ(offsets[i], kPageBytes + (i * kSlotBytes));
  for (const Mapped& mapped : all)
    EXPECT_TRUE(pool->unmap(mapped, 0));
  EXPECT_EQ(Pool::create(mapping_.bytes(), {.areas = 100}).error().code, Errc::kTooSmall);
}

TEST_P(PoolTest, AQueueMapsInAnAreaOfItsOwnFirst) {
  const auto pool = MUST(Pool::create(mapping_.bytes(), {.areas = 2, .scrub = GetParam()}));
  auto buffer = pattern(100);
  std::vector<Mapped> all {
    MUST(pool->map_to_device(buffer, 0))
    , MUST(pool->map_to_device(buffer, 1))
    , MUST(pool->map_from_device(buffer, 1))
    , MUST(pool->map_bidirectional(buffer, 3))
  };
  const auto offset = [&](std::size_t i) { return std::to_underlying(all[i].offset); };
  EXPECT_EQ(offset(0), kPageBytes);
  const std::uint64_t second = kPageBytes + (kSlots / 4 * kPageBytes);  // whole pages each
  EXPECT_EQ(offset(1), second);
  EXPECT_EQ(offset(2), second + kSlotBytes);
  EXPECT_EQ(offset(3), second + 2 * kSlotBytes);
  for (std::uint64_t i = 0; i < kSlots - 4; i++)
    all.push_back(MUST(pool->map_to_device(buffer, 1)));  // and then in what is left of the other
  EXPECT_EQ(offset(kSlots - 1), second - kSlotBytes);
  EXPECT_EQ(pool->map_to_device(buffer, 1).error().code, Errc::kPoolFull);
  for (const Mapped& mapped : all)
    EXPECT_TRUE(pool->unmap(mapped, 0));
}

TEST(Pool, ScrubsAtOnceIfSoAsked) {
  const auto memfd = MUST(shm::SealedMemfd::create({.size = kRegionBytes}));
  const shm::Mapping mapping = MUST(memfd.map());
  const auto pool = MUST(Pool::create(mapping.bytes(), {}));
  std::vector<std::byte> seen(kRegionBytes);
  auto target = pattern(5000);
  EXPECT_TRUE(pool->unmap(MUST(pool->map_to_device(pattern(5000))), 0));
  const Mapped in = MUST(pool->map_from_device(target));
  mapping.bytes().copy_in(std::to_underlying(in.offset), pattern(5000));
  EXPECT_TRUE(pool->unmap(in, 10));
  auto buffer = MUST(pool->allocate(5000));
  std::ranges::copy(target, buffer.span().begin());
  buffer.reset();
  mapping.bytes().copy_out(0, seen);
  EXPECT_TRUE(all_zero(seen));
}

TEST(Pool, BufferOutlivingItsPoolIsOurBugAndStops) {
  const auto memfd = MUST(shm::SealedMemfd::create({.size = kRegionBytes}));
  const shm::Mapping mapping = MUST(memfd.map());
  auto pool = MUST(Pool::create(mapping.bytes(), {}));
  const auto buffer = MUST(pool->allocate(1));
  EXPECT_DEATH(pool.reset(), "bug:");
}

// Parts of one region: each gives out its own, all of it, and pins what any gave out.
TEST_P(PoolTest, PartsDivideARegion) {
  pool_.reset();
  const std::vector<std::uint64_t> sizes{16384, 8192};
  auto parts = MUST(Pool::create_parts(mapping_.bytes(), sizes, GetParam()));
  std::vector<InPlaceBuffer> buffers;
  for (const auto& part : parts) {
    for (auto buffer = part->allocate(kSlotBytes); buffer; buffer = part->allocate(kSlotBytes))
      buffers.push_back(std::move(*buffer));
  }
  ASSERT_EQ(buffers.size(), (16384 + 8192) / kSlotBytes);
  std::vector<std::uint64_t> offsets;
  for (const InPlaceBuffer& buffer : buffers)
    offsets.push_back(std::to_underlying(buffer.offset()));
  std::ranges::sort(offsets);
  for (std::size_t i = 0; i < offsets.size(); i++)
    EXPECT_EQ(offsets[i], kPageBytes + i * kSlotBytes);
  for (const auto& part : parts) {
    for (const InPlaceBuffer& buffer : buffers) {
      const Pinned pinned = MUST(part->pin(buffer.span()));
      EXPECT_EQ(pinned.offset, buffer.offset());
      EXPECT_TRUE(part->unpin(pinned));
      EXPECT_EQ(part->unpin(pinned).error().code, Errc::kBadHandle) << "once";
    }
  }
  const auto behind = mapping_.bytes().in_place().subspan(kPageBytes + 16384 + 8192, 16);
  EXPECT_EQ(parts[0]->pin(behind).error().code, Errc::kBadHandle) << "nobody's";
  const auto both = mapping_.bytes().in_place().subspan(kPageBytes + 16384 - 8, 16);
  EXPECT_EQ(parts[0]->pin(both).error().code, Errc::kBadHandle) << "no one buffer";
}

// A handle of one part is none of another, whose slots it would free.
TEST_P(PoolTest, PartsTakeNoMappingsOfEachOther) {  // HD-27
  const std::vector<std::uint64_t> sizes{16384, 16384};
  auto parts = MUST(Pool::create_parts(mapping_.bytes(), sizes, GetParam()));
  const Mapped mapped = MUST(parts[0]->map_to_device(pattern(100)));
  EXPECT_EQ(parts[1]->unmap(mapped, 0).error().code, Errc::kBadHandle);
  EXPECT_TRUE(parts[0]->unmap(mapped, 0));
}

TEST_P(PoolTest, PartsThatAreNoneAreRefused) {
  const auto refusal = [&](std::vector<std::uint64_t> sizes) {
    return Pool::create_parts(mapping_.bytes(), sizes, GetParam()).error().code;
  };
  EXPECT_EQ(refusal({0}), Errc::kTooSmall);
  EXPECT_EQ(refusal({4096, 100}), Errc::kNotAligned);
  EXPECT_EQ(refusal({kRegionBytes}), Errc::kTooSmall);
  EXPECT_EQ(refusal({32768, 32768}), Errc::kTooSmall);
  EXPECT_EQ(refusal({4096, ~std::uint64_t{4095}}), Errc::kTooSmall);
  EXPECT_TRUE(Pool::create_parts(mapping_.bytes(), std::vector<std::uint64_t>{32768, 28672}));
}

}  // namespace
}  // namespace airlock::pool
