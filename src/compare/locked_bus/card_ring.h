// SPDX-License-Identifier: Apache-2.0
//
// The rings of a network card that is no virtio device: one to send, one to receive. Each is an
// array of descriptors; a flag in each says whose it is, and both sides go round.
#pragma once

#include <cstdint>
#include <type_traits>

#include "base/le.h"

namespace airlock::compare {

inline constexpr std::uint32_t CARD_OWN = 1U << 31;    // the card's; else the driver's
inline constexpr std::uint32_t CARD_ERROR = 1U << 30;  // by the card: the buffer was not reached
inline constexpr std::uint32_t CARD_LENGTH = 0xffff;   // by the card: bytes of the frame

struct CardDescriptor {
  Le64 address;  // +0   bus address of the buffer
  Le32 length;   // +8   bytes of the buffer; at most CARD_LENGTH
  Le32 state;    // +12  CARD_OWN, CARD_ERROR, CARD_LENGTH
};
static_assert(sizeof(CardDescriptor) == 16);
static_assert(std::has_unique_object_representations_v<CardDescriptor>);

}  // namespace airlock::compare
