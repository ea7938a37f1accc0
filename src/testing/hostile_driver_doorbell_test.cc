// SPDX-License-Identifier: Apache-2.0
//
// Goal: whatever a driver does to the eventfd by which it may notify a queue of any device, it
// keeps no one else waiting and wakes nothing that has ended. Method: the eventfd as
// DEVICE_GET_REGION_IO_FDS gives it, emptied, filled, made blocking, signalled without end and
// kept. VFIO_USER 1.8.
#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "spec/vfio_user_io_fds.h"
#include "spec/virtio.h"
#include "testing/hostile_driver_case.h"

namespace airlock::testing {
namespace {

using vfio_user::bytes_of;

constexpr std::uint64_t kMost = ~std::uint64_t{1};  // that a counter takes
constexpr std::uint32_t kRounds = 20000 / kRoundsDivisor;

/// The doorbell of the queue that is attacked, as its owner.
Fd take_doorbell(HostileDriver& d) {
  const spec::VfioUserRegionIoFds ask{
      .argsz = 4096, .flags = 0, .index = pci::kRegistersBar, .count = 0};
  const auto& reply = d.exchange(spec::VFIO_USER_DEVICE_GET_REGION_IO_FDS, bytes_of(ask));
  if (!reply || reply->fds.size() <= d.queue()) {
    ADD_FAILURE() << "no doorbell";
    return {};
  }
  return MUST(reply->fds[d.queue()].duplicate());
}

void ring(const Fd& doorbell, std::uint64_t count = 1) {
  EXPECT_EQ(::write(doorbell.get(), &count, sizeof count), ssize_t{sizeof count});
}

/// An honest chain, of which only the doorbell tells.
void expect_answer(HostileDriver& d, const Fd& doorbell) {
  // The worker asks for no notification while it is awake, and looks again before it sleeps.
  d.put_chain(d.queue(), d.chain());
  d.make_available(d.queue(), 0);
  ring(doorbell);
  EXPECT_TRUE(d.wait_used(d.queue()).has_value());
}

const HostileCase kDoorbellCases[] = {
    {"Rung", End::kGoesOn,
     [](HostileDriver& d) {
       const Fd doorbell = take_doorbell(d);
       for (int i = 0; i < 20; ++i)
         expect_answer(d, doorbell);
     }},
    {"EmptiedAllTheTime", End::kGoesOn,
     [](HostileDriver& d) {
       const Fd doorbell = take_doorbell(d);
       std::uint64_t count = 0;
       for (std::uint32_t i = 0; i < kRounds; ++i) {
         ring(doorbell);
         EXPECT_LE(::read(doorbell.get(), &count, sizeof count), ssize_t{sizeof count});
       }
     }},
    {"FullAndBlocking", End::kGoesOn,
     [](HostileDriver& d) {
       const Fd doorbell = take_doorbell(d);
       EXPECT_EQ(fcntl(doorbell.get(), F_SETFL, O_NONBLOCK), 0);
       for (std::uint32_t i = 0; i < kRounds; ++i)
         EXPECT_LE(::write(doorbell.get(), &kMost, sizeof kMost), ssize_t{sizeof kMost});
       EXPECT_EQ(fcntl(doorbell.get(), F_SETFL, 0), 0);
       EXPECT_TRUE(d.works());
     }},
    // Between the worker's look and its reading: were that able to block, it would here.
    {"BlockingAndEmptiedUnderItsHands", End::kGoesOn,
     [](HostileDriver& d) {
       const EventFd doorbell = MUST(EventFd::adopt(take_doorbell(d)));
       EXPECT_EQ(fcntl(doorbell.fd(), F_SETFL, 0), 0);
       std::atomic<bool> enough{false};
       const std::jthread other([&] {
         while (!enough)
           (void)doorbell.drain();
       });
       for (std::uint32_t i = 0; i < kRounds; ++i)
         doorbell.signal();
       enough = true;
       EXPECT_TRUE(d.works());
     }},
    {"RungWhileNothingIsThere", End::kGoesOn,
     [](HostileDriver& d) {
       const Fd doorbell = take_doorbell(d);
       for (std::uint32_t i = 0; i < kRounds; ++i)
         ring(doorbell);
     }},
    {"RungAfterAReset", End::kRevives,
     [](HostileDriver& d) {
       const Fd doorbell = take_doorbell(d);
       d.reset();
       ring(doorbell);
       EXPECT_EQ(d.status(), 0);
       d.start();
       expect_answer(d, doorbell);
     }},
    {"RungWhenTheQueueIsBroken", End::kBroken,
     [](HostileDriver& d) {
       const Fd doorbell = take_doorbell(d);
       d.offer(d.queue(), 0xffff);
       EXPECT_TRUE(
           eventually([&d] { return (d.status() & spec::VIRTIO_CONFIG_S_NEEDS_RESET) != 0; }));
       ring(doorbell);
       EXPECT_TRUE(AttackTarget::comes_to_rest());
     }},
    {"KeptForTheNextConnection", End::kRevives,
     [](HostileDriver& d) {
       const Fd doorbell = take_doorbell(d);
       d.reconnect();
       d.start();
       const std::uint64_t wake_ups = d.target().stats().queues.doorbells;
       ring(doorbell, kMost);
       EXPECT_TRUE(AttackTarget::comes_to_rest());
       EXPECT_EQ(d.target().stats().queues.doorbells, wake_ups);
       expect_answer(d, take_doorbell(d));
     }},
    {"AskedForAgainAndAgain", End::kGoesOn,
     [](HostileDriver& d) {
       for (std::uint32_t i = 0; i < 1000; ++i)
         (void)take_doorbell(d);
     }},
};
AIRLOCK_HOSTILE_CLASS(DoorbellInHostileHands, for_every_type(kDoorbellCases));

}  // namespace
}  // namespace airlock::testing
