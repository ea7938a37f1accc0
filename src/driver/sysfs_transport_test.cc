// SPDX-License-Identifier: Apache-2.0
//
// Goal: a device in sysfs is opened only where that can work, and its registers and region are
// where the kernel says. Method: a folder that looks like sysfs.
#include "driver/sysfs_transport.h"

#include <gtest/gtest.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "base/le.h"
#include "driver/sysfs_file.h"

namespace airlock::driver {
namespace {

namespace fs = std::filesystem;

constexpr const char* kAddress = "0000:00:05.0";

class SysfsTransportTest : public ::testing::Test {
 protected:
  SysfsTransportTest() {
    CHECK(mkdtemp(root_.data()) != nullptr);
    fs::create_directories(device());
    put("config", std::string(256, '\0'));
    put("resource",
        "0x00000000febf0000 0x00000000febf3fff 0x0000000000040200\n"
        "0x0000000000000000 0x0000000000000000 0x0000000000000000\n"
        "0x0000004000000000 0x000000400000ffff 0x000000000014220c\n"
        "0x0000000000000000 0x0000000000000000 0x0000000000000000\n"
        "0x000000000000c000 0x000000000000c07f 0x0000000000040101\n"
        "0x0000000000000000 0x0000000000000000 0x0000000000000000\n");
    put("resource0", std::string(0x4000, '\0'));
    put("resource2", std::string(0x10000, '\0'));
    put("lockdown", "[none] integrity confidentiality\n");
  }
  ~SysfsTransportTest() override { fs::remove_all(root_); }

  [[nodiscard]] fs::path device() const { return fs::path(root_) / kAddress; }
  void put(const std::string& name, const std::string& text) const {
    std::ofstream(device() / name, std::ios::binary) << text;
  }
  [[nodiscard]] auto open(const std::string& address = kAddress) const {
    return SysfsTransport::open(
        {.address = address, .root = root_, .lockdown = (device() / "lockdown").string()});
  }
  [[nodiscard]] int refused_with() const {
    const auto transport = open();
    EXPECT_FALSE(transport.has_value());
    if (transport || transport.error().code != Errc::kSystem) return 0;
    return static_cast<int>(transport.error().detail);
  }

