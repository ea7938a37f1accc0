// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <thread>

#include "testing/attack/greedy_endpoint.h"
#include "testing/attack/hostile_peer.h"
#include "testing/fake_disk.h"

namespace airlock::testing::attack {

/// A hostile device as its attacks see it. One thread, and the one that an attack starts.
struct Hostile {
  struct Options {
    std::uint64_t region_bytes = std::uint64_t{1} << 20;
    bool mapped = true;  // as GreedyEndpoint::Options has it
  };
  explicit Hostile(const Options& options)
      : disk({.region_bytes = options.region_bytes}), endpoint(disk, {.mapped = options.mapped}) {}

  FakeDiskDevice disk;
  GreedyEndpoint endpoint;
  std::unique_ptr<HostilePeer> peer;     // empty: nobody is connected
  HostilePeer::Condition lie_condition;  // of a lie to tell to whoever connects
  HostilePeer::Lie lie;
  bool deaf = false;     // reads nothing that its client sends
  std::jthread at_work;  // an attack that lasts; last: it uses what is above
};

}  // namespace airlock::testing::attack
