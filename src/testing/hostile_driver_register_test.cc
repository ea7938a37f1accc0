// SPDX-License-Identifier: Apache-2.0
//
// Goal: registers of a device of any type can be written in any state, order and width, and nothing
// that was checked once becomes something else afterwards: classes 7 to 9 of attacks. Method: a
// table of writes, and sweeps over all registers.
#include "ring/layout.h"
#include "spec/pci.h"
#include "spec/virtio.h"
#include "testing/hostile_driver_case.h"

namespace airlock::testing {
namespace {

using Common = HostileDriver::Common;
using Registers = HostileDriver::QueueRegisters;

constexpr std::uint64_t kMost = ~std::uint64_t{0};
constexpr std::uint64_t kEnd = HostileDriver::kBarAddress + HostileDriver::kMemoryBytes;
constexpr std::uint8_t kFeaturesOk = spec::VIRTIO_CONFIG_S_ACKNOWLEDGE |
                                     spec::VIRTIO_CONFIG_S_DRIVER |
                                     spec::VIRTIO_CONFIG_S_FEATURES_OK;
constexpr std::uint8_t kRunning = kFeaturesOk | spec::VIRTIO_CONFIG_S_DRIVER_OK;

// --- 7: register writes in the wrong state ---

/// A register of queue 0, which runs, is written; it keeps what it had.
void stays(HostileDriver& d, std::uint32_t reg, unsigned width, std::uint64_t value) {
  d.common(Common::kQueueSelect, 0, 2);
  const std::uint64_t before = d.common(reg, width);
  EXPECT_NE(before, value);
  d.common(reg, value, width);
  EXPECT_EQ(d.common(reg, width), before);
}

/// Queue 0 of a device that was reset is described and enabled; the interrupt is asked for.
void enables(HostileDriver& d, void (*lie)(Registers&)) {
  EXPECT_TRUE(d.negotiate(d.features()));
  d.common(Common::kConfigVector, HostileDriver::kConfigVector, 2);
  Registers registers = d.queue_registers(0);
  lie(registers);
  d.describe_queue(0, registers);
  d.enable_queue(0);
  EXPECT_EQ(d.common(Common::kQueueEnable, 2), 0U);
}

/// Requests are put into a ring whose device was reset: nobody takes them. Another reset follows in
/// any case, so that whoever would have, did.
void offers_after_reset(HostileDriver& d) {
  d.reset();
  const std::uint16_t before = d.used_index(d.queue());
  d.submit(d.chain());
  for (std::uint16_t queue = 0; queue < 8; ++queue)
    d.notify(queue);
  EXPECT_EQ(d.status(), 0);
  d.reset();
  EXPECT_EQ(d.used_index(d.queue()), before);
}

const HostileCase kStateCases[] = {
    // [CVE-2026-5747: a size that is checked when the queue starts, and used as it is later]
    {"SizeOfARunningQueueIsZero", End::kGoesOn,
     [](HostileDriver& d) { stays(d, Common::kQueueSize, 2, 0); }},
    {"SizeOfARunningQueueIsTheLargest", End::kGoesOn,
     [](HostileDriver& d) { stays(d, Common::kQueueSize, 2, 0xffff); }},
    {"SizeOfARunningQueueIsSmaller", End::kGoesOn,
     [](HostileDriver& d) { stays(d, Common::kQueueSize, 2, 4); }},
    {"SizeOfARunningQueueByteByByte", End::kGoesOn,
     [](HostileDriver& d) {
       stays(d, Common::kQueueSize, 1, 0x80);
       stays(d, Common::kQueueSize + 1, 1, 0x80);
     }},
    {"SizeChangesBetweenEnableAndDriverOk", End::kRevives,
     [](HostileDriver& d) {
       EXPECT_TRUE(d.negotiate(d.features()));
       d.describe_queue(0, d.queue_registers(0));
       d.enable_queue(0);
       stays(d, Common::kQueueSize, 2, 0x8000);
       stays(d, Common::kQueueDesc, 8, kMost);
       d.set_status(kRunning);
       EXPECT_EQ(d.status(), kRunning);
     }},
    {"DescriptorAreaOfARunningQueue", End::kGoesOn,
     [](HostileDriver& d) { stays(d, Common::kQueueDesc, 8, kMost); }},
    {"DriverAreaOfARunningQueue", End::kGoesOn,
     [](HostileDriver& d) { stays(d, Common::kQueueDriver, 8, 0); }},
    {"DeviceAreaOfARunningQueue", End::kGoesOn,
     [](HostileDriver& d) { stays(d, Common::kQueueDevice, 4, 0xffff'f000); }},
    {"AreasOfARunningQueueInOneWrite", End::kGoesOn,
     [](HostileDriver& d) {
       d.common(Common::kQueueSelect, 0, 2);
       const std::vector<std::byte> all(24, std::byte{0xff});
       d.write_bytes(pci::kRegistersBar, Common::kQueueDesc, all);
       EXPECT_EQ(d.common(Common::kQueueDevice, 8), d.queue_registers(0).device);
     }},
    {"EnableIsTakenBack", End::kGoesOn,
     [](HostileDriver& d) { stays(d, Common::kQueueEnable, 2, 0); }},
    {"EnableIsNeitherZeroNorOne", End::kGoesOn,
     [](HostileDriver& d) { stays(d, Common::kQueueEnable, 2, 0xffff); }},
    {"EnabledTwice", End::kGoesOn, [](HostileDriver& d) { d.enable_queue(0); }},
    {"QueuesThatDoNotExist", End::kGoesOn,
     [](HostileDriver& d) {
       const unsigned first = d.queues();
       for (const unsigned queue : {first, first + 1, 0x3ffU, 0x400U, 0x7fffU, 0x8000U, 0xffffU}) {
         Registers registers = d.queue_registers(0);
         d.describe_queue(static_cast<std::uint16_t>(queue), registers);
         d.enable_queue(static_cast<std::uint16_t>(queue));
         EXPECT_EQ(d.common(Common::kQueueSize, 2), 0U);
         EXPECT_EQ(d.common(Common::kQueueEnable, 2), 0U);
       }
     }},
    {"NotifiesQueuesThatDoNotExist", End::kGoesOn,
     [](HostileDriver& d) {
       const unsigned first = d.queues();
       for (const unsigned queue : {first, first + 1, 0x3ffU})
         d.notify(static_cast<std::uint16_t>(queue));
     }},
    {"NotifiesInEveryWidth", End::kGoesOn,
     [](HostileDriver& d) {
       for (std::uint64_t at = 0; at < 16; ++at) {
         for (const unsigned width : {1U, 2U, 3U, 4U, 8U})
           d.write(pci::kRegistersBar, pci::kNotifyOffset + at, kMost, width);
       }
       const std::vector<std::byte> page(4096, std::byte{0xff});
       d.write_bytes(pci::kRegistersBar, pci::kNotifyOffset, page);
     }},
    {"FeaturesAfterFeaturesOk", End::kGoesOn,
     [](HostileDriver& d) {
       d.common(Common::kDriverFeatureSelect, 0, 4);
       stays(d, Common::kDriverFeature, 4, 0xffff'ffff);
     }},
    {"FeatureSelectsOutside", End::kGoesOn,
     [](HostileDriver& d) {
       for (const std::uint32_t word : {2U, 3U, 4U, 0x8000'0000U, 0xffff'ffffU}) {
         d.common(Common::kDeviceFeatureSelect, word, 4);
         EXPECT_EQ(d.common(Common::kDeviceFeature, 4), 0U);
         d.common(Common::kDriverFeatureSelect, word, 4);
         d.common(Common::kDriverFeature, 0xffff'ffff, 4);
       }
     }},
    {"StatusBitsAreTakenAway", End::kGoesOn,
     [](HostileDriver& d) { d.set_status(spec::VIRTIO_CONFIG_S_ACKNOWLEDGE); }},
    {"DriverSetsNeedsReset", End::kGoesOn,
     [](HostileDriver& d) { d.set_status(kRunning | spec::VIRTIO_CONFIG_S_NEEDS_RESET); }},
    {"DriverOkTwice", End::kGoesOn, [](HostileDriver& d) { d.set_status(kRunning); }},
    {"UnknownStatusBits", End::kGoesOn, [](HostileDriver& d) { d.set_status(kRunning | 0x30); }},
    {"DriverFails", End::kRevives,
     [](HostileDriver& d) {
       d.set_status(spec::VIRTIO_CONFIG_S_FAILED);
       EXPECT_EQ(d.status(), kRunning | spec::VIRTIO_CONFIG_S_FAILED);
     }},
    {"DriverOkWithoutAnything", End::kRevives,
     [](HostileDriver& d) {
       d.reset();
       d.set_status(spec::VIRTIO_CONFIG_S_DRIVER_OK);
       EXPECT_EQ(d.status(), 0);
     }},
    {"EverythingInOneWrite", End::kRevives,  // FEATURES_OK has to be read back first
     [](HostileDriver& d) {
       d.reset();
       d.set_status(0xff);
       EXPECT_EQ(d.status() & spec::VIRTIO_CONFIG_S_DRIVER_OK, 0);
     }},
    {"DriverOkWithoutQueues", End::kRevives,
     [](HostileDriver& d) {
       EXPECT_TRUE(d.negotiate(d.features()));
       d.set_status(kRunning);
       EXPECT_EQ(d.status(), kRunning);
       d.notify(0);
       d.describe_queue(0, d.queue_registers(0));
       d.enable_queue(0);
       EXPECT_EQ(d.common(Common::kQueueEnable, 2), 0U) << "too late";
     }},
    {"EnableBeforeFeaturesOk", End::kBroken,
     [](HostileDriver& d) {
       d.reset();
       d.set_status(spec::VIRTIO_CONFIG_S_ACKNOWLEDGE | spec::VIRTIO_CONFIG_S_DRIVER);
       d.common(Common::kConfigVector, HostileDriver::kConfigVector, 2);
       d.describe_queue(0, d.queue_registers(0));
       d.enable_queue(0);
     }},
    {"EnableRightAfterReset", End::kBroken,
     [](HostileDriver& d) {
       d.reset();
       d.common(Common::kConfigVector, HostileDriver::kConfigVector, 2);
       d.enable_queue(d.queue());
     }},
    {"SizeZero", End::kBroken,
     [](HostileDriver& d) { enables(d, [](Registers& r) { r.size = 0; }); }},
    {"SizeNoPowerOfTwo", End::kBroken,
     [](HostileDriver& d) { enables(d, [](Registers& r) { r.size = 3; }); }},
    {"SizeAboveTheLargest", End::kBroken,
     [](HostileDriver& d) { enables(d, [](Registers& r) { r.size = 32; }); }},
    {"SizeOfMostBits", End::kBroken,
     [](HostileDriver& d) { enables(d, [](Registers& r) { r.size = 0x8000; }); }},
    {"DescriptorAreaNowhere", End::kBroken,
     [](HostileDriver& d) { enables(d, [](Registers& r) { r.descriptors = 0; }); }},
    {"DescriptorAreaNotAligned", End::kBroken,
     [](HostileDriver& d) { enables(d, [](Registers& r) { r.descriptors += 8; }); }},
    {"DriverAreaNotAligned", End::kBroken,
     [](HostileDriver& d) { enables(d, [](Registers& r) { r.driver += 1; }); }},
    {"DeviceAreaNotAligned", End::kBroken,
     [](HostileDriver& d) { enables(d, [](Registers& r) { r.device += 2; }); }},
    {"DescriptorAreaSpansTheEnd", End::kBroken,
     [](HostileDriver& d) { enables(d, [](Registers& r) { r.descriptors = kEnd - 240; }); }},
    {"DriverAreaSpansTheEnd", End::kBroken,
     [](HostileDriver& d) { enables(d, [](Registers& r) { r.driver = kEnd - 36; }); }},
    {"DeviceAreaSpansTheEnd", End::kBroken,
     [](HostileDriver& d) { enables(d, [](Registers& r) { r.device = kEnd - 132; }); }},
    {"DeviceAreaWraps", End::kBroken,
     [](HostileDriver& d) { enables(d, [](Registers& r) { r.device = kMost - 3; }); }},
    {"AreasInGuestMemory", End::kBroken,
     [](HostileDriver& d) { enables(d, [](Registers& r) { r.driver = 0x10'0000; }); }},
    {"AreasOverlap", End::kRevives,  // its own harm
     [](HostileDriver& d) {
       EXPECT_TRUE(d.negotiate(d.features()));
       Registers registers = d.queue_registers(0);
       registers.driver = registers.descriptors;
       registers.device = registers.descriptors;
       d.describe_queue(0, registers);
       d.enable_queue(0);
       d.set_status(kRunning);
       for (int i = 0; i < 100; ++i)
         d.offer(0, 0);
       static_cast<void>(d.status());
     }},
    {"BothQueuesHaveOneRing", End::kRevives,
     [](HostileDriver& d) {
       EXPECT_TRUE(d.negotiate(d.features()));
       for (std::uint16_t queue = 0; queue < 2; ++queue) {
         d.describe_queue(queue, d.queue_registers(0));
         d.enable_queue(queue);
       }
       d.set_status(kRunning);
       for (int i = 0; i < 100; ++i) {
         d.submit(0, {d.single()});
         d.notify(1);
       }
       static_cast<void>(d.status());
     }},
    {"OffersAfterReset", End::kRevives, offers_after_reset},
    {"BarMovesWhileQueuesRun", End::kBroken,  // SYS-2: addresses of before are outside
     [](HostileDriver& d) {
       d.write(pci::kConfigRegion, 0x18, 0x9'0000'0000, 8);
       static_cast<void>(d.status());  // the device knows, before it sees the request
       d.submit(d.chain());
     }},
    {"BarMovesToTheEndOfTheBus", End::kBroken,
     [](HostileDriver& d) {
       d.write(pci::kConfigRegion, 0x18, kMost, 8);
       static_cast<void>(d.status());  // the device knows, before it sees the request
       d.submit(d.chain());
     }},
    {"DecodingGoesOffWhileQueuesRun", End::kBroken,
     [](HostileDriver& d) {
       d.write(pci::kConfigRegion, spec::PCI_COMMAND, 0, 2);
       static_cast<void>(d.status());  // the device knows, before it sees the request
       d.submit(d.chain());
     }},
    {"BarMovesThereAndBack", End::kGoesOn,
     [](HostileDriver& d) {
       d.write(pci::kConfigRegion, 0x18, 0x9'0000'0000, 8);
       d.write(pci::kConfigRegion, 0x18, HostileDriver::kBarAddress, 8);
     }},
    {"DeviceConfigurationIsWritten", End::kGoesOn,
     [](HostileDriver& d) {
       const std::vector<std::byte> ones(64, std::byte{0xff});
       const std::uint64_t before = d.read(pci::kRegistersBar, pci::kDeviceConfigOffset, 8);
       d.write_bytes(pci::kRegistersBar, pci::kDeviceConfigOffset, ones);
       EXPECT_EQ(d.read(pci::kRegistersBar, pci::kDeviceConfigOffset, 8), before);
     }},
    {"EveryRegisterInEveryWidth", End::kRevives,
     [](HostileDriver& d) {
       for (const unsigned width : {1U, 2U, 4U, 8U}) {
         for (std::uint32_t at = 0; at < 0x48; ++at) {
           for (const std::uint64_t value : {std::uint64_t{0}, std::uint64_t{1}, kMost})
             d.common(at, value, width);
         }
         d.start();
       }
     }},
    {"WholeBarsAtOnce", End::kRevives,
     [](HostileDriver& d) {
       for (const unsigned byte : {0U, 0xffU, 0x0fU, 0x55U}) {
         const std::vector<std::byte> all(pci::kRegistersSize, static_cast<std::byte>(byte));
         d.write_bytes(pci::kRegistersBar, 0, all);
         d.write_bytes(pci::kMsixBar, 0, std::span(all).first(4096));
         static_cast<void>(d.status());
         d.start();
       }
     }},
    {"RegionByMessages", End::kRevives,  // the same memory, guards and rings with it
     [](HostileDriver& d) {
       const std::vector<std::byte> part(0x8'0000, std::byte{0xff});
       d.write_bytes(pci::kRegionBar, 0, part);
       static_cast<void>(d.status());  // which is answered after that
       EXPECT_EQ(d.memory().load_relaxed<std::uint32_t>(0x1000), 0xffff'ffff);
       d.notify(0);
       static_cast<void>(d.status());
       d.reconnect();
     }},
};
AIRLOCK_HOSTILE_CLASS(WrongState, for_every_type(kStateCases));

// --- 8: MSI-X vectors out of range ---

const HostileCase kVectorCases[] = {
    {"ConfigVectorEqualsTheCount", End::kGoesOn,
     [](HostileDriver& d) {
       d.common(Common::kConfigVector, d.vectors(), 2);
       EXPECT_EQ(d.common(Common::kConfigVector, 2), spec::VIRTIO_MSI_NO_VECTOR);
     }},
    {"ConfigVectorIsAlmostNone", End::kGoesOn,
     [](HostileDriver& d) {
       d.common(Common::kConfigVector, 0xfffe, 2);
       EXPECT_EQ(d.common(Common::kConfigVector, 2), spec::VIRTIO_MSI_NO_VECTOR);
     }},
    {"QueueVectorsOutOfRange", End::kGoesOn,
     [](HostileDriver& d) {
       const unsigned first = d.vectors();
       for (const unsigned vector : {first, 0x7ffU, 0x800U, 0x8000U, 0xfffeU}) {
         d.common(Common::kQueueSelect, d.queue(), 2);
         d.common(Common::kQueueVector, vector, 2);
         EXPECT_EQ(d.common(Common::kQueueVector, 2), spec::VIRTIO_MSI_NO_VECTOR);
         EXPECT_TRUE(d.works());
       }
     }},
    {"AllQueuesShareTheConfigVector", End::kGoesOn,
     [](HostileDriver& d) {
       for (unsigned queue = 0; queue < d.queues(); ++queue) {
         d.common(Common::kQueueSelect, queue, 2);
         d.common(Common::kQueueVector, HostileDriver::kConfigVector, 2);
       }
     }},
    {"VectorsChangeWhileTheyFire", End::kGoesOn,
     [](HostileDriver& d) {
       for (unsigned round = 0; round < 200; ++round) {
         d.common(Common::kQueueSelect, d.queue(), 2);
         d.common(Common::kQueueVector, round % 5, 2);
         d.submit(d.chain());
         d.common(Common::kQueueVector, 0xffff, 2);
         EXPECT_TRUE(d.wait_used(d.queue()));
       }
     }},
    {"TableIsOnlyMemory", End::kGoesOn,
     [](HostileDriver& d) {
       for (std::uint64_t at = 0; at < 4096; at += 8)
         d.write(pci::kMsixBar, at, kMost, 8);
     }},
    {"PendingBitsAreReadOnly", End::kGoesOn,
     [](HostileDriver& d) {
       d.write(pci::kMsixBar, d.vectors() * std::uint64_t{16}, kMost, 8);
       EXPECT_EQ(d.read(pci::kMsixBar, d.vectors() * std::uint64_t{16}, 8), 0U);
     }},
    {"SwitchesAreFlippedInConfigSpace", End::kGoesOn,
     [](HostileDriver& d) {
       for (std::uint64_t at = 0x40; at < 0x100; ++at)
         d.write(pci::kConfigRegion, at, 0xff, 1);
     }},
};
AIRLOCK_HOSTILE_CLASS(Vector, for_every_type(kVectorCases));

// --- 9: the window through configuration space ---

/// Where the capability is. VIRTIO 1.3, 4.1.4.9.
std::uint64_t window_capability(HostileDriver& d) {
  std::uint64_t at = d.read(pci::kConfigRegion, spec::PCI_CAPABILITY_LIST, 1);
  for (int steps = 0; steps < 48 && at != 0; ++steps) {
    const auto cap = static_cast<std::uint32_t>(d.read(pci::kConfigRegion, at, 4));
    if ((cap & 0xff) == spec::PCI_CAP_ID_VNDR && cap >> 24 == spec::VIRTIO_PCI_CAP_PCI_CFG)
      return at;
    at = cap >> 8 & 0xff;
  }
  ADD_FAILURE() << "no window";
  return 0;
}

void aim(HostileDriver& d, std::uint64_t cap, unsigned bar, std::uint32_t offset,
         std::uint32_t length) {
  d.write(pci::kConfigRegion, cap + offsetof(spec::VirtioPciCap, bar), bar, 1);
  d.write(pci::kConfigRegion, cap + offsetof(spec::VirtioPciCap, offset), offset, 4);
  d.write(pci::kConfigRegion, cap + offsetof(spec::VirtioPciCap, length), length, 4);
}

constexpr std::uint64_t kWindowData = offsetof(spec::VirtioPciCfgCap, pci_cfg_data);

/// A window that may not be: what is read is 0, what is written goes nowhere.
void looks_through(HostileDriver& d, unsigned bar, std::uint32_t offset, std::uint32_t length) {
  const std::uint64_t cap = window_capability(d);
  aim(d, cap, bar, offset, length);
  EXPECT_EQ(d.read(pci::kConfigRegion, cap + kWindowData, 4), 0U);
  d.write(pci::kConfigRegion, cap + kWindowData, 0, 4);
}

const HostileCase kWindowCases[] = {
    {"LengthZero", End::kGoesOn, [](HostileDriver& d) { looks_through(d, 0, Common::kStatus, 0); }},
    {"LengthThree", End::kGoesOn,
     [](HostileDriver& d) { looks_through(d, 0, Common::kStatus, 3); }},
    {"LengthEight", End::kGoesOn, [](HostileDriver& d) { looks_through(d, 0, 0x10, 8); }},
    {"LengthIsTheLargest", End::kGoesOn,
     [](HostileDriver& d) { looks_through(d, 0, 0, 0xffff'ffff); }},
    {"OffsetNotAligned", End::kGoesOn, [](HostileDriver& d) { looks_through(d, 0, 0x12, 4); }},
    {"OffsetAtTheEnd", End::kGoesOn,
     [](HostileDriver& d) { looks_through(d, 0, pci::kRegistersSize, 4); }},
    {"OffsetPlusLengthWraps", End::kGoesOn,
     [](HostileDriver& d) { looks_through(d, 0, 0xffff'fffc, 4); }},
    {"OffsetIsTheLargest", End::kGoesOn,
     [](HostileDriver& d) { looks_through(d, 2, 0xffff'ffff, 1); }},
    {"BeyondTheRegion", End::kGoesOn,
     [](HostileDriver& d) {
       looks_through(d, 2, static_cast<std::uint32_t>(HostileDriver::kMemoryBytes), 4);
     }},
    {"BarsThatAreNotThere", End::kGoesOn,
     [](HostileDriver& d) {
       for (const unsigned bar : {3U, 4U, 5U, 6U, 7U, 8U, 0x80U, 0xffU})
         looks_through(d, bar, 0, 4);
     }},
    {"IntoTheRegion", End::kGoesOn,
     [](HostileDriver& d) {
       const std::uint64_t cap = window_capability(d);
       aim(d, cap, pci::kRegionBar, HostileDriver::kData, 4);
       d.write(pci::kConfigRegion, cap + kWindowData, 0x1234'5678, 4);
       static_cast<void>(d.status());  // which is answered after that
       EXPECT_EQ(d.memory().load_relaxed<std::uint32_t>(HostileDriver::kData), 0x1234'5678U);
     }},
    {"NotifiesThroughIt", End::kGoesOn,
     [](HostileDriver& d) {
       const std::uint64_t cap = window_capability(d);
       for (const unsigned width : {1U, 2U, 4U}) {
         aim(d, cap, 0, pci::kNotifyOffset, width);
         d.write(pci::kConfigRegion, cap + kWindowData, 0, 4);
       }
     }},
    {"ResetsThroughIt", End::kRevives,
     [](HostileDriver& d) {
       const std::uint64_t cap = window_capability(d);
       aim(d, cap, 0, Common::kStatus, 1);
       d.write(pci::kConfigRegion, cap + kWindowData, 0, 1);
       EXPECT_TRUE(eventually([&d] { return d.status() == 0; }));
     }},
    {"AimedAndFiredInOneWrite", End::kGoesOn,
     [](HostileDriver& d) {
       const std::uint64_t cap = window_capability(d);
       const std::vector<std::byte> all(sizeof(spec::VirtioPciCfgCap), std::byte{0xff});
       d.write_bytes(pci::kConfigRegion, cap, all);
       EXPECT_EQ(window_capability(d), cap);
     }},
    {"ReadInEveryWidth", End::kGoesOn,
     [](HostileDriver& d) {
       const std::uint64_t cap = window_capability(d);
       aim(d, cap, 0, Common::kStatus, 1);
       for (std::uint64_t at = 0; at < 8; ++at) {
         for (const unsigned width : {1U, 2U, 3U, 4U, 8U})
           static_cast<void>(d.read(pci::kConfigRegion, cap + kWindowData - 4 + at, width));
       }
     }},
    {"WholeConfigSpaceAtOnce", End::kRevives,
     [](HostileDriver& d) {
       for (const unsigned byte : {0xffU, 0U, 0xaaU}) {
         const std::vector<std::byte> all(spec::PCI_CFG_SPACE_SIZE, static_cast<std::byte>(byte));
         d.write_bytes(pci::kConfigRegion, 0, all);
         EXPECT_EQ(d.read(pci::kConfigRegion, spec::PCI_VENDOR_ID, 2), spec::VIRTIO_PCI_VENDOR_ID);
       }
     }},
};
AIRLOCK_HOSTILE_CLASS(ConfigWindow, for_every_type(kWindowCases));

}  // namespace
}  // namespace airlock::testing
