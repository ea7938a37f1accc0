// SPDX-License-Identifier: Apache-2.0
//
// Goal: a driver finds what an honest device has, and a lying one can neither hold it up nor lead
// it outside a BAR. Method: capability lists made by hand, each sound one beside its bad twins.
#include "pci/capabilities.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>

#include "pci/test_device.h"
#include "spec/virtio_pci.h"

namespace airlock::pci {
namespace {

constexpr BarSizes kBars = {0x4000, 0x1000, 0x100000, 0, 0x2'0000'0000, 0};

/// 256 bytes that a test writes as it likes.
class FakeSpace final : public ConfigReader {
 public:
  FakeSpace() { put(spec::PCI_STATUS, Le16(spec::PCI_STATUS_CAP_LIST)); }

  template <class T>
  void put(std::size_t offset, const T& value) {
    std::ranges::copy(std::as_bytes(std::span(&value, 1)),
                      bytes_.begin() + static_cast<std::ptrdiff_t>(offset));
  }
  /// Appends a capability and links it.
  template <class T>
  std::uint8_t add(T cap) {
    const std::uint8_t at = end_;
    put(at, cap);
    put(link_, at);
    put(at + 1U, std::uint8_t{0});
    link_ = at + 1U;
    end_ = static_cast<std::uint8_t>(end_ + sizeof cap);
    return at;
  }
  Result<void> read_config(std::uint16_t offset, std::span<std::byte> target) override {
    ++reads;
    CHECK(airlock_range_within(offset, target.size(), bytes_.size()));
    if (fail_at != 0 && reads >= fail_at) return fail(Errc::kPeerClosed);
    std::ranges::copy(std::span(bytes_).subspan(offset, target.size()), target.begin());
    return {};
  }

  unsigned reads = 0;
  unsigned fail_at = 0;

