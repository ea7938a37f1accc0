// SPDX-License-Identifier: Apache-2.0
//
// Goal: a driver's registers lead to the device that PCI has, and to no memory but the pool under
// each policy. Method: its accesses, one by one, honest and not, to a model that records.
#include "mmio/virtio_mmio_device.h"

#include <gtest/gtest.h>

#include <array>
#include <memory>

#include "pci/test_device.h"
#include "ring/layout.h"
#include "spec/virtio_mmio.h"

namespace airlock::mmio {
namespace {

constexpr std::uint64_t kPoolBase = 0x50000000;
constexpr std::uint64_t kPoolBytes = std::uint64_t{1} << 20;
constexpr std::uint64_t kOutside = 0x40000000;
constexpr std::uint64_t kVersion = spec::feature(spec::VIRTIO_F_VERSION_1);
constexpr std::uint64_t kPlatform = spec::feature(spec::VIRTIO_F_ACCESS_PLATFORM);
constexpr std::uint64_t kSwiotlb = spec::feature(spec::VIRTIO_F_SWIOTLB);
constexpr PoolPolicy kPolicies[] = {PoolPolicy::kRequire, PoolPolicy::kTolerate,
                                    PoolPolicy::kNotOffered};

class Bus {
 public:
  explicit Bus(PoolPolicy policy = PoolPolicy::kTolerate)
      : memfd(MUST(shm::SealedMemfd::create({.size = kPoolBytes}))),
        mapping(MUST(shm::Mapping::map(memfd.fd(), {.length = kPoolBytes}))),
        window(mapping.bytes()),
        device(MUST(
            VirtioMmioDevice::create({.policy = policy, .pool_base = window::BusAddress{kPoolBase}},
                                     model, window, memfd.fd()))) {}

  std::uint32_t read(std::uint32_t offset) {
    Le32 value;
    MUST(device->read(offset, std::as_writable_bytes(std::span(&value, 1))));
    return value.get();
  }
  void write(std::uint32_t offset, std::uint32_t value) {
    const Le32 wire(value);
    MUST(device->write(offset, std::as_bytes(std::span(&wire, 1))));
  }
  std::uint64_t offered() {
    std::uint64_t features = 0;
    for (const std::uint32_t word : {0U, 1U}) {
      write(spec::VIRTIO_MMIO_DEVICE_FEATURES_SEL, word);
      features |= std::uint64_t{read(spec::VIRTIO_MMIO_DEVICE_FEATURES)} << (32 * word);
    }
    return features;
  }
  bool negotiate(std::uint64_t features) {
    write(spec::VIRTIO_MMIO_STATUS, 1);
    write(spec::VIRTIO_MMIO_STATUS, 3);
    for (const std::uint32_t word : {0U, 1U}) {
      write(spec::VIRTIO_MMIO_DRIVER_FEATURES_SEL, word);
      write(spec::VIRTIO_MMIO_DRIVER_FEATURES, static_cast<std::uint32_t>(features >> (32 * word)));
    }
    write(spec::VIRTIO_MMIO_STATUS, 11);
    return (read(spec::VIRTIO_MMIO_STATUS) & spec::VIRTIO_CONFIG_S_FEATURES_OK) != 0;
  }
  /// A queue of 64 whose three areas follow each other from `base` on; whether the device took it.
  bool enable(std::uint32_t queue, std::uint64_t base) {
    write(spec::VIRTIO_MMIO_QUEUE_SEL, queue);
    write(spec::VIRTIO_MMIO_QUEUE_SIZE, 64);
    const auto put = [&](std::uint32_t offset, std::uint64_t address) {
      write(offset, static_cast<std::uint32_t>(address));
      write(offset + 4, static_cast<std::uint32_t>(address >> 32));
    };
    put(spec::VIRTIO_MMIO_QUEUE_DESC_LOW, base);
    put(spec::VIRTIO_MMIO_QUEUE_DRIVER_LOW, base + 0x1000);
    put(spec::VIRTIO_MMIO_QUEUE_DEVICE_LOW, base + 0x2000);
    write(spec::VIRTIO_MMIO_QUEUE_READY, 1);
    return read(spec::VIRTIO_MMIO_QUEUE_READY) == 1;
  }
  void driver_ok() { write(spec::VIRTIO_MMIO_STATUS, 15); }
  [[nodiscard]] bool needs_reset() {
    return (read(spec::VIRTIO_MMIO_STATUS) & spec::VIRTIO_CONFIG_S_NEEDS_RESET) != 0;
  }

