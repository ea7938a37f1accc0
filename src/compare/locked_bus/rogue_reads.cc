// SPDX-License-Identifier: Apache-2.0
#include "compare/locked_bus/rogue_reads.h"

#include <algorithm>
#include <utility>

#include "compare/locked_bus/card_driver.h"
#include "compare/models/pool.h"

namespace airlock::compare {

namespace {

constexpr std::uint64_t kRogueGuestBytes = std::uint64_t{4} << 20;
constexpr std::uint64_t kRogueKey = 0x726f677565;
constexpr std::uint64_t kRogueFrames = 100;
constexpr std::uint64_t kRogueFrameAt = std::uint64_t{1} << 20;
constexpr std::uint64_t kRogueBuffersAt = std::uint64_t{2} << 20;

// Frames of all lengths, out and back.
Result<std::uint64_t> exchange_frames(Access& access, Card& card) {
  const auto guest = access.private_memory().span();
  const auto driver = TRY(CardDriver::open(
      access, card, guest.subspan(kRogueBuffersAt, CardDriver::kEntries * CardDriver::kFrameMost)));
  std::uint64_t intact = 0;
  for (std::uint64_t i = 1; i <= kRogueFrames; ++i) {
    const auto frame = guest.subspan(kRogueFrameAt, i * CardDriver::kFrameMost / kRogueFrames);
    TRY(driver->send(frame));
    TRY(driver->take_sent());
    const auto received = TRY(driver->receive());
    if (!received || !std::ranges::equal(*received, frame)) return fail(Errc::kIoError);
    ++intact;
  }
  return intact;
}

// Of the words that were read, those that say of themselves to be the guest's.
std::uint64_t canary_bytes(std::span<const std::byte> bytes) {
  std::uint64_t found = 0;
  Canary(kRogueKey).each_in(bytes, kRogueGuestBytes / Canary::kWordBytes,
                            [&](std::uint64_t /*index*/) { found += Canary::kWordBytes; });
  return found;
}

}  // namespace

Result<RogueReads> measure_rogue_reads(bool locked) {
  const auto access = TRY(kPool.connect({.private_bytes = kRogueGuestBytes}));
  const PrivateMemory& guest = access->private_memory();
  guest.fill(Canary(kRogueKey));
  Bus bus;
  TRY(bus.attach(kPrivateBase, guest.bytes()));
  TRY(bus.attach(kSharedBase, access->memory()));
  if (locked) TRY(lock_window(bus, kSharedBase, access->memory().size()));
  Card card(bus);
  RogueReads reads;
  reads.frames = TRY(exchange_frames(*access, card));
  // The frames went through the pool: what is private is what no frame was made of.
  guest.fill(Canary(kRogueKey));
  reads.private_bytes = canary_bytes(guest.span());
  reads.opened = bus.write_register(Bus::Register::kEnable, 0).has_value();
  std::vector<std::byte> read(guest.size());
  read_all(bus, std::to_underlying(kPrivateBase), read);
  reads.read_bytes = canary_bytes(read);
  reads.faults = bus.fault_count();
  return reads;
}

}  // namespace airlock::compare
