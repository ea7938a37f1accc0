// SPDX-License-Identifier: Apache-2.0
#include "compare/locked_bus/card.h"

#include <algorithm>
#include <vector>

namespace airlock::compare {

void Card::set_rings(std::uint64_t send, std::uint64_t receive, std::uint32_t entries) {
  send_ = {.address = send};
  receive_ = {.address = receive};
  entries_ = entries;
  halted_ = entries == 0;
}

Result<CardDescriptor> Card::descriptor(const Ring& ring) {
  CardDescriptor descriptor{};
  TRY(bus_.read(ring.address + sizeof descriptor * ring.next,
                std::as_writable_bytes(std::span(&descriptor, 1))));
  return descriptor;
}

Result<void> Card::give_back(Ring& ring, CardDescriptor descriptor, std::uint32_t state) {
  descriptor.state = Le32(state);
  TRY(bus_.write(ring.address + sizeof descriptor * ring.next,
                 std::as_bytes(std::span(&descriptor, 1))));
  ring.next = (ring.next + 1) % entries_;
  return {};
}

// Errors are of descriptors: without those it does not know what to do next.
Result<bool> Card::send_one() {
  const CardDescriptor from = TRY(descriptor(send_));
  const CardDescriptor to = TRY(descriptor(receive_));
  if ((from.state.get() & to.state.get() & CARD_OWN) == 0) return false;
  const std::uint32_t length = std::min(from.length.get(), CARD_LENGTH);
  std::vector<std::byte> frame(std::min(length, to.length.get()));
  const bool sent = bus_.read(from.address.get(), frame).has_value();
  TRY(give_back(send_, from, sent ? length : CARD_ERROR));
  if (!sent) return true;
  const bool received = bus_.write(to.address.get(), frame).has_value();
  const auto bytes = static_cast<std::uint32_t>(frame.size());
  TRY(give_back(receive_, to, received ? bytes : CARD_ERROR));
  return true;
}

void Card::ring_doorbell() {
  while (!halted_) {
    const Result<bool> sent = send_one();
    halted_ = !sent;
    if (sent && !*sent) return;
  }
}

void read_all(Bus& bus, std::uint64_t first, std::span<std::byte> target) {
  constexpr std::size_t kBurst = 256;  // bytes of a transaction
  for (std::size_t at = 0; at < target.size(); at += kBurst) {
    const auto part = target.subspan(at, std::min(kBurst, target.size() - at));
    static_cast<void>(bus.read(first + at, part));
  }
}

}  // namespace airlock::compare
