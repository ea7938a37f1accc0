// SPDX-License-Identifier: Apache-2.0
//
// Goal: requests that are in flight outlive nothing that they use, whatever ends first; and nobody
// uses the device up: classes 10 and 12 of attacks. Method: a gate that keeps requests in flight
// while the driver resets, leaves or takes memory back; the same things in great number, with
// devices of every type.
#include <sys/eventfd.h>
#include <sys/mman.h>

#include <thread>

#include "spec/virtio.h"
#include "testing/hostile_driver_case.h"
#include "window/guest_memory.h"

namespace airlock::testing {
namespace {

using vfio_user::Bytes;
using vfio_user::bytes_of;
using vfio_user::make_message;
using vfio_user::RawPeer;

constexpr std::uint32_t kIn = spec::VIRTIO_BLK_T_IN;
constexpr std::uint64_t kData = HostileDriver::kData;
constexpr std::uint32_t kSector = 512;
constexpr std::uint16_t kInFlight = 5;
constexpr std::uint32_t kRounds = 200 / kRoundsDivisor;
constexpr std::byte kMark{0x77};

// --- 10: lives that end in the middle [CVE-2026-45782, CVE-2024-3446] ---

/// Leaves `count` reads of queue 0 in flight. The gate is shut then; the sectors that they read are
/// not what the memory holds.
void leave_in_flight(HostileDriver& d, std::uint16_t count = kInFlight) {
  const std::vector<std::byte> marks(std::size_t{count} * kSector, kMark);
  d.memory().copy_in(kData, marks);
  d.target().gate().shut();
  const airlock_descriptor header = d.header(kIn);
  for (std::uint16_t i = 0; i < count; ++i) {
    const auto first = static_cast<std::uint16_t>(3 * i);
    const auto link = [&](std::uint16_t at, airlock_descriptor one, bool more) {
      one.flags |= more ? AIRLOCK_DESC_NEXT : 0;
      one.next = static_cast<std::uint16_t>(first + at + 1);
      d.put(0, first + at, one);
    };
    link(0, header, true);
    link(1, d.writable(kData + std::uint64_t{i} * kSector, kSector), true);
    link(2, d.status_byte(), false);
    d.offer(0, first);
  }
  EXPECT_TRUE(eventually([&] { return d.target().gate().in_flight() == count; }));
}

void wait_until_landed(HostileDriver& d) {
  d.target().gate().open();
  EXPECT_TRUE(eventually([&] { return d.target().gate().in_flight() == 0; }));
}

/// Opens the gate from another thread, when whoever waits for it waits already, or a little before.
std::jthread opener(HostileDriver& d) {
  return std::jthread([&d] { d.target().gate().open(); });
}

/// Reset with requests in flight: it does not end before they do, and nothing is returned then.
void resets_in_flight(HostileDriver& d) {
  leave_in_flight(d);
  const std::uint16_t used = d.used_index(0);
  d.set_status(0);
  for (int i = 0; i < 20; ++i)
    EXPECT_NE(d.status(), 0) << "the reset ended before the requests";
  wait_until_landed(d);
  EXPECT_TRUE(eventually([&d] { return d.status() == 0; }));
  EXPECT_EQ(d.used_index(0), used) << "the ring was not the device's any more";
  EXPECT_EQ(d.status_written(), 0xee);
}

/// After the reset has ended nothing comes late: memory stays as it is.
void uses_memory_after_reset(HostileDriver& d) {
  leave_in_flight(d);
  d.set_status(0);
  wait_until_landed(d);
  EXPECT_TRUE(eventually([&d] { return d.status() == 0; }));
  const std::vector<std::byte> mine(kSector, std::byte{0x11});
  d.memory().copy_in(kData, mine);
  d.start();
  std::vector<std::byte> found(kSector);
  d.memory().copy_out(kData, found);
  EXPECT_EQ(found, mine);
}

const HostileCase kLifecycle[] = {
    {"ResetInFlight", End::kRevives, resets_in_flight},
    {"CompletionAfterReset", End::kRevives, uses_memory_after_reset},
    {"ResetMessageInFlight", End::kRevives,
     [](HostileDriver& d) {
       leave_in_flight(d);
       const std::jthread other = opener(d);
       d.exchange(spec::VFIO_USER_DEVICE_RESET, {});
       EXPECT_TRUE(d.last_reply() && d.last_reply()->header.error == 0);
       EXPECT_EQ(d.target().gate().in_flight(), 0U);
       EXPECT_EQ(d.status(), 0);
     }},
    {"RegistersWhileAResetWaits", End::kRevives,
     [](HostileDriver& d) {
       leave_in_flight(d);
       d.set_status(0);
       // Few: while a reset message waits nobody reads, and the socket's buffer is all the room.
       for (unsigned round = 0; round < 10; ++round) {
         d.set_status(static_cast<std::uint8_t>(round));
         d.enable_queue(0);
         d.describe_queue(1, {.size = 4, .vector = 9, .descriptors = round});
         d.notify(0);
         d.post(spec::VFIO_USER_DEVICE_RESET, {});
         if (round == 5) d.target().gate().open();
       }
       EXPECT_TRUE(eventually([&d] { return d.status() == 0; }));
     }},
    {"DisconnectInFlight", End::kRevives,
     [](HostileDriver& d) {
       leave_in_flight(d);
       d.peer().close();
       const std::jthread other = opener(d);
       d.reconnect();
       EXPECT_EQ(d.target().gate().in_flight(), 0U);
     }},
    {"DisconnectWhileAResetWaits", End::kRevives,
     [](HostileDriver& d) {
       leave_in_flight(d);
       d.post(spec::VFIO_USER_DEVICE_RESET, {});
       d.set_status(0);
       d.peer().close();
       const std::jthread other = opener(d);
       d.reconnect();
     }},
    {"BrokenQueueInFlight", End::kBroken,
     [](HostileDriver& d) {
       leave_in_flight(d);
       d.offer(0, 0xffff);
       EXPECT_TRUE(
           eventually([&d] { return (d.status() & spec::VIRTIO_CONFIG_S_NEEDS_RESET) != 0; }));
       wait_until_landed(d);
     }},
    {"BrokenQueueInFlightThenReset", End::kRevives,
     [](HostileDriver& d) {
       leave_in_flight(d);
       d.offer(0, 0xffff);
       EXPECT_TRUE(
           eventually([&d] { return (d.status() & spec::VIRTIO_CONFIG_S_NEEDS_RESET) != 0; }));
       d.set_status(0);
       EXPECT_NE(d.status(), 0);
       wait_until_landed(d);
       EXPECT_TRUE(eventually([&d] { return d.status() == 0; }));
     }},
    {"QueueResetInFlight",
     End::kRevives,
     [](HostileDriver& d) {
       using Common = HostileDriver::Common;
       leave_in_flight(d);
       const std::uint16_t used = d.used_index(0);
       d.common(Common::kQueueSelect, 0, 2);
       d.common(Common::kQueueReset, 1, 2);
       EXPECT_EQ(d.common(Common::kQueueReset, 2), 1U);
       d.common(Common::kQueueReset, 1, 2);
       d.common(Common::kQueueSize, 0x8000, 2);
       d.enable_queue(0);
       d.notify(0);
       wait_until_landed(d);
       EXPECT_TRUE(eventually([&d] { return d.common(Common::kQueueReset, 2) == 0; }));
       EXPECT_EQ(d.used_index(0), used);
       EXPECT_EQ(d.common(Common::kQueueEnable, 2), 0U);
     },
     {},
     {.accept = spec::feature(spec::VIRTIO_F_RING_RESET)}},
    {"QueueResetThenALie",
     End::kBroken,
     [](HostileDriver& d) {
       using Common = HostileDriver::Common;
       d.common(Common::kQueueSelect, 0, 2);
       d.common(Common::kQueueReset, 1, 2);
       EXPECT_TRUE(eventually([&d] { return d.common(Common::kQueueReset, 2) == 0; }));
       auto registers = d.queue_registers(0);
       registers.size = 0x8000;  // [CVE-2026-5747]
       d.describe_queue(0, registers);
       d.enable_queue(0);
     },
     {},
     {.accept = spec::feature(spec::VIRTIO_F_RING_RESET)}},
    {"MemoryIsTakenBackInFlight",
     End::kRevives,
     [](HostileDriver& d) {
       leave_in_flight(d);
       const std::jthread other = opener(d);
       take_memory_back(d);
       // From here on nothing of the device's leads to that memory.
       EXPECT_EQ(d.target().gate().in_flight(), 0U);
       EXPECT_EQ(d.target().stats().guest_bytes, 0U);
       const std::vector<std::byte> mine(std::size_t{kInFlight} * kSector, std::byte{0x11});
       d.memory().copy_in(kData, mine);
       d.notify(0);
       d.reset();
       std::vector<std::byte> found(mine.size());
       d.memory().copy_out(kData, found);
       EXPECT_EQ(found, mine);
     },
     {.policy = pci::DmaPolicy::kPrefer},
     {.in_guest_memory = true}},
    {"MemoryIsTakenBackAndAResetComes",
     End::kRevives,
     [](HostileDriver& d) {
       leave_in_flight(d);
       d.post(spec::VFIO_USER_DMA_UNMAP,
              bytes_of(spec::VfioUserDmaUnmap{.argsz = 24, .flags = 2, .address = 0, .size = 0}));
       d.set_status(0);
       const std::jthread other = opener(d);
       EXPECT_TRUE(eventually([&d] { return d.status() == 0; }));
     },
     {.policy = pci::DmaPolicy::kPrefer},
     {.in_guest_memory = true}},
};
AIRLOCK_HOSTILE_CLASS(Lifecycle, kLifecycle);

const HostileCase kLoadCases[] = {
    {"ResetAgainAndAgainUnderLoad", End::kRevives,
     [](HostileDriver& d) {
       for (std::uint32_t round = 0; round < kRounds; ++round) {
         for (unsigned i = 0; i < round % 4; ++i)
           d.submit(d.chain());
         if (round % 3 == 0) d.post(spec::VFIO_USER_DEVICE_RESET, {});
         d.start();
       }
     }},
    {"LeavesAgainAndAgainUnderLoad", End::kRevives,
     [](HostileDriver& d) {
       for (std::uint32_t round = 0; round < kRounds; ++round) {
         d.submit(d.chain());
         d.notify(1);
         d.peer().close();
         d.reconnect();
         d.start();
       }
     }},
    {"NotifiesFromAnotherThreadWhileItResets", End::kRevives,
     [](HostileDriver& d) {
       // Two threads of one driver: each message is one sendmsg, so they don't mix.
       const Bytes notification = make_message(
           1, spec::VFIO_USER_REGION_WRITE,
           bytes_of(spec::VfioUserRegionAccess{
               .offset = pci::kNotifyOffset, .region = pci::kRegistersBar, .count = 2}),
           spec::VFIO_USER_F_NO_REPLY);
       Bytes whole = notification;
       whole.resize(whole.size() + 2);
       whole[4] = static_cast<std::byte>(whole.size());
       const std::jthread other([&](const std::stop_token& stop) {
         while (!stop.stop_requested())
           d.peer().send(whole);
       });
       for (std::uint32_t round = 0; round < kRounds / 4; ++round) {
         d.submit(d.chain());
         d.start();
       }
     }},
    {"OffersFromAnotherThreadWhileItResets", End::kRevives,
     [](HostileDriver& d) {
       const std::uint16_t queue = d.queue();
       const airlock_descriptor one = d.single();
       // Views of the same memory, which each start() makes anew for the driver itself.
       const ring::AvailWriter avail = d.avail(queue);
       const std::jthread other([&](const std::stop_token& stop) {
         for (std::uint16_t index = 0; !stop.stop_requested(); ++index) {
           d.put(queue, index % HostileDriver::kQueueSize, one);
           avail.put(index % HostileDriver::kQueueSize, index % HostileDriver::kQueueSize);
           avail.publish_index(ring::RingIndex(index));
         }
       });
       for (std::uint32_t round = 0; round < kRounds; ++round) {
         d.reset();
         d.negotiate(d.features());
         d.describe_queue(queue, d.queue_registers(queue));
         d.enable_queue(queue);
         d.set_status(0xf);
         d.notify(queue);
       }
     }},
};
AIRLOCK_HOSTILE_CLASS(UnderLoad, for_every_type(kLoadCases));

// --- 12: exhaustion [CVE-2022-0669, CVE-2016-5403, CVE-2020-10726] ---

Bytes dma_map(std::uint64_t address) {
  return bytes_of(
      spec::VfioUserDmaMap{.argsz = 32, .flags = 3, .offset = 0, .address = address, .size = 4096});
}

const HostileCase kExhaustionCases[] = {
    {"ManyConnections", End::kRevives,
     [](HostileDriver& d) {
       std::vector<RawPeer> more;
       for (int i = 0; i < 100; ++i) {
         more.push_back(RawPeer::connect(d.target().socket_path()));
         // One at a time: the backlog is short, and a full one is no attack but a wait.
         EXPECT_TRUE(more.back().closed_by_peer());
       }
       EXPECT_TRUE(d.works());
     }},
    {"FdsWithEveryMessageThatTakesNone", End::kRevives,
     [](HostileDriver& d) {
       const auto before = vfio_user::open_fds();
       for (std::uint16_t command = 1; command < 20; ++command) {
         if (command == spec::VFIO_USER_DMA_MAP || command == spec::VFIO_USER_DEVICE_SET_IRQS)
           continue;
         for (const std::size_t count : {1U, 8U, 9U, 16U, 17U, 200U}) {
           d.exchange(command, Bytes(64), vfio_user::some_eventfds(count));
           EXPECT_TRUE(d.last_reply() && d.last_reply()->header.error != 0) << command;
         }
       }
       EXPECT_EQ(vfio_user::open_fds(), before);
     }},
    {"FdsInThePiecesOfAMessage", End::kRevives,
     [](HostileDriver& d) {
       const auto before = vfio_user::open_fds();
       const Bytes whole = make_message(9, spec::VFIO_USER_DEVICE_GET_INFO, Bytes(200));
       for (std::size_t at = 0; at + 1 < whole.size(); ++at)
         d.peer().send({whole[at]}, vfio_user::some_eventfds(3));
       d.exchange_bytes({whole.back()}, vfio_user::some_eventfds(3));
       EXPECT_TRUE(d.last_reply() && d.last_reply()->header.error != 0);
       EXPECT_EQ(vfio_user::open_fds(), before);
     }},
    {"FdsAndThenGone", End::kClosed,
     [](HostileDriver& d) {
       const Bytes whole = make_message(9, spec::VFIO_USER_DMA_MAP, Bytes(32));
       d.peer().send(Bytes(whole.begin(), whole.begin() + 20), vfio_user::some_eventfds(8));
       d.peer().shutdown_writing();
     }},
    {"EventfdsAgainAndAgain", End::kGoesOn,
     [](HostileDriver& d) {
       const EventFd event = MUST(EventFd::create());
       const auto before = vfio_user::open_fds();
       for (int round = 0; round < 500; ++round)
         d.install(static_cast<std::uint16_t>(round % d.vectors()), event.fd());
       EXPECT_EQ(vfio_user::open_fds(), before);
     }},
    {"EventfdThatIsFullAndBlocks", End::kGoesOn,  // whoever signals it must not wait
     [](HostileDriver& d) {
       const Fd full(eventfd(0, EFD_CLOEXEC));
       const std::uint64_t most = ~std::uint64_t{0} - 1;
       EXPECT_EQ(write(full.get(), &most, sizeof most), ssize_t{sizeof most});
       for (std::uint16_t vector = 0; vector < d.vectors(); ++vector)
         d.install(vector, full.get());
       EXPECT_EQ(fcntl(full.get(), F_SETFL, 0), 0);
       EXPECT_TRUE(d.works());
     }},
    {"NeverReadsAReply", End::kClosed,
     [](HostileDriver& d) {
       const Bytes question =
           make_message(1, spec::VFIO_USER_REGION_READ,
                        bytes_of(spec::VfioUserRegionAccess{
                            .offset = 0, .region = pci::kRegionBar, .count = 1U << 16U}));
       // More than the server keeps for anybody: it hangs up, at the latest when it has 8 MiB.
       for (int sent = 0; sent < 10'000 && d.peer().send(question); ++sent) {
       }
       while (d.peer().receive()) {
       }
     }},
    {"RefusedMessagesFillNoLog", End::kRevives,
     [](HostileDriver& d) {
       for (int i = 0; i < 2000; ++i)
         d.post(0xffff, {});
       static_cast<void>(d.status());
     }},
    {"OneMemoryRangeTooMany",
     End::kRevives,
     [](HostileDriver& d) {
       std::uint32_t refused = 0;
       for (std::uint64_t i = 0; i < window::GuestMemory::kRangesMax + 100; ++i) {
         std::vector<Fd> fds;
         fds.emplace_back(memfd_create("guest", MFD_CLOEXEC));
         EXPECT_EQ(ftruncate(fds[0].get(), 4096), 0);
         d.exchange(spec::VFIO_USER_DMA_MAP, dma_map(0x10'0000'0000 + i * 8192), fds);
         refused += d.last_reply() && d.last_reply()->header.error != 0 ? 1U : 0U;
       }
       EXPECT_EQ(refused, 100U);
     },
     {.policy = pci::DmaPolicy::kPrefer}},
    {"GuestMemoryThatIsNone",
     End::kRevives,
     [](HostileDriver& d) {
       for (const char* path : {"/", "/dev/null", "/proc/self/mem", "/proc/self/maps"}) {
         std::vector<Fd> fds;
         fds.emplace_back(open(path, O_RDONLY | O_CLOEXEC));
         d.exchange(spec::VFIO_USER_DMA_MAP, dma_map(0), fds);
         EXPECT_TRUE(d.last_reply() && d.last_reply()->header.error != 0) << path;
       }
       d.exchange(spec::VFIO_USER_DMA_MAP, dma_map(0), vfio_user::some_eventfds(1));
       EXPECT_TRUE(d.last_reply() && d.last_reply()->header.error != 0);
     },
     {.policy = pci::DmaPolicy::kPrefer}},
};
AIRLOCK_HOSTILE_CLASS(Exhaustion, for_every_type(kExhaustionCases));

const HostileCase kDiskExhaustion[] = {
    {"LargestRequestsOfAllQueues", End::kGoesOn,
     [](HostileDriver& d) {
       for (std::uint32_t round = 0; round < 64 / kRoundsDivisor; ++round) {
         for (std::uint16_t queue = 0; queue < d.queues(); ++queue) {
           std::vector<airlock_descriptor> chain{d.header(kIn)};
           while (chain.size() < HostileDriver::kQueueSize - 1U)
             chain.push_back(d.writable(kData, HostileDriver::kDataBytes - kSector));
           chain.push_back(d.status_byte());
           d.submit(queue, chain);
         }
         for (std::uint16_t queue = 0; queue < d.queues(); ++queue)
           EXPECT_TRUE(d.wait_used(queue));
       }
     }},
};
AIRLOCK_HOSTILE_CLASS(DiskExhaustion, kDiskExhaustion);

/// What a peer makes the device log is bounded by time, not by what the peer does.
class LogFlood : public HostileDriverTest {
 protected:
  static constexpr std::uint32_t kFlood = 100;
  /// Of each kind of line a burst and one a second; nobody knows how long this took, but it is
  /// nowhere near kFlood seconds.
  static constexpr std::size_t kLinesMost = kFlood / 2;
};

TEST_F(LogFlood, OfViolationsAfterOneAnother) {
  attach({}, {});
  for (std::uint32_t round = 0; round < kFlood; ++round) {
    driver().offer(0, 0xffff);
    EXPECT_TRUE(
        eventually([] { return (driver().status() & spec::VIRTIO_CONFIG_S_NEEDS_RESET) != 0; }));
    driver().start();
  }
  EXPECT_LE(take_log().size(), kLinesMost);
}

TEST_F(LogFlood, OfClientsThatComeAndGo) {
  attach({}, {});
  for (std::uint32_t round = 0; round < kFlood; ++round)
    driver().reconnect();
  EXPECT_LE(take_log().size(), kLinesMost);
}

TEST_F(LogFlood, OfClientsThatAreDropped) {
  attach({}, {});
  for (std::uint32_t round = 0; round < kFlood; ++round) {
    driver().peer().send(Bytes(16));
    driver().reconnect();
  }
  EXPECT_LE(take_log().size(), kLinesMost);
}

TEST_F(LogFlood, OfViolationsByManyClients) {
  attach({}, {});
  for (std::uint32_t round = 0; round < kFlood; ++round) {
    driver().reconnect();
    driver().enable_queue(0);
    EXPECT_NE(driver().status() & spec::VIRTIO_CONFIG_S_NEEDS_RESET, 0);
    driver().exchange(0xffff, {});
  }
  EXPECT_LE(take_log().size(), kLinesMost);
}

}  // namespace
}  // namespace airlock::testing
