// SPDX-License-Identifier: Apache-2.0
//
// Goal: what a VMM and a guest do in configuration space works, and can be undone. Method: QEMU's
// accesses in its order (VFIO_USER 2.2), a BAR that moves (SYS-2), and the window to the BARs
// through configuration space (VIRTIO 1.3, 4.1.4.9).
#include <gtest/gtest.h>

#include <algorithm>
#include <array>

#include "pci/test_device.h"

namespace airlock::pci {
namespace {

constexpr std::uint64_t kFeatures =
    spec::feature(spec::VIRTIO_F_VERSION_1) | spec::feature(spec::VIRTIO_F_ACCESS_PLATFORM);
constexpr std::uint64_t kBus = kFeatures | spec::feature(spec::VIRTIO_F_SWIOTLB);
constexpr std::uint64_t kDmb = kFeatures | spec::feature(spec::VIRTIO_F_DMB);
constexpr std::uint64_t kElsewhere = 0x9'0000'0000;

using Space = std::array<std::uint8_t, 256>;

Space dump(TestDevice& device) {
  return device.read<Space>(kConfigRegion, 0);
}

/// Offset of the first capability that `matches` (id, cfg_type), 0 if none.
std::uint8_t find(const Space& space, std::uint8_t id, std::uint8_t cfg_type = 0) {
  for (std::uint8_t at = space[spec::PCI_CAPABILITY_LIST]; at != 0; at = space[at + 1U]) {
    if (space[at] == id && (cfg_type == 0 || space[at + 3U] == cfg_type)) return at;
  }
  return 0;
}

// VIRTIO 1.3, 4.1.2, 4.1.2.1: what tells a driver that this is a modern block device, and no other.
TEST(Identity, IsThatOfAModernDevice) {
  TestDevice device;
  const auto word = [&](std::uint16_t at) { return device.read<std::uint16_t>(kConfigRegion, at); };
  EXPECT_EQ(word(spec::PCI_VENDOR_ID), spec::VIRTIO_PCI_VENDOR_ID);
  EXPECT_EQ(word(spec::PCI_DEVICE_ID), 0x1040 + spec::VIRTIO_ID_BLOCK);
  EXPECT_GE(device.read<std::uint8_t>(kConfigRegion, spec::PCI_REVISION_ID), 1);
  EXPECT_GE(word(spec::PCI_SUBSYSTEM_ID), 0x40);
}

// VFIO_USER 2.2, in the order that QEMU 11.1 was seen to use.
TEST(QemuSequence, StartsUpResetsAndSizes) {
  TestDevice device;
  const Space space = dump(device);
  EXPECT_EQ(space[spec::PCI_VENDOR_ID], 0xf4);
  EXPECT_EQ(space[spec::PCI_VENDOR_ID + 1], 0x1a);
  EXPECT_EQ(space[spec::PCI_DEVICE_ID], 0x42);
  EXPECT_EQ(space[spec::PCI_DEVICE_ID + 1], 0x10);
  EXPECT_GE(space[spec::PCI_REVISION_ID], 1);
  EXPECT_EQ(space[spec::PCI_CLASS_PROG + 2], 0x01);
  EXPECT_NE(space[spec::PCI_STATUS] & spec::PCI_STATUS_CAP_LIST, 0);

  // ROM sizing.
  const auto rom = device.read<std::uint32_t>(kConfigRegion, spec::PCI_ROM_ADDRESS);
  device.write<std::uint32_t>(kConfigRegion, spec::PCI_ROM_ADDRESS, 0xfffff800);
  EXPECT_EQ(device.read<std::uint32_t>(kConfigRegion, spec::PCI_ROM_ADDRESS), 0U);
  device.write<std::uint32_t>(kConfigRegion, spec::PCI_ROM_ADDRESS, rom);
  // Type bits of the BARs that have a size.
  EXPECT_EQ(device.read<std::uint32_t>(kConfigRegion, 0x10), 0U);
  EXPECT_EQ(device.read<std::uint32_t>(kConfigRegion, 0x14), 0U);
  EXPECT_EQ(device.read<std::uint32_t>(kConfigRegion, 0x18), 0x0cU);
  EXPECT_EQ(device.read<std::uint32_t>(kConfigRegion, 0x1c), 0U);
  // MSI-X: control, table, pending bits.
  const std::uint8_t msix = find(space, spec::PCI_CAP_ID_MSIX);
  ASSERT_NE(msix, 0);
  EXPECT_EQ(device.read<std::uint16_t>(kConfigRegion, msix + 2U), 2);
  EXPECT_EQ(device.read<std::uint32_t>(kConfigRegion, msix + 4U), kMsixBar);
  EXPECT_EQ(device.read<std::uint32_t>(kConfigRegion, msix + 8U), 0x30U | kMsixBar);
  EXPECT_EQ(device.read<std::uint8_t>(kConfigRegion, spec::PCI_INTERRUPT_PIN), 0);

  // Machine reset.
  const auto command = device.read<std::uint16_t>(kConfigRegion, spec::PCI_COMMAND);
  device.write<std::uint16_t>(kConfigRegion, spec::PCI_COMMAND, command & 0xfff8U);
  bool done = false;
  device.device->reset([&] { done = true; });
  EXPECT_TRUE(done);
  for (std::uint16_t bar = 0x10; bar < 0x28; bar += 4) {
    device.write<std::uint32_t>(kConfigRegion, bar, 0);
  }
  EXPECT_EQ(dump(device), space);

  // Firmware sizes with decoding off, places, and turns it on with its 0x103.
  device.write<std::uint32_t>(kConfigRegion, 0x18, 0xffffffff);
  device.write<std::uint32_t>(kConfigRegion, 0x1c, 0xffffffff);
  const std::uint64_t mask = device.read<std::uint64_t>(kConfigRegion, 0x18) & ~std::uint64_t{0xf};
  EXPECT_EQ(~mask + 1, TestDevice::kRegionSize);
  device.write<std::uint32_t>(kConfigRegion, 0x18, 0xe0000000);
  device.write<std::uint32_t>(kConfigRegion, 0x1c, 0);
  EXPECT_EQ(device.window.region_bus_base(), window::Window::kUnplaced);
  device.write<std::uint16_t>(kConfigRegion, spec::PCI_COMMAND, 0x103);
  EXPECT_EQ(device.window.region_bus_base(), window::BusAddress{0xe0000000});
  // The guest enables MSI-X: forwarded, though QEMU emulates it.
  device.write<std::uint16_t>(kConfigRegion, msix + 2U, 0xffff);
  EXPECT_EQ(device.read<std::uint16_t>(kConfigRegion, msix + 2U), 0xc002);
}

// PCI-0, PCI-D2.
TEST(RegionCapability, BusModeHasCapabilityTen) {
  TestDevice device;
  const Space space = dump(device);
  const std::uint8_t at = find(space, spec::PCI_CAP_ID_VNDR, spec::VIRTIO_PCI_CAP_SWIOTLB);
  ASSERT_NE(at, 0);
  const auto cap = device.read<spec::VirtioPciCap>(kConfigRegion, at);
  EXPECT_EQ(cap.cap_len, 16);
  EXPECT_EQ(cap.bar, kRegionBar);
  EXPECT_EQ(cap.id, 0);
  EXPECT_EQ(cap.offset.get(), 0U);
  EXPECT_EQ(cap.length.get(), TestDevice::kRegionSize);
  EXPECT_EQ(find(space, spec::PCI_CAP_ID_VNDR, spec::VIRTIO_PCI_CAP_SHARED_MEMORY_CFG), 0);
}

// DMB-D4, DMB-D5: one shared memory region, and its id in a common configuration that reaches it.
TEST(RegionCapability, OffsetModeHasSharedMemoryAndItsId) {
  TestDevice device({.negotiation = {.offer = AddressOffer::kOffset}, .region_shm_id = 200});
  const Space space = dump(device);
  EXPECT_EQ(find(space, spec::PCI_CAP_ID_VNDR, spec::VIRTIO_PCI_CAP_SWIOTLB), 0);
  const std::uint8_t at =
      find(space, spec::PCI_CAP_ID_VNDR, spec::VIRTIO_PCI_CAP_SHARED_MEMORY_CFG);
  ASSERT_NE(at, 0);
  const auto shared = device.read<spec::VirtioPciCap64>(kConfigRegion, at);
  EXPECT_EQ(shared.cap.cap_len, 24);
  EXPECT_EQ(shared.cap.id, 200);
  EXPECT_EQ(shared.cap.length.get(), TestDevice::kRegionSize);
  EXPECT_EQ(shared.length_hi.get(), 0U);
  const std::uint8_t common = find(space, spec::PCI_CAP_ID_VNDR, spec::VIRTIO_PCI_CAP_COMMON_CFG);
  EXPECT_GE(device.read<spec::VirtioPciCap>(kConfigRegion, common).length.get(), 0x42U);
  EXPECT_EQ(device.read<std::uint16_t>(kRegistersBar, 0x40), 200);
  TestDevice bus;
  EXPECT_EQ(bus.read<std::uint16_t>(kRegistersBar, 0x40), 0);
}

TEST(RegionCapability, CapabilitiesAreReadOnly) {
  TestDevice device;
  const Space before = dump(device);
  for (std::uint16_t at = 0x40; at < 256; ++at) {
    device.write<std::uint8_t>(kConfigRegion, at, static_cast<std::uint8_t>(~before[at]));
  }
  const Space after = dump(device);
  const std::uint8_t access = find(before, spec::PCI_CAP_ID_VNDR, spec::VIRTIO_PCI_CAP_PCI_CFG);
  const std::uint8_t msix = find(before, spec::PCI_CAP_ID_MSIX);
  for (std::size_t at = 0x40; at < 256; ++at) {
    const bool bar = at == access + 4U;
    const bool place = at >= access + 8U && at < access + 20U;
    const bool control = at == msix + 3U;
    if (!bar && !place && !control) {
      EXPECT_EQ(after[at], before[at]) << at;
    }
  }
}

// SYS-2, DMB-D10: a BAR that moves between probe and use breaks bus addresses detectably.
TEST(Relocation, BreaksBusAddressesDetectably) {
  TestDevice device;
  device.place_region(TestDevice::kBusBase);
  ASSERT_TRUE(device.negotiate(kBus));
  const QueueSetup queue = device.good_queue(0);
  device.place_region(kElsewhere);
  EXPECT_FALSE(device.enable_queue(queue));
  EXPECT_NE(device.status() & spec::VIRTIO_CONFIG_S_NEEDS_RESET, 0);
  device.set_status(0);
  ASSERT_TRUE(device.negotiate(kBus));
  EXPECT_TRUE(device.enable_queue(device.good_queue(0)));
}

// DMB-D10: a guest may move its BAR; the region that offsets are in does not move with it.
TEST(Relocation, SparesOffsets) {
  TestDevice device({.negotiation = {.offer = AddressOffer::kOffset}});
  device.place_region(TestDevice::kBusBase);
  ASSERT_TRUE(device.negotiate(kDmb));
  const QueueSetup queue = device.good_queue(0);
  device.place_region(kElsewhere);
  EXPECT_TRUE(device.enable_queue(queue));
  device.write<std::uint16_t>(kConfigRegion, spec::PCI_COMMAND, 0);
  EXPECT_TRUE(device.enable_queue(device.good_queue(1)));
}

// DMB-DR3: offset 0 means that nobody set it.
TEST(Relocation, OffsetZeroIsNoPlaceForAQueue) {
  TestDevice device({.negotiation = {.offer = AddressOffer::kOffset}});
  ASSERT_TRUE(device.negotiate(kDmb));
  QueueSetup queue = device.good_queue(0);
  queue.descriptor_area = window::DriverAddress{0};
  EXPECT_FALSE(device.enable_queue(queue));
  EXPECT_NE(device.status() & spec::VIRTIO_CONFIG_S_NEEDS_RESET, 0);
}

TEST(Relocation, BusAddressesNeedDecoding) {
  TestDevice device;
  device.place_region(TestDevice::kBusBase);
  device.write<std::uint16_t>(kConfigRegion, spec::PCI_COMMAND, spec::PCI_COMMAND_MASTER);
  ASSERT_TRUE(device.negotiate(kBus));
  EXPECT_FALSE(device.enable_queue({.index = 0,
                                    .size = 256,
                                    .descriptor_area = window::DriverAddress{TestDevice::kBusBase},
                                    .driver_area = window::DriverAddress{TestDevice::kBusBase},
                                    .device_area = window::DriverAddress{TestDevice::kBusBase}}));
}

// --- VIRTIO 1.3, 4.1.4.9, 4.1.4.9.1 ---

class ConfigWindow : public testing::Test {
 protected:
  ConfigWindow() : at_(find(dump(device_), spec::PCI_CAP_ID_VNDR, spec::VIRTIO_PCI_CAP_PCI_CFG)) {
    CHECK(at_ != 0);
  }
  void aim(std::uint8_t bar, std::uint32_t offset, std::uint32_t length) {
    device_.write<std::uint8_t>(kConfigRegion, at_ + 4U, bar);
    device_.write<std::uint32_t>(kConfigRegion, at_ + 8U, offset);
    device_.write<std::uint32_t>(kConfigRegion, at_ + 12U, length);
  }
  template <class T>
  T get() {
    return device_.read<T>(kConfigRegion, at_ + 16U);
  }
  template <class T>
  void put(std::type_identity_t<T> value) {
    device_.write<T>(kConfigRegion, at_ + 16U, value);
  }

