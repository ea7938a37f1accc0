// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <variant>
#include <vector>

#include "crypt/queue_cipher.h"
#include "ring/packed_device_queue.h"
#include "ring/private_memory.h"
#include "ring/split_device_queue.h"

namespace airlock::ring {

/// The device's half of an encrypted queue, in either format: a chain that it hands out is what the
/// driver sealed, opened, in memory of this process; what is written there is sealed into the
/// region when the chain is pushed. Whoever works on chains knows nothing of it. ENC-6 to ENC-11.
///
/// As SplitDeviceQueue otherwise. pop() also fails with kNotAuthentic, kTooSmall (a part that is
/// shorter than its tag), kChainTooBig (more bytes than the region has) and kKeySpent, and breaks
/// the queue.
class SealedDeviceQueue {
 public:
  /// `config.secret` is not null. Errors: those of the two formats' create(); kUnsupported (the
  /// secret's algorithm); kWrongState (the record is live: the process before this one took the
  /// keys with it).
  static Result<SealedDeviceQueue> create(const QueueConfig& config, const window::Window& window);

  [[nodiscard]] Result<std::optional<Head>> pop(Chain& target);
  Result<void> push_used(Head head, std::uint32_t written_bytes);
  void publish();
  [[nodiscard]] bool driver_wants_interrupt();
  void suppress_notifications(bool suppressed);
  Result<void> rebind();
  [[nodiscard]] std::uint32_t in_flight() const;
  [[nodiscard]] const std::optional<Error>& broken() const;
  [[nodiscard]] std::uint16_t queue() const;
  [[nodiscard]] QueueSize size() const;

 private:
  using Ring = std::variant<SplitDeviceQueue, PackedDeviceQueue>;

  /// A chain in flight.
  struct Record {
    Chain shared;  // as it is in the region
    crypt::SealedChain sealed;
    PrivateMemory memory;
    std::vector<std::span<std::byte>> writable;  // of `memory`, in the order of the chain
  };

  SealedDeviceQueue(Ring ring, crypt::QueueCipher cipher, const window::Window& window,
                    std::uint32_t heads)
      : ring_(std::move(ring)),
        cipher_(std::move(cipher)),
        chain_bytes_most_(window.region().size()),
        records_(heads) {}

  template <class F>
  decltype(auto) with(const F& call) {
    return std::visit(call, ring_);
  }
  template <class F>
  decltype(auto) with(const F& call) const {
    return std::visit(call, ring_);
  }
  Result<void> open(Record& record, Chain& target);
  Result<void> check(const Chain& shared) const;
  void lay_out(Record& record, Chain& target);
  Result<void> open_readable(Record& record, const Chain& target);
  void seal_writable(Record& record, std::uint32_t bytes);

  Ring ring_;
  crypt::QueueCipher cipher_;
  std::uint64_t chain_bytes_most_;
  Chain taken_;
  std::vector<Record> records_;  // by head
  SpareMemory spare_;
  std::optional<Error> broken_;
};

}  // namespace airlock::ring
