// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "base/result.h"

namespace airlock::compare {

/// What came of a card that does its work, and then reads whatever its bus lets it.
struct RogueReads {
  std::uint64_t frames = 0;         // that its driver sent and received before, intact
  std::uint64_t private_bytes = 0;  // canary words of the guest's that there were to be read
  std::uint64_t read_bytes = 0;     // and that the card read
  std::uint64_t faults = 0;         // transactions that the bus refused, and recorded
  bool opened = false;              // a write to the window's registers after firmware was heeded
};

/// The card's rings and buffers are in `pool`'s memory; firmware locks the bus to that, or not.
/// Errors: the model's; kIoError (a frame came back different, or not).
Result<RogueReads> measure_rogue_reads(bool locked);

}  // namespace airlock::compare
