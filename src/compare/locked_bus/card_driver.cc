// SPDX-License-Identifier: Apache-2.0
#include "compare/locked_bus/card_driver.h"

#include <utility>

namespace airlock::compare {

namespace {

std::uint64_t descriptor_offset(std::uint64_t ring, std::uint32_t index) {
  return ring + index * sizeof(CardDescriptor);
}

}  // namespace

Result<std::unique_ptr<CardDriver>> CardDriver::open(Access& access, Card& card,
                                                     std::span<std::byte> buffers) {
  if (buffers.size() != kEntries * kFrameMost) {
    return fail({.code = Errc::kWrongSize, .address = buffers.size()});
  }
  constexpr std::uint64_t kRingBytes = kEntries * sizeof(CardDescriptor);
  Ring send {
    .offset = std::to_underlying(TRY(access.allocate_coherent(kRingBytes))), .mapped = {}
  };
  Ring receive {
    .offset = std::to_underlying(TRY(access.allocate_coherent(kRingBytes))), .mapped = {}
  };
  send.mapped.resize(kEntries);
  receive.mapped.reserve(kEntries);
  for (std::uint64_t entry = 0; entry < kEntries; ++entry) {
    receive.mapped.push_back(TRY(
        access.map(buffers.subspan(entry * kFrameMost, kFrameMost), pool::Direction::kFromDevice)));
  }
  std::unique_ptr<CardDriver> driver(new CardDriver(access, card, send, receive));
  for (std::uint32_t entry = 0; entry < kEntries; ++entry)
    driver->give(driver->receive_, entry);
  const auto address = [&](const Ring& ring) {
    return std::to_underlying(access.publisher().publish(window::RegionOffset{ring.offset}));
  };
  card.set_rings(address(send), address(receive), kEntries);
  return driver;
}

// The state last: with it the descriptor is the card's.
void CardDriver::give(const Ring& ring, std::uint32_t index) {
  const MappedBuffer& mapped = ring.mapped.at(index);
  const CardDescriptor descriptor{
      .address = Le64(std::to_underlying(access_.publisher().publish(mapped.offset))),
      .length = Le32(static_cast<std::uint32_t>(mapped.buffer.size())),
      .state = Le32(0)};
  const std::uint64_t at = descriptor_offset(ring.offset, index);
  access_.memory().put(at, descriptor);
  access_.memory().store_release<Le32>(at + offsetof(CardDescriptor, state), Le32(CARD_OWN));
}

// What the card says of the next one that is due; nothing while it has it.
std::optional<std::uint32_t> CardDriver::state(const Ring& ring) const {
  const std::uint64_t at = descriptor_offset(ring.offset, ring.next);
  const std::uint32_t state =
      access_.memory().load_acquire<Le32>(at + offsetof(CardDescriptor, state)).get();
  return (state & CARD_OWN) == 0 ? std::optional(state) : std::nullopt;
}

Result<void> CardDriver::send(std::span<std::byte> frame) {
  if (frame.empty() || frame.size() > kFrameMost) return fail(Errc::kBadLength);
  if (in_flight_ == kEntries) return fail(Errc::kQueueFull);
  const std::uint32_t index = (send_.next + in_flight_) % kEntries;
  send_.mapped.at(index) = TRY(access_.map(frame, pool::Direction::kToDevice));
  give(send_, index);
  ++in_flight_;
  card_.ring_doorbell();
  return {};
}

Result<std::uint32_t> CardDriver::take_sent() {
  std::uint32_t taken = 0;
  bool lost = false;
  while (in_flight_ > 0) {
    const auto done = state(send_);
    if (!done) break;
    TRY(access_.unmap(send_.mapped.at(send_.next), 0));
    lost = lost || (*done & CARD_ERROR) != 0;
    send_.next = (send_.next + 1) % kEntries;
    --in_flight_;
    ++taken;
  }
  if (lost) return fail(Errc::kIoError);
  return taken;
}

Result<void> CardDriver::give_next_again() {
  MappedBuffer& mapped = receive_.mapped.at(receive_.next);
  mapped = TRY(access_.map(mapped.buffer, pool::Direction::kFromDevice));
  give(receive_, receive_.next);
  receive_.next = (receive_.next + 1) % kEntries;
  card_.ring_doorbell();
  return {};
}

Result<std::optional<std::span<const std::byte>>> CardDriver::receive() {
  if (std::exchange(holds_, false)) TRY(give_next_again());
  const auto done = state(receive_);
  if (!done) return std::nullopt;
  const MappedBuffer& mapped = receive_.mapped.at(receive_.next);
  const std::uint64_t length = *done & CARD_LENGTH;
  const bool lost = (*done & CARD_ERROR) != 0;
  const bool wrong = length > mapped.buffer.size();
  TRY(access_.unmap(mapped, lost || wrong ? 0 : length));
  if (lost || wrong) {
    TRY(give_next_again());
    return fail({.code = lost ? Errc::kIoError : Errc::kBadLength,
                 .detail = static_cast<std::uint32_t>(length)});
  }
  holds_ = true;
  return std::span<const std::byte>(mapped.buffer.first(length));
}

}  // namespace airlock::compare