  std::string root_ = (fs::temp_directory_path() / "sysfs_XXXXXX").string();
};

TEST_F(SysfsTransportTest, FindsTheMemoryBarsAndEnablesTheDevice) {
  const auto transport = MUST(open());
  EXPECT_EQ(transport->bar_sizes(), (pci::BarSizes{0x4000, 0, 0x10000, 0, 0, 0}));
  Le16 command;
  EXPECT_TRUE(
      transport->read_config(spec::PCI_COMMAND, std::as_writable_bytes(std::span(&command, 1))));
  EXPECT_EQ(command.get(), 0x406);
  EXPECT_EQ(transport->interrupt_vectors(), 0);
}

// What its driver left asleep is woken; what is awake is not counted twice.
TEST_F(SysfsTransportTest, WakesADeviceThatIsDisabled) {
  const auto enabled_after = [&](const std::string& before) {
    put("enable", before);
    MUST(open());
    return MUST(read_sysfs((device() / "enable").string()));
  };
  EXPECT_EQ(enabled_after("0"), "1");
  EXPECT_EQ(enabled_after("1"), "1");
  EXPECT_EQ(enabled_after("2"), "2");
}

// VIRTIO 1.3, 4.1.3.1: with the field's own width.
TEST_F(SysfsTransportTest, ReadsAndWritesRegistersOfEachWidth) {
  const auto transport = MUST(open());
  EXPECT_TRUE(transport->write({.bar = 0, .offset = 8, .width = Width::k8}, 0x1122334455667788));
  EXPECT_EQ(MUST(transport->read({.bar = 0, .offset = 8, .width = Width::k4})), 0x55667788U);
  EXPECT_EQ(MUST(transport->read({.bar = 0, .offset = 14, .width = Width::k2})), 0x1122U);
  EXPECT_EQ(MUST(transport->read({.bar = 0, .offset = 9, .width = Width::k1})), 0x77U);
  EXPECT_TRUE(transport->post({.bar = 0, .offset = 0x3ffe, .width = Width::k2}, 7));
  const auto error = [&](const Register& where) { return transport->read(where).error().code; };
  EXPECT_EQ(error({.bar = 0, .offset = 0x3ffe, .width = Width::k4}), Errc::kOutOfRange);
  EXPECT_EQ(error({.bar = 0, .offset = ~std::uint64_t{0}, .width = Width::k1}), Errc::kOutOfRange);
  EXPECT_EQ(error({.bar = 0, .offset = 2, .width = Width::k4}), Errc::kNotAligned);
  EXPECT_EQ(error({.bar = 1, .offset = 0, .width = Width::k1}), Errc::kOutOfRange);
  EXPECT_EQ(error({.bar = 6, .offset = 0, .width = Width::k1}), Errc::kOutOfRange);
}

#if defined(__x86_64__)
TEST_F(SysfsTransportTest, MapsTheRegionWhereTheBusHasIt) {
  const auto transport = MUST(open());
  const auto mapped = MUST(transport->map({.bar = 2, .offset = 0x1000, .length = 0x8000}));
  EXPECT_EQ(mapped.bus_address, window::BusAddress{0x40'0000'1000});
  EXPECT_EQ(mapped.mapping.bytes().size(), 0x8000U);
  mapped.mapping.bytes().store_relaxed<std::uint8_t>(0, 0x5a);
  EXPECT_EQ(MUST(transport->read({.bar = 2, .offset = 0x1000, .width = Width::k1})), 0x5aU);
  EXPECT_EQ(transport->map({.bar = 2, .offset = 0x1000, .length = 0x10000}).error().code,
            Errc::kNoRegion);
  EXPECT_EQ(transport->map({.bar = 4, .offset = 0, .length = 16}).error().code, Errc::kNoRegion);
}

// A file that is shorter than the BAR would fault when touched.
TEST_F(SysfsTransportTest, RefusesAResourceFileOfAnotherSize) {
  put("resource2", std::string(0x8000, '\0'));
  const auto transport = MUST(open());
  EXPECT_EQ(transport->map({.bar = 2, .offset = 0, .length = 0x8000}).error().code,
            Errc::kWrongSize);
}
#endif

TEST_F(SysfsTransportTest, RefusesADeviceThatAKernelDriverUses) {
  fs::create_directories(device() / "driver");
  EXPECT_EQ(refused_with(), EBUSY);
}

TEST_F(SysfsTransportTest, RefusesUnderALockdown) {
  put("lockdown", "none [integrity] confidentiality\n");
  EXPECT_EQ(refused_with(), EPERM);
}

TEST_F(SysfsTransportTest, RefusesWhatIsNotThere) {
  fs::remove_all(device());
  EXPECT_EQ(refused_with(), ENODEV);
}

TEST_F(SysfsTransportTest, RefusesAnAddressThatIsNone) {
  for (const char* address :
       {"", "0000:00:05", "0000:00:05.8", "0000:00:05.0/", "../:00:05.0x", "../../../etc"}) {
    EXPECT_EQ(open(address).error().code, Errc::kMalformed) << address;
  }
}

TEST_F(SysfsTransportTest, RefusesAResourceListThatMakesNoSense) {
  put("resource", "0x10 0x0 0x200\n");
  EXPECT_EQ(open().error().code, Errc::kMalformed);
  put("resource", "garbage");
  EXPECT_EQ(open().error().code, Errc::kMalformed);
}

// Without root the kernel shows 64 bytes of configuration space.
TEST_F(SysfsTransportTest, SaysThatRootIsNeededForConfigurationSpace) {
  put("config", std::string(64, '\0'));
  const auto transport = MUST(open());
  std::array<std::byte, 4> bytes{};
  EXPECT_EQ(transport->read_config(0x40, bytes).error(), system_error(EPERM));
}

TEST_F(SysfsTransportTest, ResetsWhereThatIsPossible) {
  const auto transport = MUST(open());
  EXPECT_EQ(transport->reset().error().code, Errc::kUnsupported);
  put("reset", "");
  EXPECT_TRUE(transport->reset());
}

}  // namespace
}  // namespace airlock::driver
