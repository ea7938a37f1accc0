// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "backend/net_backend.h"
#include "base/event_fd.h"
#include "base/log.h"
#include "device/net/net_filter.h"

namespace airlock::device {

/// What the queues of a network card share. Outlives them. The control thread writes, any reads.
struct NetShared {
  std::string name;                              // of the backend, for the log
  NetFilterBoard filter;                         // which frames the driver wants
  std::atomic<std::uint16_t> pairs{1};           // in use: the first ones
  std::atomic<std::uint64_t> guest_offloads{0};  // that are on: bits of kNetGuestOffloads
  LogLimit errors;                               // how often the log hears of the backend's
};

/// A pair of queues: its channel, whose receiving side is one queue's and whose sending side the
/// other's. Lives as long as the device.
struct NetPair {
  std::unique_ptr<backend::NetChannel> channel;
  EventFd taken_into_use;  // signalled when NetShared::pairs grew beyond this one
};

}  // namespace airlock::device
