// SPDX-License-Identifier: Apache-2.0
//
// Goal: nothing outside the region is reachable, whatever number a driver writes. Method: each way
// to be outside, beside its accepted twin, in both address modes.
#include "window/window.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>

#include "shm/sealed_memfd.h"

namespace airlock::window {
namespace {

constexpr std::uint64_t kRegionSize = 16384;
constexpr std::uint64_t kBase = 0x100000000;

class WindowTest : public testing::Test {
 protected:
  [[nodiscard]] bool reaches(std::uint64_t address, std::uint64_t length) const {
    return window_.translate(DriverAddress{address}, length, Access::kWrite).has_value();
  }

  shm::SealedMemfd memfd_ = MUST(shm::SealedMemfd::create({.size = kRegionSize}));
  shm::Mapping mapping_ = MUST(memfd_.map());
  Window window_{mapping_.bytes()};
};

// GEN-DR2, DEF-5: bus addresses inside the region, and no others.
TEST_F(WindowTest, BusModeReachesTheRegionOnly) {
  window_.configure(AddressMode::kBus, Reach::kRegion);
  window_.set_region_bus_base(BusAddress{kBase});
  EXPECT_TRUE(reaches(kBase, kRegionSize));
  EXPECT_TRUE(reaches(kBase + kRegionSize - 1, 1));
  EXPECT_FALSE(reaches(kBase - 1, 2));
  EXPECT_FALSE(reaches(kBase, kRegionSize + 1));
  EXPECT_FALSE(reaches(kBase + kRegionSize, 1));
  EXPECT_FALSE(reaches(kBase, 0));
  EXPECT_FALSE(reaches(0x1000, 16));
  EXPECT_FALSE(reaches(kBase + 16, std::numeric_limits<std::uint64_t>::max() - 8));
}

// DMB-D6, DMB-D7, DMB-DR3: offsets, contained, and never 0.
TEST_F(WindowTest, OffsetModeReachesTheRegionOnly) {
  window_.configure(AddressMode::kOffset, Reach::kRegion);
  window_.set_region_bus_base(BusAddress{kBase});
  EXPECT_TRUE(reaches(16, kRegionSize - 16));
  EXPECT_FALSE(reaches(0, 16));
  EXPECT_FALSE(reaches(16, kRegionSize - 15));
  EXPECT_FALSE(reaches(kBase + 16, 16));
  EXPECT_FALSE(reaches(std::numeric_limits<std::uint64_t>::max(), 2));
}

// What was let through is known by its lowest and highest byte; what was refused is not in it.
TEST_F(WindowTest, KnowsTheExtentOfWhatItLetThrough) {
  window_.configure(AddressMode::kBus, Reach::kRegion);
  window_.set_region_bus_base(BusAddress{kBase});
  EXPECT_EQ(window_.touched().end, 0U);
  EXPECT_TRUE(reaches(kBase + 4096, 64));
  EXPECT_TRUE(reaches(kBase + 1024, 64));
  EXPECT_TRUE(reaches(kBase + 2048, 64));
  EXPECT_FALSE(reaches(0x1000, 16));
  EXPECT_FALSE(reaches(kBase + kRegionSize, 1));
  EXPECT_EQ(window_.touched().first, kBase + 1024);
  EXPECT_EQ(window_.touched().end, kBase + 4096 + 64);
  window_.configure(AddressMode::kBus, Reach::kNothing);
  EXPECT_EQ(window_.touched().end, kBase + 4096 + 64);
  window_.configure(AddressMode::kOffset, Reach::kRegion);
  EXPECT_EQ(window_.touched().mode, AddressMode::kOffset);
  EXPECT_EQ(window_.touched().end, 0U);
}

TEST_F(WindowTest, SpanIsTheMemoryThatTheAddressNames) {
  window_.configure(AddressMode::kOffset, Reach::kRegion);
  mapping_.bytes().store_relaxed<std::uint32_t>(4096, 7);
  const SharedSpan span = MUST(window_.translate(DriverAddress{4096}, 8, Access::kRead));
  EXPECT_EQ(span.size(), 8U);
  EXPECT_EQ(span.load_relaxed<std::uint32_t>(0), 7U);
}

TEST_F(WindowTest, NothingIsReachableBeforeNegotiation) {
  window_.set_region_bus_base(BusAddress{kBase});
  EXPECT_FALSE(reaches(kBase, 16));
}

// SYS-2, DMB-D10: a BAR that moves breaks bus addresses detectably; offsets survive.
TEST_F(WindowTest, MovedRegionBreaksBusAddressesAndSparesOffsets) {
  window_.configure(AddressMode::kBus, Reach::kRegion);
  EXPECT_FALSE(reaches(kBase, 16));
  EXPECT_FALSE(reaches(std::to_underlying(Window::kUnplaced), 1));
  window_.set_region_bus_base(BusAddress{kBase});
  EXPECT_TRUE(reaches(kBase, 16));
  window_.set_region_bus_base(BusAddress{kBase + kRegionSize});
  EXPECT_FALSE(reaches(kBase, 16));
  window_.configure(AddressMode::kOffset, Reach::kRegion);
  EXPECT_TRUE(reaches(4096, 16));
}

// DEF-8: what was shared is out of reach once the region was accepted.
TEST_F(WindowTest, GuestMemoryIsReachableOnlyWhereAllowed) {
  const shm::SealedMemfd guest = MUST(shm::SealedMemfd::create({.size = 8192}));
  ASSERT_TRUE(
      window_.guest_memory().map({.address = BusAddress{0x1000}, .size = 8192}, guest.fd()));
  window_.configure(AddressMode::kBus, Reach::kRegion);
  EXPECT_FALSE(reaches(0x1000, 8192));
  window_.configure(AddressMode::kBus, Reach::kRegionAndGuest);
  EXPECT_TRUE(reaches(0x1000, 8192));
  EXPECT_FALSE(reaches(0x1000, 8193));
  EXPECT_FALSE(reaches(0xfff, 2));
  EXPECT_EQ(window_.guest_memory().mapped_bytes(), 8192U);
  EXPECT_EQ(window_.guest_memory().unmap(BusAddress{0x1000}, 4096).error().code, Errc::kBadHandle);
  EXPECT_TRUE(window_.guest_memory().unmap(BusAddress{0x10000}, 4096));
  ASSERT_TRUE(window_.guest_memory().unmap(BusAddress{0x1000}, 8192));
  EXPECT_FALSE(reaches(0x1000, 16));
}

TEST_F(WindowTest, ReadOnlyGuestMemoryIsNeverHandedOutForWriting) {
  const shm::SealedMemfd guest = MUST(shm::SealedMemfd::create({.size = 4096}));
  ASSERT_TRUE(window_.guest_memory().map(
      {.address = BusAddress{0x1000}, .size = 4096, .protection = shm::Protection::kRead},
      guest.fd()));
  window_.configure(AddressMode::kBus, Reach::kRegionAndGuest);
  EXPECT_TRUE(window_.translate(DriverAddress{0x1000}, 16, Access::kRead));
  EXPECT_EQ(window_.translate(DriverAddress{0x1000}, 16, Access::kWrite).error().code,
            Errc::kAddressOutside);
}

TEST_F(WindowTest, GuestRangesMayNotOverlapWrapOrExceedTheirFile) {
  const shm::SealedMemfd guest = MUST(shm::SealedMemfd::create({.size = 8192}));
  GuestMemory& memory = window_.guest_memory();
  ASSERT_TRUE(memory.map({.address = BusAddress{0x1000}, .size = 4096}, guest.fd()));
  const auto refused = [&](std::uint64_t address, std::uint64_t size, std::uint64_t file_offset) {
    return memory
        .map({.address = BusAddress{address}, .size = size, .file_offset = file_offset}, guest.fd())
        .error()
        .code;
  };
  EXPECT_EQ(refused(0x1fff, 4096, 0), Errc::kOutOfRange);
  EXPECT_EQ(refused(0, 0, 0), Errc::kOutOfRange);
  EXPECT_EQ(refused(~std::uint64_t{0}, 4096, 0), Errc::kOutOfRange);
  EXPECT_EQ(refused(0x10000, 8192, 4096), Errc::kWrongSize);
  EXPECT_EQ(memory.count(), 1U);
}

// SYS-6: behind an IOMMU a VMM shares page by page, and a buffer lies on several, wherever these
// are in the file.
TEST_F(WindowTest, GuestRangesThatFollowEachOtherAreOneMemory) {
  constexpr std::uint64_t kPage = 4096;
  const shm::SealedMemfd guest = MUST(shm::SealedMemfd::create({.size = 4 * kPage}));
  GuestMemory& memory = window_.guest_memory();
  const auto map = [&](std::uint64_t address, std::uint64_t file_page) {
    return memory.map(
        {.address = BusAddress{address}, .size = kPage, .file_offset = file_page * kPage},
        guest.fd());
  };
  window_.configure(AddressMode::kBus, Reach::kRegionAndGuest);
  ASSERT_TRUE(map(0xffffe000, 3));
  ASSERT_TRUE(map(0xffffc000, 0));
  EXPECT_FALSE(reaches(0xffffc800, 2 * kPage));  // a gap
  ASSERT_TRUE(map(0xffffd000, 2));
  ASSERT_TRUE(reaches(0xffffc800, 2 * kPage));
  EXPECT_FALSE(reaches(0xffffc800, 2 * kPage + 0x801));

  const auto span = MUST(window_.translate(DriverAddress{0xffffcffe}, 4, Access::kWrite));
  span.put<std::uint32_t>(0, 0x44332211);
  const shm::Mapping file = MUST(guest.map());
  EXPECT_EQ(file.bytes().snapshot<std::uint16_t>(kPage - 2), 0x2211);
  EXPECT_EQ(file.bytes().snapshot<std::uint16_t>(2 * kPage), 0x4433);
  EXPECT_EQ(file.bytes().snapshot<std::uint16_t>(kPage), 0);

  ASSERT_TRUE(memory.unmap(BusAddress{0xffffd000}, kPage));
  EXPECT_FALSE(reaches(0xffffcffe, 4));
  EXPECT_TRUE(reaches(0xffffc000, kPage));
  EXPECT_TRUE(reaches(0xffffe000, kPage));
  EXPECT_EQ(memory.mapped_bytes(), 2 * kPage);
  ASSERT_TRUE(map(0xffffd000, 1));
  EXPECT_TRUE(reaches(0xffffc000, 3 * kPage));
  memory.clear();
  EXPECT_FALSE(reaches(0xffffc000, 1));
  EXPECT_EQ(memory.mapped_bytes(), 0U);
}

TEST_F(WindowTest, GuestRangesAreJoinedForWritingOnlyWhereAllMayBeWritten) {
  const shm::SealedMemfd guest = MUST(shm::SealedMemfd::create({.size = 8192}));
  GuestMemory& memory = window_.guest_memory();
  ASSERT_TRUE(memory.map({.address = BusAddress{0x1000}, .size = 4096}, guest.fd()));
  ASSERT_TRUE(memory.map({.address = BusAddress{0x2000},
                          .size = 4096,
                          .file_offset = 4096,
                          .protection = shm::Protection::kRead},
                         guest.fd()));
  window_.configure(AddressMode::kBus, Reach::kRegionAndGuest);
  EXPECT_TRUE(window_.translate(DriverAddress{0x1000}, 8192, Access::kRead));
  EXPECT_FALSE(window_.translate(DriverAddress{0x1000}, 8192, Access::kWrite));
  EXPECT_TRUE(window_.translate(DriverAddress{0x1000}, 4096, Access::kWrite));
}

// Each block of addresses is a place of its own, and there are so many; a range that leaves its
// block, and one in a block too many, are reached alone.
TEST_F(WindowTest, GuestRangesAreJoinedWithinABlockOnly) {
  constexpr std::uint64_t kBlock = GuestMemory::kBlockBytes;
  const shm::SealedMemfd guest = MUST(shm::SealedMemfd::create({.size = 8192}));
  GuestMemory& memory = window_.guest_memory();
  const auto map = [&](std::uint64_t address, std::uint64_t size) {
    return memory.map({.address = BusAddress{address}, .size = size}, guest.fd());
  };
  window_.configure(AddressMode::kBus, Reach::kRegionAndGuest);
  ASSERT_TRUE(map(kBlock - 4096, 4096));
  ASSERT_TRUE(map(kBlock, 4096));
  EXPECT_TRUE(reaches(kBlock - 4096, 4096));
  EXPECT_TRUE(reaches(kBlock, 4096));
  EXPECT_FALSE(reaches(kBlock - 4096, 8192));
  ASSERT_TRUE(map(2 * kBlock - 4096, 8192));
  EXPECT_TRUE(reaches(2 * kBlock - 4096, 8192));
  for (std::uint64_t block = 2; block <= GuestMemory::kBlocksMax; ++block) {
    ASSERT_TRUE(map(block * kBlock + 0x10000, 4096));
    ASSERT_TRUE(map(block * kBlock + 0x11000, 4096));
    EXPECT_EQ(reaches(block * kBlock + 0x10000, 8192), block < GuestMemory::kBlocksMax);
    EXPECT_TRUE(reaches(block * kBlock + 0x11000, 4096));
  }
  EXPECT_TRUE(memory.unmap(BusAddress{0}, ~std::uint64_t{0}));
  EXPECT_EQ(memory.count(), 0U);
}

// What can't be mapped leaves its place to the next, and its neighbours as they were.
TEST_F(WindowTest, AGuestRangeThatCannotBeMappedChangesNothing) {
  const shm::SealedMemfd guest = MUST(shm::SealedMemfd::create({.size = 8192}));
  const std::string path = fmt::format("/proc/self/fd/{}", guest.fd().get());
  const Fd read_only(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  ASSERT_TRUE(read_only);
  GuestMemory& memory = window_.guest_memory();
  window_.configure(AddressMode::kBus, Reach::kRegionAndGuest);
  ASSERT_TRUE(memory.map({.address = BusAddress{0x1000}, .size = 4096}, guest.fd()));
  const GuestMemory::Range next{.address = BusAddress{0x2000}, .size = 4096, .file_offset = 4096};
  EXPECT_EQ(memory.map(next, read_only).error().code, Errc::kSystem);
  EXPECT_EQ(memory.mapped_bytes(), 4096U);
  EXPECT_TRUE(reaches(0x1000, 4096));
  EXPECT_FALSE(reaches(0x1000, 8192));
  ASSERT_TRUE(memory.map(next, guest.fd()));
  EXPECT_TRUE(reaches(0x1000, 8192));
}

// Of these, unmapping takes all or none: VFIO_USER_DMA_UNMAP may name several whole ranges.
TEST_F(WindowTest, UnmappingSeveralGuestRangesCutsNone) {
  const shm::SealedMemfd guest = MUST(shm::SealedMemfd::create({.size = 8192}));
  GuestMemory& memory = window_.guest_memory();
  for (const std::uint64_t address : {0x10000U, 0x12000U, 0x14000U}) {
    ASSERT_TRUE(memory.map({.address = BusAddress{address}, .size = 8192}, guest.fd()));
  }
  const auto refused = [&](std::uint64_t address, std::uint64_t size) {
    return memory.unmap(BusAddress{address}, size).error().code == Errc::kBadHandle;
  };
  EXPECT_TRUE(refused(0x11000, 0x3000));
  EXPECT_TRUE(refused(0x10000, 0x3000));
  EXPECT_TRUE(refused(0x13000, 4096));
  EXPECT_EQ(memory.count(), 3U);
  ASSERT_TRUE(memory.unmap(BusAddress{0x10000}, 0x4000));
  EXPECT_EQ(memory.count(), 1U);
  ASSERT_TRUE(memory.unmap(BusAddress{0}, ~std::uint64_t{0}));
  EXPECT_EQ(memory.mapped_bytes(), 0U);
}

}  // namespace
}  // namespace airlock::window
