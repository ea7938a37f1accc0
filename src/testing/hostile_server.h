// SPDX-License-Identifier: Apache-2.0
//
// A hostile disk that a real guest drives: honest until it is told a lie to tell, and again after.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>
#include <thread>
#include <vector>

#include "testing/hostile_device.h"

namespace airlock::testing {

/// The disk, and who makes it lie. One thread, which must call pump() every now and then: the ring
/// is polled, so nothing depends on notifications that a lie may have spoilt.
class HostileServer {
 public:
  struct Options {
    std::uint64_t region_bytes = std::uint64_t{8} << 20;
    std::uint64_t disk_bytes = std::uint64_t{4} << 20;
    std::uint64_t ring_features = 0;  // on offer, as a mask
    pci::AddressOffer address = pci::AddressOffer::kBus;
  };
  /// When a lie is told.
  enum class Kind : std::uint8_t {
    kOpening,  // before the driver opens the device
    kRunning,  // with at least two requests open
    kReset,    // before the driver resets the device
    kLasting,  // while it runs, for as long as nothing else is told
  };
  struct Lie {
    Kind kind = Kind::kOpening;
    std::string_view name;
  };
  /// All that tell() knows. A name may be there once of each kind.
  static std::vector<Lie> lies();

  explicit HostileServer(const Options& options);
  HostileServer(const HostileServer&) = delete;
  HostileServer& operator=(const HostileServer&) = delete;

  [[nodiscard]] FakeDiskDevice& device() { return device_; }
  [[nodiscard]] Lies& lies_of_registers() { return lies_; }

  /// Ends the lie of before, and tells this one: at once, or, of kRunning, as soon as two requests
  /// are open. False: there is no such lie, and it is honest now.
  bool tell(Kind kind, std::string_view name);
  void be_honest();
  /// Whether the lie was told since tell(): one that waits for requests may not be.
  [[nodiscard]] bool told() const { return told_; }

  /// Serves what is there.
  void pump();

 private:
  // Runs `work` again and again in a thread of its own until the next lie.
  void keep_at(std::function<void()> work);
  // Changes bytes of it at random, likewise.
  void flip(std::vector<shm::SharedBytes> memory);
  void start_lasting(std::string_view name);

  FakeDiskDevice device_;
  Lies lies_;
  HostileDevice hostile_{device_, lies_};
  std::size_t starts_ = 0;    // of the disk, when the ring was looked at last
  std::uint32_t waited_ = 0;  // pumps for a second request
  std::function<void()> armed_;
  bool told_ = false;
  bool silent_ = false;     // takes requests and answers none
  bool interrupts_ = true;  // says when it answers
  std::jthread at_work_;    // last: it uses what is above
};

}  // namespace airlock::testing
