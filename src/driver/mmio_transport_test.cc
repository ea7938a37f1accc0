// SPDX-License-Identifier: Apache-2.0
//
// Goal: our drivers run over virtio-mmio as they do over PCI, in the pool and nowhere else, and no
// register of a device's makes them do otherwise. Method: an honest device in this process, and
// lies between.
#include "driver/mmio_transport.h"

#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <utility>

#include "driver/blk.h"
#include "mmio/virtio_mmio_device.h"
#include "spec/virtio_mmio.h"
#include "spec/virtio_pci.h"
#include "testing/blk_fixture.h"

namespace airlock::driver {
namespace {

using mmio::PoolPolicy;

constexpr std::uint64_t kPoolBase = 0x50000000;
constexpr std::uint64_t kPoolBytes = std::uint64_t{1} << 20;
// A number that no draft has: for a driver that has never heard of the bit.
constexpr unsigned kUnknownBit = 49;

/// What a register of the device reads as, changed.
using Lie = std::function<void(std::uint64_t offset, std::uint64_t& value)>;

class DirectBus final : public MmioBus {
 public:
  DirectBus(mmio::VirtioMmioDevice& device, Lie& lie) : device_(device), lie_(lie) {}

  [[nodiscard]] std::uint64_t size() const override { return mmio::kDeviceBytes; }
  Result<std::uint64_t> read(std::uint64_t offset, Width width) override {
    Le64 wire;
    const auto bytes = std::as_writable_bytes(std::span(&wire, 1));
    TRY(device_.read(offset, bytes.first(std::to_underlying(width))));
    std::uint64_t value = wire.get();
    if (lie_) lie_(offset, value);
    return value;
  }
  Result<void> write(std::uint64_t offset, Width width, std::uint64_t value) override {
    const Le64 wire(value);
    return device_.write(offset,
                         std::as_bytes(std::span(&wire, 1)).first(std::to_underlying(width)));
  }

 private:
  mmio::VirtioMmioDevice& device_;
  Lie& lie_;
};

class MmioTransportTest : public ::testing::Test {
 protected:
  MmioTransportTest()
      : memfd_(MUST(shm::SealedMemfd::create({.size = kPoolBytes}))),
        mapping_(MUST(shm::Mapping::map(memfd_.fd(), {.length = kPoolBytes}))),
        window_(mapping_.bytes()) {
    options_.device.timeout = std::chrono::milliseconds(50);
    disk_.own_features = spec::feature(spec::VIRTIO_BLK_F_FLUSH);
    disk_.window = &window_;
  }

  void make(PoolPolicy policy) {
    device_ = MUST(mmio::VirtioMmioDevice::create(
        {.policy = policy, .pool_base = window::BusAddress{kPoolBase}}, disk_, window_,
        memfd_.fd()));
    disk_.set_transport(&device_->transport());
  }
  Result<std::unique_ptr<MmioTransport>> connect(std::uint64_t base = kPoolBase) {
    return MmioTransport::create(std::make_unique<DirectBus>(*device_, lie_), {
      .base = window::BusAddress{base}, .bytes = kPoolBytes, .memory = MUST(memfd_.fd().duplicate())
    });
  }
  Result<std::unique_ptr<Blk>> open(std::uint64_t base = kPoolBase) {
    return Blk::open(TRY(connect(base)), options_);
  }
  /// Writes a pattern and reads it back, through the pool.
  static void round_trip(Blk& blk) {
    const auto data = testing::pattern(64 << 10);
    std::vector<std::byte> back(data.size());
    ASSERT_TRUE(blk.write(4096, data));
    ASSERT_TRUE(blk.read(4096, back));
    EXPECT_EQ(back, data);
  }

