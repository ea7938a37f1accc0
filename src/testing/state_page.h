// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "ring/queue_record.h"
#include "shm/sealed_memfd.h"

namespace airlock::testing {

/// What a guard keeps for a device's queues while its processes come and go: zeroed at first.
class StatePage {
 public:
  [[nodiscard]] const shm::SealedMemfd& memfd() const { return memfd_; }
  [[nodiscard]] shm::SharedBytes bytes() const { return mapping_.bytes(); }
  [[nodiscard]] ring::QueueRecord record(std::uint16_t queue = 0) const {
    const std::uint64_t offset = (queue + std::uint64_t{1}) * spec::QUEUE_STATE_RECORD_BYTES;
    return ring::QueueRecord(MUST(bytes().slice(offset, sizeof(spec::VirtqState))));
  }
  /// A record's four numbers, whatever they are.
  void put(std::uint16_t queue, const spec::VirtqState& state) const {
    bytes().put((queue + std::uint64_t{1}) * spec::QUEUE_STATE_RECORD_BYTES, state);
  }

 private:
  shm::SealedMemfd memfd_ = MUST(shm::SealedMemfd::create({.size = spec::QUEUE_STATE_BYTES}));
  shm::Mapping mapping_ = MUST(memfd_.map());
};

}  // namespace airlock::testing
