// SPDX-License-Identifier: Apache-2.0
//
// Goal: no message, however it is cut, sized or labelled, does more than get an error or lose its
// connection: attack class 15. Method: a table of messages.
#include <sys/epoll.h>
#include <sys/mman.h>

#include <algorithm>

#include "spec/vfio_user_io_fds.h"
#include "spec/virtio.h"
#include "testing/hostile_driver_case.h"

namespace airlock::testing {
namespace {

using vfio_user::Bytes;
using vfio_user::bytes_of;
using vfio_user::make_message;
// NOLINTNEXTLINE(misc-unused-using-decls): the tables below are full of it
using vfio_user::operator+;

constexpr std::uint64_t kMost = ~std::uint64_t{0};
constexpr std::uint32_t kMost32 = 0xffff'ffff;
constexpr std::uint32_t kSetEventfds =
    spec::VFIO_IRQ_SET_DATA_EVENTFD | spec::VFIO_IRQ_SET_ACTION_TRIGGER;

/// A header that says whatever it says, alone.
Bytes header_of(std::uint16_t command, std::uint32_t size, std::uint32_t flags = 0) {
  return bytes_of(spec::VfioUserHeader{
      .message_id = 7, .command = command, .message_size = size, .flags = flags, .error = 0});
}

Bytes device_info(std::uint32_t argsz) {
  return bytes_of(
      spec::VfioUserDeviceInfo{.argsz = argsz, .flags = 0, .num_regions = 0, .num_irqs = 0});
}

Bytes region_info(std::uint32_t argsz, std::uint32_t index) {
  return bytes_of(spec::VfioUserRegionInfo{
      .argsz = argsz, .flags = 0, .index = index, .cap_offset = 0, .size = 0, .offset = 0});
}

Bytes access(std::uint32_t region, std::uint64_t offset, std::uint32_t count) {
  return bytes_of(spec::VfioUserRegionAccess{.offset = offset, .region = region, .count = count});
}

Bytes irqs(std::uint32_t flags, std::uint32_t start, std::uint32_t count,
           std::uint32_t index = spec::VFIO_PCI_MSIX_IRQ_INDEX,
           std::uint32_t argsz = sizeof(spec::VfioUserIrqSet)) {
  return bytes_of(spec::VfioUserIrqSet{
      .argsz = argsz, .flags = flags, .index = index, .start = start, .count = count});
}

Bytes dma_map(std::uint64_t address, std::uint64_t size, std::uint32_t flags = 3,
              std::uint64_t offset = 0) {
  return bytes_of(spec::VfioUserDmaMap{
      .argsz = 32, .flags = flags, .offset = offset, .address = address, .size = size});
}

Bytes dma_unmap(std::uint64_t address, std::uint64_t size, std::uint32_t flags) {
  return bytes_of(
      spec::VfioUserDmaUnmap{.argsz = 24, .flags = flags, .address = address, .size = size});
}

Bytes text(std::string_view json) {
  const auto bytes = std::as_bytes(std::span(json));
  return {bytes.begin(), bytes.end()};
}

/// VERSION on a connection of its own, in place of the one there was.
void greets_with(HostileDriver& d, const Bytes& payload) {
  d.peer().close();
  d.peer() = vfio_user::RawPeer::connect(d.target().socket_path());
  d.exchange(spec::VFIO_USER_VERSION, payload);
  EXPECT_TRUE(d.last_reply() && d.last_reply()->header.error != 0);
  d.reconnect();
}

/// The last exchange went well.
void expect_success(HostileDriver& d) {
  EXPECT_TRUE(d.last_reply() && d.last_reply()->header.error == 0);
}

const HostileCase kMessageCases[] = {
    // Sizes.
    {"SizeZero", End::kClosed,
     [](HostileDriver& d) { d.peer().send(header_of(spec::VFIO_USER_DEVICE_GET_INFO, 0)); }},
    {"SizeOneLessThanAHeader", End::kClosed,
     [](HostileDriver& d) { d.peer().send(header_of(spec::VFIO_USER_DEVICE_GET_INFO, 15)); }},
    {"SizeIsTheLargest", End::kClosed,
     [](HostileDriver& d) { d.peer().send(header_of(spec::VFIO_USER_REGION_WRITE, kMost32)); }},
    {"SizeNegative", End::kClosed,
     [](HostileDriver& d) { d.peer().send(header_of(spec::VFIO_USER_REGION_WRITE, 0x8000'0000)); }},
    {"SizeOneAboveTheLimit", End::kClosed,
     [](HostileDriver& d) {
       d.peer().send(header_of(spec::VFIO_USER_REGION_WRITE, (1U << 20U) + 33));
     }},
    {"SizeWithoutAPayload", End::kRefused,
     [](HostileDriver& d) { d.exchange(spec::VFIO_USER_DEVICE_GET_INFO, {}); }},
    {"PayloadOneByteShort", End::kRefused,
     [](HostileDriver& d) { d.exchange(spec::VFIO_USER_DEVICE_GET_INFO, Bytes(15)); }},
    {"PayloadWithMoreThanIsKnown", End::kGoesOn,
     [](HostileDriver& d) {
       d.exchange(spec::VFIO_USER_DEVICE_GET_INFO, device_info(200) + Bytes(184, std::byte{0xff}));
       expect_success(d);
     }},
    // argsz.
    {"ArgszZero", End::kRefused,
     [](HostileDriver& d) { d.exchange(spec::VFIO_USER_DEVICE_GET_INFO, device_info(0)); }},
    {"ArgszOneTooSmall", End::kRefused,
     [](HostileDriver& d) {
       d.exchange(spec::VFIO_USER_DEVICE_GET_REGION_INFO, region_info(31, 2));
     }},
    {"ArgszHuge", End::kGoesOn,
     [](HostileDriver& d) {
       d.exchange(spec::VFIO_USER_DEVICE_GET_REGION_INFO, region_info(kMost32, 2));
       expect_success(d);
       EXPECT_LE(d.last_reply()->payload.size(), 64U);
     }},
    // Commands.
    {"CommandZero", End::kRefused, [](HostileDriver& d) { d.exchange(0, {}); }},
    {"CommandUnknown", End::kRefused, [](HostileDriver& d) { d.exchange(19, Bytes(64)); }},
    {"CommandIsTheLargest", End::kRefused, [](HostileDriver& d) { d.exchange(0xffff, {}); }},
    {"CommandThatOnlyAServerSends", End::kRefused,
     [](HostileDriver& d) {
       d.exchange(spec::VFIO_USER_DMA_READ, access(0, HostileDriver::kBarAddress, 4096));
     }},
    {"WritesToTheClientsMemory", End::kRefused,
     [](HostileDriver& d) { d.exchange(spec::VFIO_USER_DMA_WRITE, Bytes(4096)); }},
    {"VersionTwice", End::kRefused,
     [](HostileDriver& d) { d.exchange(spec::VFIO_USER_VERSION, Bytes(4)); }},
    {"ManyWritesInOne", End::kRefused,
     [](HostileDriver& d) { d.exchange(spec::VFIO_USER_REGION_WRITE_MULTI, Bytes(64)); }},
    {"MigrationIsNotThere", End::kRefused,
     [](HostileDriver& d) { d.exchange(spec::VFIO_USER_MIG_DATA_WRITE, Bytes(64)); }},
    {"DoorbellsWithoutRoom", End::kRefused,
     [](HostileDriver& d) { d.exchange(spec::VFIO_USER_DEVICE_GET_REGION_IO_FDS, Bytes(64)); }},
    {"DoorbellsOfARegionThatIsNone", End::kRefused,
     [](HostileDriver& d) {
       d.exchange(spec::VFIO_USER_DEVICE_GET_REGION_IO_FDS,
                  bytes_of(spec::VfioUserRegionIoFds{kMost32, 0, kMost32, 0}));
     }},
    {"DoorbellsOfTheClientsOwn", End::kRefused,
     [](HostileDriver& d) {
       d.exchange(spec::VFIO_USER_DEVICE_GET_REGION_IO_FDS,
                  bytes_of(spec::VfioUserRegionIoFds{kMost32, 0, 0, 0}),
                  vfio_user::some_eventfds(1));
     }},
    // Flags of the header.
    {"NoReplyToAQuestion", End::kGoesOn,
     [](HostileDriver& d) {
       d.post(spec::VFIO_USER_DEVICE_GET_INFO, device_info(16));
       d.exchange(spec::VFIO_USER_DEVICE_GET_INFO, device_info(16));  // checks whose answer it is
       expect_success(d);
     }},
    {"NoReplyToAnError", End::kRevives,  // which is logged, so that the queues' going on is not all
     [](HostileDriver& d) {
       d.post(spec::VFIO_USER_DEVICE_GET_INFO, {});
       d.post(0xffff, {});
       d.exchange(spec::VFIO_USER_DEVICE_GET_INFO, device_info(16));
       expect_success(d);
     }},
    {"NoReplyToAReset", End::kRevives,
     [](HostileDriver& d) {
       d.post(spec::VFIO_USER_DEVICE_RESET, {});
       EXPECT_EQ(d.status(), 0);
     }},
    {"ReplyThatNobodyAskedFor", End::kRefused,
     [](HostileDriver& d) {
       d.exchange(spec::VFIO_USER_DEVICE_GET_INFO, device_info(16), {},
                  spec::VFIO_USER_F_TYPE_REPLY);
     }},
    {"ReplyToADmaReadThatWasNeverSent", End::kRefused,
     [](HostileDriver& d) {
       d.exchange(spec::VFIO_USER_DMA_READ, access(0, 0, 4096) + Bytes(4096), {},
                  spec::VFIO_USER_F_TYPE_REPLY);
     }},
    {"CommandWithTheErrorFlag", End::kRefused,
     [](HostileDriver& d) {
       d.exchange(spec::VFIO_USER_DEVICE_GET_INFO, device_info(16), {}, spec::VFIO_USER_F_ERROR);
     }},
    {"UnknownFlags", End::kRefused,
     [](HostileDriver& d) {
       d.exchange(spec::VFIO_USER_DEVICE_GET_INFO, device_info(16), {}, 0xffff'ffc0);
     }},
    {"TypeUnknown", End::kRefused,
     [](HostileDriver& d) {
       d.exchange(spec::VFIO_USER_DEVICE_GET_INFO, device_info(16), {}, 0xf);
     }},
    // Fds.
    {"FdWithAQuestion", End::kRefused,
     [](HostileDriver& d) {
       d.exchange(spec::VFIO_USER_DEVICE_GET_INFO, device_info(16), vfio_user::some_eventfds(1));
     }},
    {"FdWithAWrite", End::kRefused,
     [](HostileDriver& d) {
       d.exchange(spec::VFIO_USER_REGION_WRITE, access(2, HostileDriver::kData, 4) + Bytes(4),
                  vfio_user::some_eventfds(1));
     }},
    {"FdsMoreThanAgreed", End::kRefused,
     [](HostileDriver& d) {
       d.exchange(spec::VFIO_USER_DEVICE_GET_INFO, device_info(16), vfio_user::some_eventfds(9));
     }},
    {"FdsMoreThanAgreedWithADmaMap", End::kRefused,
     [](HostileDriver& d) {
       d.exchange(spec::VFIO_USER_DMA_MAP, dma_map(0, 4096), vfio_user::some_eventfds(100));
     }},
    // Pieces.
    {"HalfAHeader", End::kClosed,
     [](HostileDriver& d) {
       d.peer().send(Bytes(8));
       d.peer().shutdown_writing();
     }},
    {"HalfAPayload", End::kClosed,
     [](HostileDriver& d) {
       const Bytes whole = make_message(9, spec::VFIO_USER_REGION_WRITE, Bytes(4000));
       d.peer().send(Bytes(whole.begin(), whole.begin() + 2000));
       d.peer().shutdown_writing();
     }},
    {"ByteByByte", End::kGoesOn,
     [](HostileDriver& d) {
       const Bytes whole = make_message(9, spec::VFIO_USER_DEVICE_GET_INFO, device_info(16));
       for (const std::byte byte : std::span(whole).first(whole.size() - 1))
         d.peer().send({byte});
       d.exchange_bytes({whole.back()});
       expect_success(d);
     }},
    {"SeveralInOne", End::kGoesOn,
     [](HostileDriver& d) {
       const Bytes whole = make_message(9, spec::VFIO_USER_DEVICE_GET_INFO, device_info(16));
       d.exchange_bytes(whole + whole + whole);
       for (int more = 0; more < 2; ++more)
         d.exchange_bytes({});
       expect_success(d);
     }},
    // Accesses.
    {"ReadOfMoreThanAgreed", End::kRefused,
     [](HostileDriver& d) { d.exchange(spec::VFIO_USER_REGION_READ, access(2, 0, 1U << 21U)); }},
    {"ReadOfTheLargestCount", End::kRefused,
     [](HostileDriver& d) { d.exchange(spec::VFIO_USER_REGION_READ, access(2, 0, kMost32)); }},
    {"ReadOverTheEnd", End::kRefused,
     [](HostileDriver& d) {
       d.exchange(spec::VFIO_USER_REGION_READ, access(2, HostileDriver::kMemoryBytes - 3, 4));
     }},
    {"ReadWhoseEndWraps", End::kRefused,
     [](HostileDriver& d) { d.exchange(spec::VFIO_USER_REGION_READ, access(2, kMost - 1, 4)); }},
    {"ReadOfNothing", End::kGoesOn,
     [](HostileDriver& d) {
       d.exchange(spec::VFIO_USER_REGION_READ, access(2, 0, 0));
       expect_success(d);
     }},
    {"ReadOfARegionThatIsNotThere", End::kRefused,
     [](HostileDriver& d) { d.exchange(spec::VFIO_USER_REGION_READ, access(9, 0, 4)); }},
    {"ReadOfTheRom", End::kRefused,
     [](HostileDriver& d) { d.exchange(spec::VFIO_USER_REGION_READ, access(6, 0, 4)); }},
    {"ReadOfTheLargestRegion", End::kRefused,
     [](HostileDriver& d) { d.exchange(spec::VFIO_USER_REGION_READ, access(kMost32, 0, 4)); }},
    {"ReadWithData", End::kRefused,
     [](HostileDriver& d) { d.exchange(spec::VFIO_USER_REGION_READ, access(0, 0, 4) + Bytes(4)); }},
    {"WriteWithLessThanItSays", End::kRefused,
     [](HostileDriver& d) {
       d.exchange(spec::VFIO_USER_REGION_WRITE, access(2, 0, 4096) + Bytes(4));
     }},
    {"WriteWithMoreThanItSays", End::kRefused,
     [](HostileDriver& d) {
       d.exchange(spec::VFIO_USER_REGION_WRITE, access(2, 0x2'0000, 4) + Bytes(4096));
     }},
    {"WriteOverTheEndOfConfigSpace", End::kRefused,
     [](HostileDriver& d) {
       d.exchange(spec::VFIO_USER_REGION_WRITE, access(7, 254, 4) + Bytes(4));
     }},
    // Interrupts.
    {"IrqIndexOutside", End::kRefused,
     [](HostileDriver& d) {
       d.exchange(spec::VFIO_USER_DEVICE_SET_IRQS, irqs(kSetEventfds, 0, 1, 5),
                  vfio_user::some_eventfds(1));
     }},
    {"IrqStartOutside", End::kRefused,
     [](HostileDriver& d) {
       d.exchange(spec::VFIO_USER_DEVICE_SET_IRQS, irqs(kSetEventfds, d.vectors(), 1),
                  vfio_user::some_eventfds(1));
     }},
    {"IrqStartPlusCountWraps", End::kRefused,
     [](HostileDriver& d) {
       d.exchange(spec::VFIO_USER_DEVICE_SET_IRQS, irqs(kSetEventfds, kMost32, 2),
                  vfio_user::some_eventfds(2));
     }},
    {"IrqCountIsTheLargest", End::kRefused,
     [](HostileDriver& d) {
       d.exchange(spec::VFIO_USER_DEVICE_SET_IRQS, irqs(kSetEventfds, 1, kMost32),
                  vfio_user::some_eventfds(1));
     }},
    {"IrqFdsMissing", End::kRefused,
     [](HostileDriver& d) {
       d.exchange(spec::VFIO_USER_DEVICE_SET_IRQS, irqs(kSetEventfds, 0, 2),
                  vfio_user::some_eventfds(1));
     }},
    {"IrqFdsTooMany", End::kRefused,
     [](HostileDriver& d) {
       d.exchange(spec::VFIO_USER_DEVICE_SET_IRQS, irqs(kSetEventfds, 0, 1),
                  vfio_user::some_eventfds(2));
     }},
    {"IrqTwoDataTypes", End::kRefused,
     [](HostileDriver& d) {
       d.exchange(spec::VFIO_USER_DEVICE_SET_IRQS, irqs(kSetEventfds | 1, 0, 1),
                  vfio_user::some_eventfds(1));
     }},
    {"IrqNoAction", End::kRefused,
     [](HostileDriver& d) { d.exchange(spec::VFIO_USER_DEVICE_SET_IRQS, irqs(1, 0, 1)); }},
    {"IrqUnknownFlags", End::kRefused,
     [](HostileDriver& d) {
       d.exchange(spec::VFIO_USER_DEVICE_SET_IRQS, irqs(0xffff'ffff, 0, 1));
     }},
    {"IrqBoolWithoutItsData", End::kRefused,
     [](HostileDriver& d) {
       d.exchange(spec::VFIO_USER_DEVICE_SET_IRQS, irqs(0x22, 0, d.vectors()));
     }},
    {"IrqBoolWithTooMuchData", End::kRefused,
     [](HostileDriver& d) {
       d.exchange(spec::VFIO_USER_DEVICE_SET_IRQS,
                  irqs(0x22, 0, d.vectors()) + Bytes(d.vectors() + 1U));
     }},
    {"IrqMaskIsNotThere", End::kRefused,
     [](HostileDriver& d) { d.exchange(spec::VFIO_USER_DEVICE_SET_IRQS, irqs(0x9, 0, 1)); }},
    {"IrqOfIntx", End::kRefused,
     [](HostileDriver& d) {
       d.exchange(spec::VFIO_USER_DEVICE_SET_IRQS, irqs(kSetEventfds, 0, 1, 0),
                  vfio_user::some_eventfds(1));
     }},
    {"IrqFdIsAMemfd", End::kRefused,  // a file would fill a disk
     [](HostileDriver& d) {
       std::vector<Fd> fds;
       fds.emplace_back(memfd_create("no eventfd", MFD_CLOEXEC));
       d.exchange(spec::VFIO_USER_DEVICE_SET_IRQS, irqs(kSetEventfds, 1, 1), fds);
     }},
    {"IrqFdIsASocket", End::kRefused,  // a write would raise SIGPIPE
     [](HostileDriver& d) {
       auto [peer, other] = vfio_user::RawPeer::pair();
       std::vector<Fd> fds;
       fds.push_back(std::move(other));
       d.exchange(spec::VFIO_USER_DEVICE_SET_IRQS, irqs(kSetEventfds, 1, 1), fds);
     }},
    {"IrqFdIsAnEpoll", End::kGoesOn,  // takes no write: an interrupt to nobody
     [](HostileDriver& d) {
       std::vector<Fd> fds;
       fds.emplace_back(epoll_create1(EPOLL_CLOEXEC));
       d.exchange(spec::VFIO_USER_DEVICE_SET_IRQS, irqs(kSetEventfds, 1, 1), fds);
     }},
    {"IrqsOffWhileQueuesRun", End::kGoesOn,
     [](HostileDriver& d) {
       d.exchange(spec::VFIO_USER_DEVICE_SET_IRQS, irqs(0x21, 0, 0));
       expect_success(d);
     }},
    {"IrqsFiredByTheClient", End::kGoesOn,
     [](HostileDriver& d) {
       d.exchange(spec::VFIO_USER_DEVICE_SET_IRQS, irqs(0x21, 0, d.vectors()));
       expect_success(d);
       EXPECT_TRUE(d.take_interrupt(static_cast<std::uint16_t>(d.vectors() - 1)));
     }},
    // Questions.
    {"RegionIndexOutside", End::kRefused,
     [](HostileDriver& d) {
       d.exchange(spec::VFIO_USER_DEVICE_GET_REGION_INFO, region_info(32, 9));
     }},
    {"IrqInfoOutside", End::kRefused,
     [](HostileDriver& d) {
       d.exchange(spec::VFIO_USER_DEVICE_GET_IRQ_INFO,
                  bytes_of(spec::VfioUserIrqInfo{.argsz = 16, .flags = 0, .index = 5, .count = 0}));
     }},
    // Memory.
    {"DmaOfNothing", End::kRefused,
     [](HostileDriver& d) { d.exchange(spec::VFIO_USER_DMA_MAP, dma_map(4096, 0)); }},
    {"DmaWhoseEndWraps", End::kRefused,
     [](HostileDriver& d) { d.exchange(spec::VFIO_USER_DMA_MAP, dma_map(kMost, 4096)); }},
    {"DmaWhoseOffsetWraps", End::kRefused,
     [](HostileDriver& d) {
       d.exchange(spec::VFIO_USER_DMA_MAP, dma_map(0, 4096, 3, kMost - 10));
     }},
    {"DmaWithUnknownFlags", End::kRefused,
     [](HostileDriver& d) { d.exchange(spec::VFIO_USER_DMA_MAP, dma_map(0, 4096, 4)); }},
    {"DmaWithTwoFds", End::kRefused,
     [](HostileDriver& d) {
       d.exchange(spec::VFIO_USER_DMA_MAP, dma_map(0, 4096), vfio_user::some_eventfds(2));
     }},
    {"DmaOfMemoryThatNobodyWants", End::kGoesOn,  // T1: its fd is closed, and nothing is mapped
     [](HostileDriver& d) {
       for (int round = 0; round < 100; ++round) {
         d.exchange(spec::VFIO_USER_DMA_MAP, dma_map(0, kMost), vfio_user::some_eventfds(1));
         expect_success(d);
       }
       EXPECT_EQ(d.target().stats().guest_bytes_max, 0U);
     }},
    {"UnmapWithADirtyBitmap", End::kRefused,
     [](HostileDriver& d) { d.exchange(spec::VFIO_USER_DMA_UNMAP, dma_unmap(0, 4096, 1)); }},
    {"UnmapAllOfSomething", End::kRefused,
     [](HostileDriver& d) { d.exchange(spec::VFIO_USER_DMA_UNMAP, dma_unmap(0, 4096, 2)); }},
    {"UnmapOfNothing", End::kRefused,
     [](HostileDriver& d) { d.exchange(spec::VFIO_USER_DMA_UNMAP, dma_unmap(0, 0, 0)); }},
    {"UnmapThatWraps", End::kRefused,
     [](HostileDriver& d) { d.exchange(spec::VFIO_USER_DMA_UNMAP, dma_unmap(2, kMost, 0)); }},
    {"ResetWithAPayload", End::kRefused,
     [](HostileDriver& d) { d.exchange(spec::VFIO_USER_DEVICE_RESET, Bytes(4)); }},
    // VERSION.
    {"VersionOfAnotherMajor", End::kRevives,
     [](HostileDriver& d) {
       greets_with(d, bytes_of(spec::VfioUserVersion{.major = 1, .minor = 0}));
     }},
    {"VersionTooShort", End::kRevives, [](HostileDriver& d) { greets_with(d, Bytes(3)); }},
    {"VersionWithoutItsNul", End::kRevives,
     [](HostileDriver& d) { greets_with(d, Bytes(4) + text("{}")); }},
    {"VersionThatIsNoJson", End::kRevives,
     [](HostileDriver& d) { greets_with(d, Bytes(4) + text("{") + Bytes(1)); }},
    {"VersionWithTextForANumber", End::kRevives,
     [](HostileDriver& d) {
       greets_with(d, Bytes(4) + text(R"({"capabilities":{"max_msg_fds":"1"}})") + Bytes(1));
     }},
    {"VersionWithANegativeNumber", End::kRevives,
     [](HostileDriver& d) {
       greets_with(d, Bytes(4) + text(R"({"capabilities":{"max_msg_fds":-1}})") + Bytes(1));
     }},
    {"VersionNestedDeeply", End::kRevives,
     [](HostileDriver& d) { greets_with(d, Bytes(4) + text(std::string(4000, '[')) + Bytes(1)); }},
    {"VersionLong", End::kRevives,
     [](HostileDriver& d) { greets_with(d, Bytes(4) + Bytes(100'000, std::byte{' '})); }},
    {"AnythingBeforeVersion", End::kRevives,
     [](HostileDriver& d) {
       d.peer().close();
       d.peer() = vfio_user::RawPeer::connect(d.target().socket_path());
       for (std::uint16_t command = 2; command < 20; ++command) {
         d.exchange(command, Bytes(64));
         EXPECT_TRUE(d.last_reply() && d.last_reply()->header.error != 0) << command;
       }
       d.reconnect();
     }},
};
AIRLOCK_HOSTILE_CLASS(MalformedMessage, for_every_type(kMessageCases));

}  // namespace
}  // namespace airlock::testing