  TestDevice device_;
  std::uint8_t at_;
};

TEST_F(ConfigWindow, ReadsAndWritesRegistersInTheirSizes) {
  aim(kRegistersBar, 0x12, 2);
  EXPECT_EQ(get<std::uint16_t>(), 2);  // num_queues
  aim(kRegistersBar, 0x14, 1);
  put<std::uint8_t>(spec::VIRTIO_CONFIG_S_ACKNOWLEDGE);
  EXPECT_EQ(device_.status(), spec::VIRTIO_CONFIG_S_ACKNOWLEDGE);
  EXPECT_EQ(get<std::uint8_t>(), spec::VIRTIO_CONFIG_S_ACKNOWLEDGE);
  aim(kRegionBar, 0x100, 4);
  put<std::uint32_t>(0xcafef00d);
  EXPECT_EQ(device_.read<std::uint32_t>(kRegionBar, 0x100), 0xcafef00dU);
  EXPECT_EQ(get<std::uint32_t>(), 0xcafef00dU);
}

TEST_F(ConfigWindow, OtherSizesOffsetsAndBarsLeadNowhere) {
  device_.write<std::uint32_t>(kRegionBar, 0, 0xffffffff);
  const auto closed = [&](std::uint8_t bar, std::uint32_t offset, std::uint32_t length) {
    aim(bar, offset, length);
    put<std::uint32_t>(0);
    return get<std::uint32_t>() == 0 && device_.read<std::uint32_t>(kRegionBar, 0) == 0xffffffff;
  };
  EXPECT_TRUE(closed(kRegionBar, 0, 0));
  EXPECT_TRUE(closed(kRegionBar, 0, 3));
  EXPECT_TRUE(closed(kRegionBar, 0, 8));
  EXPECT_TRUE(closed(kRegionBar, 0, 0xffffffff));
  EXPECT_TRUE(closed(kRegionBar, 1, 2));
  EXPECT_TRUE(closed(kRegionBar, TestDevice::kRegionSize, 4));
  EXPECT_TRUE(closed(kRegionBar, 0xfffffffc, 4));
  EXPECT_TRUE(closed(3, 0, 4));
  EXPECT_TRUE(closed(kConfigRegion, 0, 4));  // not a BAR, and the way back here
  EXPECT_TRUE(closed(0xff, 0, 4));
  EXPECT_FALSE(closed(kRegionBar, 0, 4));
}

// A dump of configuration space executes the access that the driver aimed, once.
TEST_F(ConfigWindow, ADumpReadsWhatWasAimedAt) {
  aim(kRegistersBar, kIsrOffset, 1);
  device_.device->interrupt_queue(0);
  EXPECT_EQ(dump(device_)[at_ + 16U], spec::VIRTIO_PCI_ISR_QUEUE);
  EXPECT_EQ(get<std::uint8_t>(), 0);
}

}  // namespace
}  // namespace airlock::pci