 private:
  std::array<std::byte, 256> bytes_{};
  std::size_t link_ = spec::PCI_CAPABILITY_LIST;
  std::uint8_t end_ = 0x40;
};

spec::VirtioPciCap vendor(std::uint8_t type, std::uint8_t bar, std::uint32_t offset,
                          std::uint32_t length) {
  return {.cap_vndr = spec::PCI_CAP_ID_VNDR,
          .cap_next = 0,
          .cap_len = sizeof(spec::VirtioPciCap),
          .cfg_type = type,
          .bar = bar,
          .id = 0,
          .padding = {},
          .offset = Le32(offset),
          .length = Le32(length)};
}

spec::VirtioPciNotifyCap notify(std::uint32_t multiplier, std::uint32_t offset = 0x3000) {
  spec::VirtioPciNotifyCap cap{};
  cap.cap = vendor(spec::VIRTIO_PCI_CAP_NOTIFY_CFG, 0, offset, 0x1000);
  cap.cap.cap_len = sizeof cap;
  cap.notify_off_multiplier.set(multiplier);
  return cap;
}

spec::VirtioPciCap64 shared(std::uint8_t id, std::uint8_t bar, std::uint64_t offset,
                            std::uint64_t length) {
  spec::VirtioPciCap64 cap{};
  cap.cap = vendor(spec::VIRTIO_PCI_CAP_SHARED_MEMORY_CFG, bar, static_cast<std::uint32_t>(offset),
                   static_cast<std::uint32_t>(length));
  cap.cap.cap_len = sizeof cap;
  cap.cap.id = id;
  cap.offset_hi.set(static_cast<std::uint32_t>(offset >> 32));
  cap.length_hi.set(static_cast<std::uint32_t>(length >> 32));
  return cap;
}

/// What a list of one capability gives.
template <class T>
VirtioPciCapabilities walk_one(const T& cap) {
  FakeSpace space;
  space.add(cap);
  return MUST(find_capabilities(space, kBars));
}

// VIRTIO 1.3, 4.1.4.
TEST(Capabilities, FindsWhatOurOwnDeviceShows) {
  TestDevice bus;
  const auto found = MUST(find_capabilities(bus, bus.bar_sizes()));
  ASSERT_TRUE(found.is_complete());
  EXPECT_EQ(*found.common, (BarRange{.bar = 0, .offset = 0, .length = 64}));
  EXPECT_EQ(*found.notify, (BarRange{.bar = 0, .offset = 0x3000, .length = 0x1000}));
  EXPECT_EQ(found.notify_off_multiplier, 4U);
  EXPECT_EQ(*found.isr, (BarRange{.bar = 0, .offset = 0x1000, .length = 1}));
  EXPECT_EQ(*found.device, (BarRange{.bar = 0, .offset = 0x2000, .length = 60}));
  EXPECT_TRUE(found.pci_cfg);
  EXPECT_EQ(*found.swiotlb, (BarRange{.bar = 2, .offset = 0, .length = TestDevice::kRegionSize}));
  EXPECT_TRUE(found.shared_memory.empty());
  ASSERT_TRUE(found.msix);
  EXPECT_EQ(found.msix->vectors, 3);
  EXPECT_EQ(found.msix->table, (BarRange{.bar = 1, .offset = 0, .length = 48}));
  EXPECT_EQ(found.unusable, 0U);

  TestDevice offset({.negotiation = {.offer = AddressOffer::kOffset}});
  const auto dmb = MUST(find_capabilities(offset, offset.bar_sizes()));
  EXPECT_FALSE(dmb.swiotlb);
  EXPECT_EQ(dmb.find_region(128),
            (BarRange{.bar = 2, .offset = 0, .length = TestDevice::kRegionSize}));
  EXPECT_EQ(dmb.find_region(0), std::nullopt);
}

TEST(Capabilities, NoListNoCapabilities) {
  FakeSpace space;
  space.add(vendor(spec::VIRTIO_PCI_CAP_ISR_CFG, 0, 0, 1));
  space.put(spec::PCI_STATUS, Le16(0));
  const auto found = MUST(find_capabilities(space, kBars));
  EXPECT_FALSE(found.isr);
  EXPECT_FALSE(found.is_complete());
}

// HD-15: a list that bites its tail ends, and is no list to go by.
TEST(Capabilities, ALoopIsMalformed) {
  FakeSpace space;
  const std::uint8_t first = space.add(vendor(spec::VIRTIO_PCI_CAP_ISR_CFG, 0, 0x1000, 1));
  const std::uint8_t second = space.add(vendor(spec::VIRTIO_PCI_CAP_ISR_CFG, 0, 0x1000, 1));
  ASSERT_TRUE(find_capabilities(space, kBars));
  for (const std::uint8_t target : {first, second}) {
    space.put(second + 1U, target);
    const auto found = find_capabilities(space, kBars);
    ASSERT_FALSE(found);
    EXPECT_EQ(found.error().code, Errc::kMalformed);
    EXPECT_EQ(found.error().detail, target);
  }
  // The low two bits of a link are to be masked: no other place. PCI 3.0, 6.7.
  space.put(second + 1U, std::uint8_t{0});
  space.put(first + 1U, static_cast<std::uint8_t>(second | 3));
  space.put(first + 3U, std::uint8_t{99});
  EXPECT_TRUE(MUST(find_capabilities(space, kBars)).isr);
  space.put(second + 1U, static_cast<std::uint8_t>(first | 3));
  EXPECT_EQ(find_capabilities(space, kBars).error().code, Errc::kMalformed);
}

// HD-15: at most 48 steps, whatever is linked.
TEST(Capabilities, TheLongestListThatFitsIsWalkedWhole) {
  FakeSpace space;
  space.put(spec::PCI_CAPABILITY_LIST, std::uint8_t{0x40});
  for (unsigned at = 0x40; at < 0x100; at += 4) {
    space.put(at, std::uint8_t{0x01});
    space.put(at + 1, static_cast<std::uint8_t>(at + 4));  // the last links to 0
  }
  ASSERT_TRUE(find_capabilities(space, kBars));
  EXPECT_LE(space.reads, 2 + kCapabilitySteps);
}

TEST(Capabilities, LinksIntoTheHeaderAndGoneDevicesEndTheList) {
  FakeSpace header;
  header.put(spec::PCI_CAPABILITY_LIST, std::uint8_t{0x10});
  EXPECT_FALSE(MUST(find_capabilities(header, kBars)).is_complete());
  FakeSpace gone;
  gone.put(spec::PCI_CAPABILITY_LIST, std::uint8_t{0xfc});
  gone.put(0xfc, Le32(0xffffffff));
  EXPECT_FALSE(MUST(find_capabilities(gone, kBars)).is_complete());
}

TEST(Capabilities, ReadErrorsAreTheCallers) {
  TestDevice device;
  FakeSpace space;
  space.add(vendor(spec::VIRTIO_PCI_CAP_ISR_CFG, 0, 0x1000, 1));
  space.add(notify(4));
  space.add(shared(1, 2, 0, 0x1000));
  ASSERT_TRUE(find_capabilities(space, kBars));
  const unsigned all = space.reads;
  for (unsigned at = 1; at <= all; ++at) {
    space.reads = 0;
    space.fail_at = at;
    const auto found = find_capabilities(space, kBars);
    ASSERT_FALSE(found) << at;
    EXPECT_EQ(found.error().code, Errc::kPeerClosed);
  }
}

// PCI-D2, HD-15: overflow-safe containment in the BAR that the platform sized.
TEST(Capabilities, TheRegionLiesInsideAMemoryBar) {
  const auto region = [](std::uint8_t bar, std::uint32_t offset, std::uint32_t length) {
    return walk_one(vendor(spec::VIRTIO_PCI_CAP_SWIOTLB, bar, offset, length)).swiotlb.has_value();
  };
  EXPECT_TRUE(region(2, 0, 0x100000));
  EXPECT_TRUE(region(2, 0xff000, 0x1000));
  EXPECT_FALSE(region(2, 0, 0x101000));
  EXPECT_FALSE(region(2, 0x100000, 0x1000));
  EXPECT_FALSE(region(2, 0xfffff000, 0x2000));
  EXPECT_FALSE(region(2, 0, 0));
  EXPECT_FALSE(region(3, 0, 0x1000));  // no such BAR
  EXPECT_FALSE(region(6, 0, 0x1000));  // reserved
  EXPECT_FALSE(region(255, 0, 0x1000));
  // DEF-4: whole pages.
  EXPECT_FALSE(region(2, 0x800, 0x1000));
  EXPECT_FALSE(region(2, 0, 0x1800));
}

TEST(Capabilities, CountsWhatItPassesOver) {
  EXPECT_EQ(walk_one(vendor(spec::VIRTIO_PCI_CAP_SWIOTLB, 6, 0, 0x1000)).unusable, 1U);
  EXPECT_EQ(walk_one(vendor(spec::VIRTIO_PCI_CAP_SWIOTLB, 2, 0, 0x1000)).unusable, 0U);
}

// BASE-1: reserved types are ignored, the first usable one of a type counts, more length is fine.
TEST(Capabilities, TakesTheFirstUsableOfAType) {
  FakeSpace space;
  space.add(vendor(99, 2, 0, 0x1000));
  space.add(vendor(spec::VIRTIO_PCI_CAP_SWIOTLB, 7, 0, 0x1000));
  space.add(vendor(spec::VIRTIO_PCI_CAP_SWIOTLB, 2, 0x1000, 0x2000));
  space.add(vendor(spec::VIRTIO_PCI_CAP_SWIOTLB, 2, 0x8000, 0x2000));
  const auto found = MUST(find_capabilities(space, kBars));
  EXPECT_EQ(found.swiotlb, (BarRange{.bar = 2, .offset = 0x1000, .length = 0x2000}));
  EXPECT_EQ(found.unusable, 1U);
}

TEST(Capabilities, CapLenMayBeLargerButNotSmallerNorPastTheEnd) {
  spec::VirtioPciCap cap = vendor(spec::VIRTIO_PCI_CAP_ISR_CFG, 0, 0x1000, 1);
  cap.cap_len = 32;
  EXPECT_TRUE(walk_one(cap).isr);
  cap.cap_len = 15;
  EXPECT_FALSE(walk_one(cap).isr);
  cap.cap_len = 0;
  EXPECT_FALSE(walk_one(cap).isr);
  cap.cap_len = 0xc1;  // 0x40 + 0xc1 is 257
  EXPECT_FALSE(walk_one(cap).isr);
  cap.cap_len = 0xc0;
  EXPECT_TRUE(walk_one(cap).isr);
  // Too near the end for the struct itself.
  FakeSpace space;
  space.put(spec::PCI_CAPABILITY_LIST, std::uint8_t{0xf4});
  space.put(0xf4, std::uint8_t{spec::PCI_CAP_ID_VNDR});
  EXPECT_EQ(MUST(find_capabilities(space, kBars)).unusable, 1U);
  FakeSpace msix;
  msix.put(spec::PCI_CAPABILITY_LIST, std::uint8_t{0xf8});
  msix.put(0xf8, std::uint8_t{spec::PCI_CAP_ID_MSIX});
  EXPECT_EQ(MUST(find_capabilities(msix, kBars)).unusable, 1U);
}

// VIRTIO 1.3, 4.1.4.3.1: aligned, and as long as its registers.
TEST(Capabilities, CommonConfigurationIsLongEnoughAndAligned) {
  const auto common = [](std::uint32_t offset, std::uint32_t length) {
    return walk_one(vendor(spec::VIRTIO_PCI_CAP_COMMON_CFG, 0, offset, length)).common.has_value();
  };
  EXPECT_TRUE(common(0, 56));
  EXPECT_FALSE(common(0, 55));
  EXPECT_FALSE(common(2, 64));
  EXPECT_FALSE(common(0x3ff0, 64));
}

// VIRTIO 1.3, 4.1.4.4, 4.1.4.4.1.
TEST(Capabilities, NotifyMultiplierIsAnEvenPowerOfTwoOrZero) {
  for (const std::uint32_t good : {0U, 2U, 4U, 4096U, 0x80000000U}) {
    EXPECT_TRUE(walk_one(notify(good)).notify) << good;
    EXPECT_EQ(walk_one(notify(good)).notify_off_multiplier, good);
  }
  for (const std::uint32_t bad : {1U, 3U, 6U, 0xffffffffU}) {
    EXPECT_FALSE(walk_one(notify(bad)).notify) << bad;
  }
  EXPECT_FALSE(walk_one(notify(4, 0x2fff)).notify);
  spec::VirtioPciNotifyCap short_one = notify(4);
  short_one.cap.cap_len = 16;
  EXPECT_FALSE(walk_one(short_one).notify);
}

// BASE-8, DMB-D4; VIRTIO 1.3, 4.1.4.7: 64 bits of each, by id.
TEST(Capabilities, SharedMemoryHas64Bits) {
  FakeSpace space;
  space.add(shared(5, 4, 0x1'0000'0000, 0x1'0000'0000));
  space.add(shared(5, 2, 0, 0x1000));  // a second of an id does not count
  space.add(shared(6, 4, 0x1'0000'1000, 0x1'0000'0000));
  space.add(shared(7, 2, 0, 0x800));
  const auto found = MUST(find_capabilities(space, kBars));
  EXPECT_EQ(found.find_region(5),
            (BarRange{.bar = 4, .offset = 0x1'0000'0000, .length = 0x1'0000'0000}));
  EXPECT_EQ(found.find_region(6), std::nullopt);
  EXPECT_EQ(found.find_region(7), std::nullopt);  // shared memory, but no region: not whole pages
  EXPECT_EQ(found.shared_memory.size(), 2U);
  spec::VirtioPciCap64 wraps = shared(8, 4, ~std::uint64_t{0xfff}, 0x2000);
  EXPECT_FALSE(walk_one(wraps).find_region(8));
  spec::VirtioPciCap64 plain = shared(9, 2, 0, 0x1000);
  plain.cap.cap_len = 16;
  EXPECT_FALSE(walk_one(plain).find_region(9));
}

TEST(Capabilities, MsixTableLiesInsideItsBar) {
  const auto msix = [](std::uint16_t control, std::uint32_t table) {
    return walk_one(spec::PciMsixCap{.cap_id = spec::PCI_CAP_ID_MSIX,
                                     .next = 0,
                                     .message_control = Le16(control),
                                     .table = Le32(table),
                                     .pba = Le32(1)})
        .msix;
  };
  ASSERT_TRUE(msix(255, 1));
  EXPECT_EQ(msix(255, 1)->vectors, 256);
  EXPECT_EQ(msix(0xc000, 1)->vectors, 1);
  EXPECT_FALSE(msix(256, 1));
  EXPECT_FALSE(msix(0, 0x1000 | 1));
  EXPECT_FALSE(msix(0, 7));
}

}  // namespace
}  // namespace airlock::pci