  pci::RecordingModel model;
  shm::SealedMemfd memfd;
  shm::Mapping mapping;
  window::Window window;
  std::unique_ptr<VirtioMmioDevice> device;
};

// VIRTIO 1.3, 4.2.2: who it is.
TEST(VirtioMmioDevice, SaysWhatItIs) {
  Bus bus;
  EXPECT_EQ(bus.read(spec::VIRTIO_MMIO_MAGIC_VALUE), 0x74726976U);
  EXPECT_EQ(bus.read(spec::VIRTIO_MMIO_VERSION), 2U);
  EXPECT_EQ(bus.read(spec::VIRTIO_MMIO_DEVICE_ID), spec::VIRTIO_ID_BLOCK);
  EXPECT_EQ(bus.read(spec::VIRTIO_MMIO_STATUS), 0U);
}

// VIRTIO 1.3, 4.2.2.2: registers are 32 bits wide and aligned; anything else is none.
TEST(VirtioMmioDevice, TakesRegistersAsWhatTheyAre) {
  Bus bus;
  std::array<std::byte, 2> half{std::byte{0xee}, std::byte{0xee}};
  MUST(bus.device->read(spec::VIRTIO_MMIO_MAGIC_VALUE, half));
  EXPECT_EQ(half[0], std::byte{0});
  std::array<std::byte, 4> word{};
  MUST(bus.device->read(spec::VIRTIO_MMIO_MAGIC_VALUE + 2, word));
  EXPECT_EQ(word[0], std::byte{0});
  const std::array<std::byte, 1> one{std::byte{1}};
  MUST(bus.device->write(spec::VIRTIO_MMIO_STATUS, one));
  EXPECT_EQ(bus.read(spec::VIRTIO_MMIO_STATUS), 0U);
  bus.write(spec::VIRTIO_MMIO_STATUS, 0x100);  // no status, and no reset either
  EXPECT_EQ(bus.read(spec::VIRTIO_MMIO_STATUS), 0U);
}

TEST(VirtioMmioDevice, RefusesAccessesBeyondItself) {
  Bus bus;
  std::array<std::byte, 4> word{};
  EXPECT_TRUE(bus.device->read(kDeviceBytes - 4, word));
  EXPECT_EQ(bus.device->read(kDeviceBytes - 3, word).error().code, Errc::kOutOfRange);
  EXPECT_EQ(bus.device->write(kDeviceBytes, word).error().code, Errc::kOutOfRange);
  EXPECT_EQ(bus.device->write(~std::uint64_t{0}, word).error().code, Errc::kOutOfRange);
}

// VIRTIO 1.3, 4.2.2.2: any width for the configuration of the type.
TEST(VirtioMmioDevice, ShowsTheConfigurationBehindTheRegisters) {
  Bus bus;
  bus.model.config[5] = std::byte{0x42};
  std::array<std::byte, 3> some{};
  MUST(bus.device->read(spec::VIRTIO_MMIO_CONFIG + 4, some));
  EXPECT_EQ(some[1], std::byte{0x42});
  const std::array<std::byte, 1> one{std::byte{7}};
  MUST(bus.device->write(spec::VIRTIO_MMIO_CONFIG + 8, one));
  EXPECT_EQ(bus.model.config[8], std::byte{7});
  const std::uint32_t before = bus.read(spec::VIRTIO_MMIO_CONFIG_GENERATION);
  bus.device->transport().interrupt_config();
  EXPECT_NE(bus.read(spec::VIRTIO_MMIO_CONFIG_GENERATION), before);
}

// BASE-8: a region that is not there has a length, and a place, of all ones.
TEST(VirtioMmioDevice, HasNoSharedMemory) {
  Bus bus;
  for (const std::uint32_t id : {0U, 1U, 128U}) {
    bus.write(spec::VIRTIO_MMIO_SHM_SEL, id);
    for (std::uint32_t at = spec::VIRTIO_MMIO_SHM_LEN_LOW; at <= spec::VIRTIO_MMIO_SHM_BASE_HIGH;
         at += 4)
      EXPECT_EQ(bus.read(at), 0xffffffffU);
  }
}

// SYS-3, BASE-4: ACCESS_PLATFORM always; GEN-DV2, DMB-D1: what else there is to offer.
TEST(VirtioMmioDevice, OffersByItsPolicy) {
  for (const PoolPolicy policy : kPolicies) {
    Bus bus(policy);
    const std::uint64_t offered = bus.offered();
    EXPECT_EQ(offered & (kVersion | kPlatform), kVersion | kPlatform);
    EXPECT_EQ((offered & kSwiotlb) != 0, policy != PoolPolicy::kNotOffered);
    EXPECT_EQ(offered & spec::feature(spec::VIRTIO_F_DMB), 0U);
  }
}

// REQUIREMENTS 1.6, row 4; MMIO-DR2: offered and accepted.
TEST(VirtioMmioDevice, ServesADriverThatAccepts) {
  for (const PoolPolicy policy : {PoolPolicy::kRequire, PoolPolicy::kTolerate}) {
    Bus bus(policy);
    ASSERT_TRUE(bus.negotiate(kVersion | kPlatform | kSwiotlb));
    ASSERT_TRUE(bus.enable(0, kPoolBase + 0x4000));
    bus.driver_ok();
    ASSERT_EQ(bus.model.starts.size(), 1U);
    EXPECT_EQ(bus.model.starts[0].reach, window::Reach::kRegion);
    ASSERT_EQ(bus.model.queues.size(), 1U);
    EXPECT_EQ(bus.model.queues[0].size, 64);
    EXPECT_EQ(bus.model.queues[0].device_area, window::DriverAddress{kPoolBase + 0x6000});
  }
}

// REQUIREMENTS 1.6, row 5; MMIO-N3: an old driver, which keeps to the pool as the device tree has
// it, and knows no bit for it.
TEST(VirtioMmioDevice, ToleratesADriverThatDeclinesAndKeepsToThePool) {
  for (const PoolPolicy policy : {PoolPolicy::kTolerate, PoolPolicy::kNotOffered}) {
    Bus bus(policy);
    ASSERT_TRUE(bus.negotiate(kVersion | kPlatform));
    ASSERT_TRUE(bus.enable(0, kPoolBase));
    bus.driver_ok();
    EXPECT_TRUE(bus.device->running());
    EXPECT_FALSE(bus.needs_reset());
  }
}

// REQUIREMENTS 1.6, row 5; GEN-DV1, BASE-5: the same driver, cleanly refused.
TEST(VirtioMmioDevice, RefusesADriverThatDeclinesUnderRequire) {
  Bus bus(PoolPolicy::kRequire);
  EXPECT_FALSE(bus.negotiate(kVersion | kPlatform));
  EXPECT_EQ(bus.device->refusals(), 1U);
  EXPECT_FALSE(bus.enable(0, kPoolBase));
  bus.driver_ok();
  EXPECT_TRUE(bus.model.starts.empty());
  // It may reset the device, and accept.
  bus.write(spec::VIRTIO_MMIO_STATUS, 0);
  EXPECT_EQ(bus.read(spec::VIRTIO_MMIO_STATUS), 0U);
  EXPECT_TRUE(bus.negotiate(kVersion | kPlatform | kSwiotlb));
}

// REQUIREMENTS 1.6, row 2: GEN-DV2.
TEST(VirtioMmioDevice, RefusesWhatWasNotOffered) {
  Bus bus(PoolPolicy::kNotOffered);
  EXPECT_FALSE(bus.negotiate(kVersion | kPlatform | kSwiotlb));
  EXPECT_EQ(bus.device->refusals(), 1U);
}

// MMIO-N2, MMIO-DR2, DEF-5: a driver that ignores the pool gets DEVICE_NEEDS_RESET under every
// policy and with every choice, and the log names the address; nothing is touched.
TEST(VirtioMmioDevice, BreaksForADriverThatIgnoresThePool) {
  for (const PoolPolicy policy : kPolicies) {
    for (const std::uint64_t choice : {kSwiotlb, std::uint64_t{0}}) {
      Bus bus(policy);
      if (!bus.negotiate(kVersion | kPlatform | choice)) continue;
      testing::internal::CaptureStderr();
      EXPECT_FALSE(bus.enable(0, kOutside));
      const std::string log = testing::internal::GetCapturedStderr();
      EXPECT_NE(log.find("0x40000000"), std::string::npos) << log;
      EXPECT_NE(log.find("descriptor area"), std::string::npos) << log;
      EXPECT_TRUE(bus.needs_reset());
      EXPECT_EQ(bus.device->violations(), 1U);
      bus.driver_ok();
      EXPECT_TRUE(bus.model.starts.empty());
      EXPECT_EQ(bus.window.touched().end, 0U);
    }
  }
}

// DEF-5: at its edges.
TEST(VirtioMmioDevice, KnowsThePoolsEdges) {
  for (const PoolPolicy policy : kPolicies) {
    const std::uint64_t choice = policy == PoolPolicy::kNotOffered ? 0 : kSwiotlb;
    const auto taken = [&](std::uint64_t base) {
      Bus bus(policy);
      EXPECT_TRUE(bus.negotiate(kVersion | choice));
      return bus.enable(0, base);
    };
    EXPECT_TRUE(taken(kPoolBase + kPoolBytes - 0x3000));
    EXPECT_FALSE(taken(kPoolBase + kPoolBytes - 0x2000));
    EXPECT_FALSE(taken(kPoolBase - 0x1000));
    EXPECT_FALSE(taken(0));
  }
}

// VIRTIO 1.3, 4.2.2.2
TEST(VirtioMmioDevice, KnowsItsQueues) {
  Bus bus;
  const auto size_max = [&](std::uint32_t queue) {
    bus.write(spec::VIRTIO_MMIO_QUEUE_SEL, queue);
    return bus.read(spec::VIRTIO_MMIO_QUEUE_SIZE_MAX);
  };
  EXPECT_EQ(size_max(0), 256U);
  EXPECT_EQ(size_max(1), 128U);
  EXPECT_EQ(size_max(2), 0U);
  EXPECT_EQ(size_max(0x10000), 0U);  // not queue 0 again
  ASSERT_TRUE(bus.negotiate(kVersion | kSwiotlb));
  EXPECT_FALSE(bus.enable(2, kPoolBase));
  EXPECT_FALSE(bus.needs_reset());
  bus.write(spec::VIRTIO_MMIO_QUEUE_SEL, 0);
  bus.write(spec::VIRTIO_MMIO_QUEUE_SIZE, 0x10040);  // not 64
  bus.write(spec::VIRTIO_MMIO_QUEUE_READY, 1);
  EXPECT_TRUE(bus.needs_reset());
}

TEST(VirtioMmioDevice, PassesNotificationsOn) {
  Bus bus;
  ASSERT_TRUE(bus.negotiate(kVersion | kSwiotlb));
  ASSERT_TRUE(bus.enable(1, kPoolBase));
  bus.driver_ok();
  for (const std::uint32_t value : {1U, 0U, 2U, 0x10001U, 0xffffffffU})
    bus.write(spec::VIRTIO_MMIO_QUEUE_NOTIFY, value);
  EXPECT_EQ(bus.model.notified, (std::vector<std::uint16_t>{1}));  // 0 is not enabled
}

// VIRTIO 1.3, 2.9: the rest of notification data says where the queue is.
TEST(VirtioMmioDevice, TakesTheQueueOutOfNotificationData) {
  Bus bus;
  ASSERT_TRUE(bus.negotiate(kVersion | kSwiotlb | spec::feature(spec::VIRTIO_F_NOTIFICATION_DATA)));
  ASSERT_TRUE(bus.enable(1, kPoolBase));
  bus.driver_ok();
  bus.write(spec::VIRTIO_MMIO_QUEUE_NOTIFY, 0xabcd0001);
  EXPECT_EQ(bus.model.notified, (std::vector<std::uint16_t>{1}));
}

// VIRTIO 1.3, 4.2.2.2: InterruptStatus stays until it is acknowledged, bit by bit.
TEST(VirtioMmioDevice, KeepsInterruptsUntilTheyAreAcknowledged) {
  Bus bus;
  EventFd line = MUST(EventFd::create());
  MUST(bus.device->set_interrupt(MUST(EventFd::adopt(MUST(own_fd(dup(line.fd())))))));
  ASSERT_TRUE(bus.negotiate(kVersion | kSwiotlb));
  ASSERT_TRUE(bus.enable(0, kPoolBase));
  bus.driver_ok();
  EXPECT_FALSE(line.drain());
  bus.device->transport().interrupt_queue(0);
  EXPECT_TRUE(line.drain());
  bus.device->transport().interrupt_config();
  EXPECT_TRUE(line.drain());
  EXPECT_EQ(bus.read(spec::VIRTIO_MMIO_INTERRUPT_STATUS), 3U);
  EXPECT_EQ(bus.read(spec::VIRTIO_MMIO_INTERRUPT_STATUS), 3U);
  bus.write(spec::VIRTIO_MMIO_INTERRUPT_ACK, spec::VIRTIO_MMIO_INT_VRING);
  EXPECT_EQ(bus.read(spec::VIRTIO_MMIO_INTERRUPT_STATUS), 2U);
  bus.write(spec::VIRTIO_MMIO_STATUS, 0);
  EXPECT_EQ(bus.read(spec::VIRTIO_MMIO_INTERRUPT_STATUS), 0U);
}

// VIRTIO 1.3, 2.6.1, 4.2.2.2: QueueReset.
TEST(VirtioMmioDevice, ResetsOneQueue) {
  Bus bus;
  ASSERT_TRUE(bus.negotiate(kVersion | kSwiotlb | spec::feature(spec::VIRTIO_F_RING_RESET)));
  ASSERT_TRUE(bus.enable(0, kPoolBase));
  bus.driver_ok();
  bus.model.stop_later = true;
  bus.write(spec::VIRTIO_MMIO_QUEUE_RESET, 1);
  EXPECT_EQ(bus.read(spec::VIRTIO_MMIO_QUEUE_RESET), 1U);
  bus.model.finish_queue_resets();
  EXPECT_EQ(bus.read(spec::VIRTIO_MMIO_QUEUE_RESET), 0U);
  EXPECT_EQ(bus.read(spec::VIRTIO_MMIO_QUEUE_READY), 0U);
  EXPECT_TRUE(bus.enable(0, kPoolBase + 0x8000));
}

// VIRTIO 1.3, 2.4.1: Status reads 0 once the device has stopped, not before.
TEST(VirtioMmioDevice, ResetsWhenItHasStopped) {
  Bus bus;
  ASSERT_TRUE(bus.negotiate(kVersion | kSwiotlb));
  ASSERT_TRUE(bus.enable(0, kPoolBase));
  bus.driver_ok();
  bus.model.stop_later = true;
  bus.write(spec::VIRTIO_MMIO_STATUS, 0);
  EXPECT_NE(bus.read(spec::VIRTIO_MMIO_STATUS), 0U);
  bus.model.finish_stop();
  EXPECT_EQ(bus.read(spec::VIRTIO_MMIO_STATUS), 0U);
  EXPECT_EQ(bus.read(spec::VIRTIO_MMIO_QUEUE_READY), 0U);
  // The pool is where it was.
  ASSERT_TRUE(bus.negotiate(kVersion | kSwiotlb));
  EXPECT_TRUE(bus.enable(0, kPoolBase));
}

TEST(VirtioMmioDevice, RefusesPoolsThatItCannotPlace) {
  const auto error = [](std::uint64_t base, std::size_t config, PoolPolicy policy) {
    const auto memfd = MUST(shm::SealedMemfd::create({.size = kPoolBytes}));
    const auto mapping = MUST(shm::Mapping::map(memfd.fd(), {.length = kPoolBytes}));
    window::Window window(mapping.bytes());
    pci::RecordingModel model;
    model.config.resize(config);
    const auto made = VirtioMmioDevice::create(
        {.policy = policy, .pool_base = window::BusAddress{base}}, model, window, memfd.fd());
    return made ? Errc::kSystem : made.error().code;
  };
  EXPECT_EQ(error(kPoolBase, 0xf00, PoolPolicy::kRequire), Errc::kSystem);
  EXPECT_EQ(error(kPoolBase + 0x1000, 60, PoolPolicy::kRequire), Errc::kNotAligned);
  EXPECT_EQ(error(kPoolBase, 0xf01, PoolPolicy::kRequire), Errc::kTooLarge);
  EXPECT_EQ(error(~std::uint64_t{0} - 0xfff, 60, PoolPolicy::kNotOffered), Errc::kOutOfRange);
}

}  // namespace
}  // namespace airlock::mmio
