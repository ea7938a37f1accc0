// SPDX-License-Identifier: Apache-2.0
//
// Goal: no buffer and no message of the driver of a console, or of a source of random numbers, does
// more than say nothing or break its queue: attack classes 3, 5, 12 and 13 once more, in their own
// words. Method: a table of lies to each kind of queue. VIRTIO 1.3, 5.3.6, 5.4.6.
#include "spec/virtio.h"
#include "spec/virtio_console.h"
#include "testing/hostile_driver_case.h"

namespace airlock::testing {
namespace {

using Control = spec::VirtioConsoleControl;

constexpr std::uint64_t kHeader = HostileDriver::kHeader;
constexpr std::uint64_t kData = HostileDriver::kData;
/// For any message, but that names are cut.
constexpr std::uint32_t kRoom = sizeof(Control) + sizeof(spec::VirtioConsoleResize);

constexpr AttackTarget::Options kTransmit{.attacked = Attacked::kConsoleTransmit};
constexpr AttackTarget::Options kReceive{.attacked = Attacked::kConsoleReceive};
constexpr AttackTarget::Options kControlReceive{.attacked = Attacked::kConsoleControlReceive};
constexpr AttackTarget::Options kControl{.attacked = Attacked::kConsoleControlTransmit};
constexpr AttackTarget::Options kRng{.attacked = Attacked::kRng};

// --- 5: buffers of the wrong direction ---

const HostileCase kDirections[] = {
    {"SentBufferIsWritable", End::kBroken,
     [](HostileDriver& d) { d.submit({d.writable(kData, 16)}); }, kTransmit},
    {"SentBufferEndsWritable", End::kBroken,
     [](HostileDriver& d) { d.submit({d.readable(kData, 16), d.writable(kData, 16)}); }, kTransmit},
    {"ReceiveBufferIsReadable", End::kBroken,
     [](HostileDriver& d) { d.submit({d.readable(kData, 16)}); }, kReceive},
    {"ReceiveBufferBeginsReadable", End::kBroken,
     [](HostileDriver& d) { d.submit({d.readable(kData, 16), d.writable(kData, 16)}); }, kReceive},
    {"MessageIsWritable", End::kBroken,
     [](HostileDriver& d) { d.submit({d.writable(kData, sizeof(Control))}); }, kControl},
    {"RoomForAMessageIsReadable", End::kBroken,
     [](HostileDriver& d) { d.submit({d.readable(kData, 64)}); }, kControlReceive},
    {"RandomNumbersToRead", End::kBroken,
     [](HostileDriver& d) { d.submit({d.readable(kData, 64)}); }, kRng},
    {"RandomNumbersBeginReadable", End::kBroken,
     [](HostileDriver& d) { d.submit({d.readable(kData, 1), d.writable(kData, 64)}); }, kRng},
};
AIRLOCK_HOSTILE_CLASS(ConsoleDirection, kDirections);

// --- 3: buffers that are too small ---

const HostileCase kSizes[] = {
    {"ReceiveBufferOfOneByte", End::kOk, [](HostileDriver& d) { d.submit({d.writable(kData, 1)}); },
     kReceive},
    {"RoomForLessThanAMessage", End::kBroken,
     [](HostileDriver& d) { d.submit({d.writable(kData, kRoom - 1)}); }, kControlReceive},
    {"RoomForAMessageAlone", End::kOk,
     [](HostileDriver& d) { d.submit({d.writable(kData, kRoom)}); }, kControlReceive},
    {"MessageCutShort", End::kOk,  // says nothing
     [](HostileDriver& d) { d.submit({d.readable(kHeader, sizeof(Control) - 1)}); }, kControl},
    {"OneRandomByte", End::kOk, [](HostileDriver& d) { d.submit({d.writable(kData, 1)}); }, kRng},
    {"MostRandomBytes", End::kGoesOn,  // and gets some of them
     [](HostileDriver& d) {
       std::vector<airlock_descriptor> chain(
           HostileDriver::kQueueSize,
           d.writable(HostileDriver::kReceive, HostileDriver::kDataBytes));
       chain.pop_back();
       d.submit(chain);
       const auto used = d.wait_used(d.queue());
       EXPECT_TRUE(used && used->length > 0 && used->length <= 65536U);
     },
     kRng},
};
AIRLOCK_HOSTILE_CLASS(ConsoleBuffers, kSizes);

// --- 13: messages whose numbers lie ---

void says(HostileDriver& d, std::uint32_t port, std::uint16_t event, std::uint16_t value) {
  d.memory().put(kHeader, Control{.id = Le32(port), .event = Le16(event), .value = Le16(value)});
  d.submit({d.readable(kHeader, sizeof(Control))});
}

const HostileCase kMessages[] = {
    {"OfAPortThatIsNotThere", End::kDropped,
     [](HostileDriver& d) { says(d, 1, spec::VIRTIO_CONSOLE_PORT_OPEN, 1); }, kControl},
    {"OfTheLargestPort", End::kDropped,
     [](HostileDriver& d) { says(d, 0xffff'ffff, spec::VIRTIO_CONSOLE_PORT_READY, 1); }, kControl},
    {"UnknownEvent", End::kDropped, [](HostileDriver& d) { says(d, 0, 8, 1); }, kControl},
    {"EventIsTheLargest", End::kDropped, [](HostileDriver& d) { says(d, 0, 0xffff, 1); }, kControl},
    {"EventThatIsTheDevices", End::kDropped,
     [](HostileDriver& d) { says(d, 0, spec::VIRTIO_CONSOLE_DEVICE_ADD, 1); }, kControl},
    {"ResizeByTheDriver", End::kDropped,
     [](HostileDriver& d) { says(d, 0, spec::VIRTIO_CONSOLE_RESIZE, 0); }, kControl},
    {"OpenIsNeitherZeroNorOne", End::kDropped,
     [](HostileDriver& d) { says(d, 0, spec::VIRTIO_CONSOLE_PORT_OPEN, 2); }, kControl},
    {"NotReadyAfterAll", End::kDropped,
     [](HostileDriver& d) { says(d, 0, spec::VIRTIO_CONSOLE_DEVICE_READY, 0); }, kControl},
    {"OpensAPortThatIsNotReady", End::kGoesOn,
     [](HostileDriver& d) {
       const std::uint64_t before = d.target().subject().refusals();
       says(d, 0, spec::VIRTIO_CONSOLE_PORT_READY, 0);
       EXPECT_TRUE(d.wait_used(d.queue()));
       says(d, 0, spec::VIRTIO_CONSOLE_PORT_OPEN, 1);
       EXPECT_TRUE(d.wait_used(d.queue()));
       EXPECT_EQ(d.target().subject().refusals(), before + 1);
     },
     kControl},
    {"EmergencyWriteInEveryWidth", End::kGoesOn,
     [](HostileDriver& d) {
       for (std::uint64_t at = 0; at < 16; ++at) {
         for (const unsigned width : {1U, 2U, 4U, 8U})
           d.write(pci::kRegistersBar, pci::kDeviceConfigOffset + at, 0x2a2a'2a2a, width);
       }
     },
     kTransmit},
};
AIRLOCK_HOSTILE_CLASS(ConsoleMessageLies, kMessages);

// --- 12: messages without end ---

const HostileCase kStorms[] = {
    {"OfPortsThatOpenAndClose", End::kGoesOn,
     [](HostileDriver& d) {
       for (unsigned round = 0; round < 2000 / kRoundsDivisor; ++round) {
         says(d, 0,
              round % 3 == 0 ? spec::VIRTIO_CONSOLE_PORT_READY : spec::VIRTIO_CONSOLE_PORT_OPEN,
              static_cast<std::uint16_t>(round % 2));
         EXPECT_TRUE(d.wait_used(d.queue()));
       }
     },
     kControl},
    {"OfLinesThatNobodyReadsInTime", End::kGoesOn,
     [](HostileDriver& d) {
       for (unsigned round = 0; round < 200 / kRoundsDivisor; ++round) {
         d.submit({d.readable(kData, HostileDriver::kDataBytes)});
         EXPECT_TRUE(d.wait_used(d.queue()));
       }
     },
     kTransmit},
    {"OfBuffersForRandomNumbers", End::kGoesOn,
     [](HostileDriver& d) {
       for (unsigned round = 0; round < 200 / kRoundsDivisor; ++round) {
         d.submit({d.writable(kData, HostileDriver::kDataBytes)});
         EXPECT_TRUE(d.wait_used(d.queue()));
       }
     },
     kRng},
};
AIRLOCK_HOSTILE_CLASS(ConsoleStorm, kStorms);

}  // namespace
}  // namespace airlock::testing
