// SPDX-License-Identifier: Apache-2.0
//
// The eventfds that a client gives for its interrupts: what else than an interrupt can be done with
// them.
#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <string>

#include <fmt/core.h>

#include "base/relax.h"
#include "spec/vfio_user.h"
#include "testing/attack/attacks.h"
#include "testing/attack/search.h"

namespace airlock::testing::attack {

namespace {

constexpr int kRounds = 20000;      // of a race that may take some to win
constexpr int kAnswerWithin = 400;  // ms, of a client that is not stuck
constexpr int kRoundsAtOnce = 16;   // before it is asked whether it is

void set_blocking(const Fd& fd) {
  fcntl(fd.get(), F_SETFL, fcntl(fd.get(), F_GETFL) & ~O_NONBLOCK);
}

// Takes the counter back without ever waiting, whatever the flag says.
bool take(const Fd& fd) {
  std::uint64_t count = 0;
  const iovec vector = {.iov_base = &count, .iov_len = sizeof count};
  return preadv2(fd.get(), &vector, 1, -1, RWF_NOWAIT) == sizeof count;
}

Result<Fd> eventfd_of(const Hostile& self, const std::string& which) {
  if (which == "error") return self.endpoint.eventfd(spec::VFIO_PCI_ERR_IRQ_INDEX, 0);
  return self.endpoint.eventfd(spec::VFIO_PCI_MSIX_IRQ_INDEX,
                               static_cast<std::uint32_t>(number(which)));
}

// VECTOR|error: once, or without end.
std::string signal_once(Hostile& self, Words words) {
  const auto fd = eventfd_of(self, words[0]);
  return fmt::format("signalled={}", fd && eventfd_write(fd->get(), 1) == 0 ? 1 : 0);
}

std::string storm(Hostile& self, Words words) {
  auto fd = eventfd_of(self, words[0]);
  if (!fd) return "signalled=0";
  self.at_work = std::jthread([event = std::move(*fd)](const std::stop_token& stop) {
    while (!stop.stop_requested())
      eventfd_write(event.get(), 1);
  });
  return "signalled=1";
}

// VECTOR|error: makes the client's end blocking, wakes it, and is faster in taking the counter
// away: then the client sleeps in a read that nobody ends.
std::string block(Hostile& self, Words words) {
  const auto fd = eventfd_of(self, words[0]);
  if (!fd) return "blocking=0";
  set_blocking(*fd);
  int taken = 0;
  for (int round = 0; round < kRounds; round++) {
    eventfd_write(fd->get(), 1);
    for (int spin = 0; spin < round % 256; spin++)
      relax();
    if (!take(*fd)) continue;
    taken++;
    if (taken % kRoundsAtOnce != 0) continue;
    // No such command: whoever is not stuck says so.
    const auto reply = self.peer->ask(0x7777, {}, kAnswerWithin);
    if (!reply) return fmt::format("blocking=1 rounds={} silent=1", round);
  }
  return fmt::format("blocking=1 rounds={} taken={} silent=0", kRounds, taken);
}

// VECTOR|error: fills the counter, so that the client's own write to it would wait.
std::string fill(Hostile& self, Words words) {
  const auto fd = eventfd_of(self, words[0]);
  if (!fd) return "filled=0";
  set_blocking(*fd);
  take(*fd);
  return fmt::format("filled={}", eventfd_write(fd->get(), UINT64_MAX - 1) == 0 ? 1 : 0);
}

constexpr std::array<Attack, 4> kInterruptAttacks = {{
    {.name = "signal", .words = "VECTOR|error", .count = 1, .run = signal_once},
    {.name = "storm", .words = "VECTOR|error", .count = 1, .run = storm},
    {.name = "block", .words = "VECTOR|error", .count = 1, .run = block},
    {.name = "fill", .words = "VECTOR|error", .count = 1, .run = fill},
}};

}  // namespace

std::span<const Attack> interrupt_attacks() {
  return kInterruptAttacks;
}

}  // namespace airlock::testing::attack
