// SPDX-License-Identifier: Apache-2.0
//
// Goal: chains that a device was offered are not used once their ring, their memory or their driver
// is gone, on whichever queue of whichever type: class 10 of attacks. Method: chains that are
// offered when the life of a queue ends, some of which a device keeps for as long as there is
// nothing to put there; marks in the memory that they name.
#include <algorithm>

#include "spec/virtio.h"
#include "testing/hostile_driver_case.h"

namespace airlock::testing {
namespace {

using vfio_user::bytes_of;

constexpr std::uint32_t kOfferedRounds = 20 / kRoundsDivisor;
constexpr std::byte kOfferedMark{0x2b};

/// What chains name is the driver's own again: it is marked, and nothing may change it.
void mark_data(const HostileDriver& d) {
  const std::vector<std::byte> marks(HostileDriver::kDataBytes, kOfferedMark);
  d.memory().copy_in(HostileDriver::kData, marks);
}
void expect_marks(const HostileDriver& d) {
  std::vector<std::byte> found(HostileDriver::kDataBytes);
  d.memory().copy_out(HostileDriver::kData, found);
  EXPECT_EQ(std::ranges::count(found, kOfferedMark), std::ssize(found));
}

/// Gives the device something to put into a queue that it fills when it likes.
void stir(HostileDriver& d) {
  static_cast<void>(d.target().subject().nudge(d));
}
/// The same, as often as a driver likes.
void stir_and_wait(HostileDriver& d) {
  AttackSubject& subject = d.target().subject();
  if (!subject.nudge(d)) return;
  EXPECT_TRUE(d.wait_used(subject.nudging_queue()));
}

const HostileCase kOfferedCases[] = {
    {"ThenAReset", End::kRevives,
     [](HostileDriver& d) {
       for (std::uint32_t round = 0; round < kOfferedRounds; ++round) {
         d.submit(d.chain());
         if (round % 2 == 0) stir(d);
         d.set_status(0);
         EXPECT_TRUE(eventually([&d] { return d.status() == 0; }));
         mark_data(d);
         d.start();
         expect_marks(d);
       }
     }},
    {"ThenAResetMessage", End::kRevives,
     [](HostileDriver& d) {
       d.submit(d.chain());
       stir(d);
       d.exchange(spec::VFIO_USER_DEVICE_RESET, {});
       EXPECT_TRUE(d.last_reply() && d.last_reply()->header.error == 0);
       EXPECT_EQ(d.status(), 0);
       mark_data(d);
       d.start();
       expect_marks(d);
     }},
    {"ThenTheDriverIsGone", End::kRevives,
     [](HostileDriver& d) {
       d.submit(d.chain());
       stir(d);
       d.peer().close();
       d.reconnect();
       mark_data(d);
       d.start();
       expect_marks(d);
     }},
};
AIRLOCK_HOSTILE_CLASS(Offered, for_every_queue(kOfferedCases));

const HostileCase kOfferedQueueReset[] = {
    {"ThenAQueueReset",
     End::kRevives,
     [](HostileDriver& d) {
       using Common = HostileDriver::Common;
       for (std::uint32_t round = 0; round < kOfferedRounds; ++round) {
         d.submit(d.chain());
         if (round % 2 == 0) stir_and_wait(d);
         d.common(Common::kQueueSelect, d.queue(), 2);
         d.common(Common::kQueueReset, 1, 2);
         EXPECT_TRUE(eventually([&d] { return d.common(Common::kQueueReset, 2) == 0; }));
         // Of one that is reset neither the ring nor what it names is the device's any more.
         const std::uint16_t used = d.used_index(d.queue());
         mark_data(d);
         d.notify(d.queue());
         stir_and_wait(d);
         EXPECT_EQ(d.common(Common::kQueueEnable, 2), 0U);
         EXPECT_EQ(d.used_index(d.queue()), used);
         expect_marks(d);
         d.start();
       }
     },
     {},
     {.accept = spec::feature(spec::VIRTIO_F_RING_RESET)}},
};
AIRLOCK_HOSTILE_CLASS(OfferedQueue, for_every_queue(kOfferedQueueReset));

const HostileCase kOfferedMemory[] = {
    {"ThenTheMemoryIsTakenBack",
     End::kRevives,
     [](HostileDriver& d) {
       d.submit(d.chain());
       take_memory_back(d);
       EXPECT_EQ(d.target().stats().guest_bytes, 0U);
       mark_data(d);
       d.notify(d.queue());
       stir(d);
       d.reset();
       expect_marks(d);
     },
     {.policy = pci::DmaPolicy::kPrefer},
     {.in_guest_memory = true}},
};
AIRLOCK_HOSTILE_CLASS(OfferedInGuestMemory, for_every_queue(kOfferedMemory));

}  // namespace
}  // namespace airlock::testing
