// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace airlock::device {

/// What a socket device did since the start; `connections` and `half_open` are of now.
struct VsockCounts {
  std::uint64_t connections = 0;
  std::uint64_t half_open = 0;         // asked for, and not answered yet, by either side
  std::uint64_t from_guest = 0;        // connections that the guest asked for
  std::uint64_t from_host = 0;         // and the host
  std::uint64_t packets_to_host = 0;   // that the guest sent
  std::uint64_t packets_to_guest = 0;  // that it got
  std::uint64_t bytes_to_host = 0;     // payload
  std::uint64_t bytes_to_guest = 0;
  std::uint64_t refused = 0;          // packets for no connection, that were answered by a reset
  std::uint64_t resets = 0;           // connections that we ended by one
  std::uint64_t overdrawn = 0;        // of these, because the guest sent more than its credit
  std::uint64_t foreign = 0;          // packets in another guest's name, dropped
  std::uint64_t clients_dropped = 0;  // of the host, before they were connected

  friend bool operator==(const VsockCounts&, const VsockCounts&) = default;
};

}  // namespace airlock::device
