// SPDX-License-Identifier: Apache-2.0
//
// For tests: what a hostile driver attacks. A whole device as `airlock serve` has it, in this
// process: a vfio-user server on a real socket, the endpoint, queues with their threads, and a
// device of any type.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "device/endpoint.h"
#include "testing/hostile_driver_subject.h"

namespace airlock::testing {

/// Waits until `condition` holds. False after 20 s: something is stuck.
[[nodiscard]] bool eventually(const std::function<bool()>& condition);

/// Serves from its making to its end. What can't be had stops the test (CHECK).
class AttackTarget {
 public:
  static constexpr std::uint16_t kQueueSize = 16;
  static constexpr std::uint64_t kRegionBytes = std::uint64_t{1} << 20;
  static constexpr std::uint64_t kDiskBytes = std::uint64_t{1} << 20;
  static constexpr std::uint64_t kSectors = kDiskBytes / 512;

  struct Options {
    pci::DmaPolicy policy = pci::DmaPolicy::kRequire;
    pci::AddressOffer offer = pci::AddressOffer::kBus;
    std::uint64_t ring_features = 0;  // on offer, as a mask
    Attacked attacked = Attacked::kBlk;

    friend bool operator==(const Options&, const Options&) = default;
  };

  explicit AttackTarget(const Options& options);
  ~AttackTarget();
  AttackTarget(const AttackTarget&) = delete;
  AttackTarget& operator=(const AttackTarget&) = delete;

  [[nodiscard]] const Options& options() const { return options_; }
  [[nodiscard]] const std::string& socket_path() const;
  [[nodiscard]] AttackSubject& subject() const;
  /// Keeps a disk's requests in flight.
  [[nodiscard]] Gate& gate() { return gate_; }
  /// Counted on the server's thread, behind what it was doing.
  [[nodiscard]] device::Endpoint::Stats stats();

  /// Returns when the server and every queue have gone to sleep: none of their threads has run for
  /// a while (an observation window, not a delay). False if that does not come to pass.
  [[nodiscard]] static bool comes_to_rest();

 private:
  struct Parts;
  Options options_;
  Gate gate_;
  std::unique_ptr<Parts> parts_;
};

}  // namespace airlock::testing
