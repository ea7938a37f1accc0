// SPDX-License-Identifier: Apache-2.0
//
// Goal: a bus driver finds what PCI promises it, and changes nothing else. Method: the accesses of
// firmware and of QEMU (VFIO_USER 2.2, 2.3), byte by byte.
#include "pci/config_space.h"

#include <gtest/gtest.h>

namespace airlock::pci {
namespace {

class ConfigSpaceTest : public testing::Test {
 protected:
  ConfigSpaceTest() {
    MUST(config_.define_bar(0, BarKind::kMemory32, 0x4000));
    MUST(config_.define_bar(2, BarKind::kMemory64Prefetchable, kBig));
  }
  template <class T>
  T read(std::uint16_t offset) {
    T value{};
    config_.read(offset, std::as_writable_bytes(std::span(&value, 1)));
    return value;
  }
  template <class T>
  void write(std::uint16_t offset, std::type_identity_t<T> value) {
    config_.write(offset, std::as_bytes(std::span(&value, 1)));
  }

  static constexpr std::uint64_t kBig = std::uint64_t{8} << 30;
  ConfigSpace config_{{.vendor = 0x1af4,
                       .device = 0x1042,
                       .subsystem_vendor = 0x1af4,
                       .subsystem = 0x1100,
                       .revision = 1,
                       .class_code = 0x010000}};
};

// PCI 3.0, 6.1; VFIO_USER 0.7: no interrupt pin.
TEST_F(ConfigSpaceTest, ShowsAnEndpointWithoutInterruptPin) {
  EXPECT_EQ(read<std::uint32_t>(spec::PCI_VENDOR_ID), 0x10421af4U);
  EXPECT_EQ(read<std::uint32_t>(spec::PCI_REVISION_ID), 0x01000001U);
  EXPECT_EQ(read<std::uint8_t>(spec::PCI_HEADER_TYPE), 0);
  EXPECT_EQ(read<std::uint8_t>(spec::PCI_INTERRUPT_PIN), 0);
  EXPECT_EQ(read<std::uint16_t>(spec::PCI_STATUS), 0);
}

// PCI 3.0, 6.2.5.1: all ones, read back the size; the type bits stay.
TEST_F(ConfigSpaceTest, SizesItsBars) {
  write<std::uint32_t>(0x10, 0xffffffff);
  EXPECT_EQ(read<std::uint32_t>(0x10), 0xffffc000U);
  write<std::uint32_t>(0x18, 0xffffffff);
  write<std::uint32_t>(0x1c, 0xffffffff);
  EXPECT_EQ(read<std::uint32_t>(0x18), 0x0cU);  // below 4 GiB there is nothing to place
  EXPECT_EQ(read<std::uint32_t>(0x1c), 0xfffffffeU);
  write<std::uint32_t>(0x14, 0xffffffff);  // no such BAR
  EXPECT_EQ(read<std::uint32_t>(0x14), 0U);
}

// VFIO_USER 2.3: what stores the sizing write of the ROM BAR makes QEMU create a bogus ROM.
TEST_F(ConfigSpaceTest, HasNoRom) {
  write<std::uint32_t>(spec::PCI_ROM_ADDRESS, 0xfffff800);
  EXPECT_EQ(read<std::uint32_t>(spec::PCI_ROM_ADDRESS), 0U);
}

TEST_F(ConfigSpaceTest, LetsADriverWriteThreeCommandBitsAndNoIdentity) {
  write<std::uint16_t>(spec::PCI_COMMAND, 0xffff);
  EXPECT_EQ(read<std::uint16_t>(spec::PCI_COMMAND), 0x0406);
  write<std::uint32_t>(spec::PCI_VENDOR_ID, 0xdeadbeef);
  write<std::uint16_t>(spec::PCI_STATUS, 0xffff);
  write<std::uint8_t>(spec::PCI_CAPABILITY_LIST, 0xff);
  write<std::uint8_t>(spec::PCI_INTERRUPT_PIN, 1);
  EXPECT_EQ(read<std::uint32_t>(spec::PCI_VENDOR_ID), 0x10421af4U);
  EXPECT_EQ(read<std::uint16_t>(spec::PCI_STATUS), 0);
  EXPECT_EQ(read<std::uint8_t>(spec::PCI_CAPABILITY_LIST), 0);
  EXPECT_EQ(read<std::uint8_t>(spec::PCI_INTERRUPT_PIN), 0);
  write<std::uint8_t>(spec::PCI_INTERRUPT_LINE, 11);
  EXPECT_EQ(read<std::uint8_t>(spec::PCI_INTERRUPT_LINE), 11);
}

TEST_F(ConfigSpaceTest, ABarHasAnAddressOnlyWhileItIsDecoded) {
  write<std::uint32_t>(0x18, 0x0000000c);
  write<std::uint32_t>(0x1c, 0x00000008);
  EXPECT_EQ(config_.bar_address(2), std::nullopt);
  write<std::uint16_t>(spec::PCI_COMMAND, spec::PCI_COMMAND_MEMORY);
  EXPECT_EQ(config_.bar_address(2), 0x8'0000'0000U);
  EXPECT_EQ(config_.bar_address(3), std::nullopt);  // its upper half is no BAR
  EXPECT_EQ(config_.bar_address(0), std::nullopt);  // at 0
  EXPECT_EQ(config_.bar_address(7), std::nullopt);
  write<std::uint32_t>(0x10, 0xfe000000);
  EXPECT_EQ(config_.bar_address(0), 0xfe000000U);
}

// A size probe with decoding on must not place the region for a moment.
TEST_F(ConfigSpaceTest, ASizeProbeIsNoAddress) {
  write<std::uint16_t>(spec::PCI_COMMAND, spec::PCI_COMMAND_MEMORY);
  write<std::uint32_t>(0x10, 0xffffffff);
  EXPECT_EQ(config_.bar_address(0), std::nullopt);
  write<std::uint32_t>(0x18, 0xffffffff);
  write<std::uint32_t>(0x1c, 0xffffffff);
  EXPECT_EQ(config_.bar_address(2), std::nullopt);
}

TEST_F(ConfigSpaceTest, ResetForgetsWhatTheDriverWrote) {
  write<std::uint16_t>(spec::PCI_COMMAND, spec::PCI_COMMAND_MEMORY);
  write<std::uint32_t>(0x10, 0xfe000000);
  config_.reset();
  EXPECT_EQ(read<std::uint16_t>(spec::PCI_COMMAND), 0);
  EXPECT_EQ(read<std::uint32_t>(0x10), 0U);
  EXPECT_EQ(read<std::uint32_t>(0x18), 0x0cU);
}

TEST_F(ConfigSpaceTest, LinksCapabilitiesAndRefusesTheOneThatDoesNotFit) {
  const spec::PciMsixCap cap{.cap_id = spec::PCI_CAP_ID_MSIX,
                             .next = 0x77,  // is overwritten
                             .message_control = Le16(3),
                             .table = Le32(1),
                             .pba = Le32(0x801)};
  EXPECT_EQ(MUST(config_.add_capability(cap)), 0x40);
  EXPECT_EQ(MUST(config_.add_capability(cap)), 0x4c);
  EXPECT_EQ(read<std::uint16_t>(spec::PCI_STATUS), spec::PCI_STATUS_CAP_LIST);
  EXPECT_EQ(read<std::uint8_t>(spec::PCI_CAPABILITY_LIST), 0x40);
  EXPECT_EQ(read<std::uint8_t>(0x41), 0x4c);
  EXPECT_EQ(read<std::uint8_t>(0x4d), 0);
  for (int i = 2; i < 16; ++i) {
    ASSERT_TRUE(config_.add_capability(cap));
  }
  EXPECT_EQ(config_.add_capability(cap).error().code, Errc::kTooLarge);
  config_.reset();
  EXPECT_EQ(read<std::uint8_t>(spec::PCI_CAPABILITY_LIST), 0x40);
}

TEST_F(ConfigSpaceTest, RefusesBarsThatPciCannotHave) {
  using enum BarKind;
  EXPECT_EQ(config_.define_bar(1, kMemory32, 0x3000).error().code, Errc::kNotPowerOfTwo);
  EXPECT_EQ(config_.define_bar(1, kMemory32, 0).error().code, Errc::kNotPowerOfTwo);
  EXPECT_EQ(config_.define_bar(1, kMemory32, 8).error().code, Errc::kTooSmall);
  EXPECT_EQ(config_.define_bar(1, kMemory32, kBig).error().code, Errc::kTooLarge);
  EXPECT_EQ(config_.define_bar(5, kMemory64Prefetchable, kBig).error().code, Errc::kOutOfRange);
  EXPECT_EQ(config_.define_bar(6, kMemory32, 0x1000).error().code, Errc::kOutOfRange);
  EXPECT_TRUE(config_.define_bar(5, kMemory32, 0x1000));
  EXPECT_EQ(config_.bar_size(5), 0x1000U);
}

}  // namespace
}  // namespace airlock::pci