  testing::FakeDisk disk_;
  shm::SealedMemfd memfd_;
  shm::Mapping mapping_;
  window::Window window_;
  Lie lie_;
  Blk::Options options_;
  std::unique_ptr<mmio::VirtioMmioDevice> device_;
};

// MMIO-DR1, MMIO-DR2, SYS-3: a driver that knows the bit, under each policy; MMIO-N2: without the
// bit the pool is a hint, which it takes as an order.
TEST_F(MmioTransportTest, KeepsToThePoolUnderEveryPolicy) {
  for (const PoolPolicy policy :
       {PoolPolicy::kRequire, PoolPolicy::kTolerate, PoolPolicy::kNotOffered}) {
    make(policy);
    auto blk = open();
    ASSERT_TRUE(blk) << describe(blk.error());
    const Negotiation& agreed = (*blk)->device().negotiation();
    EXPECT_EQ(agreed.source, policy == PoolPolicy::kNotOffered ? RegionSource::kCapability
                                                               : RegionSource::kSwiotlb);
    EXPECT_EQ(agreed.bus_address, kPoolBase);
    EXPECT_TRUE((*blk)->device().has(spec::VIRTIO_F_ACCESS_PLATFORM));
    round_trip(**blk);
    const auto touched = window_.touched();
    EXPECT_GE(touched.first, kPoolBase);
    EXPECT_LE(touched.end, kPoolBase + kPoolBytes);
    EXPECT_GT(touched.end, touched.first);
    blk->reset();
    window_.guest_memory().clear();
  }
}

// MMIO-N3: an old driver, which has the pool of the device tree and knows no bit, works where it is
// tolerated.
TEST_F(MmioTransportTest, WorksForAnOldDriverThatIsTolerated) {
  make(PoolPolicy::kTolerate);
  options_.device.swiotlb_bit = kUnknownBit;
  auto blk = open();
  ASSERT_TRUE(blk) << describe(blk.error());
  EXPECT_FALSE((*blk)->device().has(spec::VIRTIO_F_SWIOTLB));
  round_trip(**blk);
  EXPECT_EQ(device_->violations(), 0U);
}

// GEN-DV1, BASE-5: and is refused, before any queue, where the bit is asked for.
TEST_F(MmioTransportTest, IsRefusedCleanlyUnderRequire) {
  make(PoolPolicy::kRequire);
  options_.device.swiotlb_bit = kUnknownBit;
  const auto blk = open();
  ASSERT_FALSE(blk);
  EXPECT_EQ(blk.error().code, Errc::kFeaturesRefused);
  EXPECT_EQ(disk_.starts(), 0U);
}

// MMIO-DR2, DEF-5: a driver whose addresses are not the pool's is stopped at its first ring.
TEST_F(MmioTransportTest, IsStoppedWithAddressesOutsideThePool) {
  for (const PoolPolicy policy : {PoolPolicy::kTolerate, PoolPolicy::kNotOffered}) {
    make(policy);
    const auto blk = open(kPoolBase + kPoolBytes);
    ASSERT_FALSE(blk);
    EXPECT_EQ(device_->violations(), 1U);
    EXPECT_EQ(disk_.starts(), 0U);
    window_.guest_memory().clear();
  }
}

// VIRTIO 1.3, 4.2.2.1: who the device is comes first.
TEST_F(MmioTransportTest, RefusesWhatIsNoDevice) {
  make(PoolPolicy::kTolerate);
  const auto error = [&](std::uint64_t offset, std::uint64_t value) {
    lie_ = [offset, value](std::uint64_t at, std::uint64_t& read) {
      if (at == offset) read = value;
    };
    const auto made = connect();
    return made ? Errc::kSystem : made.error().code;
  };
  EXPECT_EQ(error(spec::VIRTIO_MMIO_MAGIC_VALUE, 0), Errc::kNotVirtio);
  EXPECT_EQ(error(spec::VIRTIO_MMIO_VERSION, 1), Errc::kUnsupported);
  EXPECT_EQ(error(spec::VIRTIO_MMIO_DEVICE_ID, 0), Errc::kNotVirtio);
  EXPECT_EQ(error(spec::VIRTIO_MMIO_DEVICE_ID, 0x40), Errc::kNotVirtio);
  EXPECT_EQ(error(spec::VIRTIO_MMIO_DEVICE_ID, spec::VIRTIO_ID_BLOCK), Errc::kSystem);
}

// HD-14, HD-16, HD-24: registers that lie are found out by the checks that PCI's have.
TEST_F(MmioTransportTest, RefusesRegistersThatLie) {
  const auto error = [&](std::uint64_t offset, std::uint64_t value) {
    make(PoolPolicy::kTolerate);
    lie_ = [offset, value](std::uint64_t at, std::uint64_t& read) {
      if (at == offset) read = value;
    };
    const auto blk = open();
    lie_ = nullptr;
    return blk ? Errc::kSystem : blk.error().code;
  };
  EXPECT_EQ(error(spec::VIRTIO_MMIO_QUEUE_SIZE_MAX, 0x10000), Errc::kBadQueueSize);
  EXPECT_EQ(error(spec::VIRTIO_MMIO_QUEUE_SIZE_MAX, 3), Errc::kBadQueueSize);
  EXPECT_EQ(error(spec::VIRTIO_MMIO_QUEUE_SIZE_MAX, 0), Errc::kMalformed);  // not one queue
  EXPECT_EQ(error(spec::VIRTIO_MMIO_QUEUE_READY, 1), Errc::kMalformed);
  EXPECT_EQ(error(spec::VIRTIO_MMIO_QUEUE_READY, 0), Errc::kMalformed);
  EXPECT_EQ(error(spec::VIRTIO_MMIO_STATUS, 3), Errc::kTimeout);
  EXPECT_EQ(error(spec::VIRTIO_MMIO_DEVICE_FEATURES, 0), Errc::kUnsupported);
}

// A queue that is reset alone comes back. VIRTIO 1.3, 2.6.1, 4.2.2.2.
TEST_F(MmioTransportTest, ResetsAQueue) {
  make(PoolPolicy::kRequire);
  auto transport = MUST(connect());
  auto device =
      MUST(VirtioDevice::open(std::move(transport), {.device_type = spec::VIRTIO_ID_BLOCK,
                                                     .timeout = std::chrono::milliseconds(50)}));
  EXPECT_EQ(device->queue_count(), 1);
  auto queue = MUST(device->create_queue(0, {.size_max = 16}));
  MUST(device->start());
  MUST(device->reset_queue(0));
  queue.reset();
  queue = MUST(device->create_queue(0, {.size_max = 32}));
  EXPECT_EQ(disk_.setup(0).size, 32);
  MUST(device->quiesce());
}

TEST_F(MmioTransportTest, RefusesAccessesThatAreNone) {
  make(PoolPolicy::kRequire);
  auto transport = MUST(connect());
  EXPECT_EQ(transport->read({.bar = 1, .offset = 0}).error().code, Errc::kOutOfRange);
  EXPECT_EQ(transport->read({.bar = 0, .offset = ~std::uint64_t{0}}).error().code,
            Errc::kOutOfRange);
  EXPECT_EQ(transport->read({.bar = 0, .offset = 2}).error().code, Errc::kNotAligned);
  EXPECT_EQ(transport->write({.bar = 2, .offset = 0}, 1).error().code, Errc::kOutOfRange);
  EXPECT_EQ(transport->map({.bar = 0, .offset = 0, .length = 4096}).error().code, Errc::kNoRegion);
  EXPECT_EQ(transport->map({.bar = 2, .offset = 4096, .length = kPoolBytes}).error().code,
            Errc::kOutOfRange);
  std::array<std::byte, 4> bytes{};
  EXPECT_EQ(transport->read_config(254, bytes).error().code, Errc::kOutOfRange);
  EXPECT_EQ(transport->write_config(254, bytes).error().code, Errc::kOutOfRange);
  EXPECT_EQ(transport->enable_interrupts({}, 1).error().code, Errc::kUnsupported);
}

// VIRTIO 1.3, 4.2.2.2: what PCI clears by reading, MMIO clears by writing.
TEST_F(MmioTransportTest, AcknowledgesInterruptsThatItReads) {
  make(PoolPolicy::kRequire);
  auto transport = MUST(connect());
  const auto capabilities = MUST(pci::find_capabilities(*transport, transport->bar_sizes()));
  ASSERT_TRUE(capabilities.is_complete());
  const Register isr{
      .bar = capabilities.isr->bar, .offset = capabilities.isr->offset, .width = Width::k1};
  device_->transport().interrupt_queue(0);
  EXPECT_EQ(MUST(transport->read(isr)), spec::VIRTIO_MMIO_INT_VRING);
  EXPECT_EQ(MUST(transport->read(isr)), 0U);
}

}  // namespace
}  // namespace airlock::driver
