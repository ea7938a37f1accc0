// SPDX-License-Identifier: Apache-2.0
//
// What a hostile driver lies to: a device of some type, one of its queues, and what an honest
// driver does with them, which most lies are a small change of.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/descriptor.h"
#include "device/device_type.h"
#include "testing/hostile_driver_backend.h"

namespace airlock::testing {

class HostileDriver;

/// The queue that is attacked.
enum class Attacked : std::uint8_t {
  kBlk,  // the first of two
  kNetReceive,
  kNetTransmit,
  kNetControl,
  kVsockReceive,
  kVsockTransmit,
  kConsoleReceive,
  kConsoleTransmit,
  kConsoleControlReceive,
  kConsoleControlTransmit,
  kRng,
};

/// One device, with whatever is at its other end. Lives as long as its AttackTarget; the driver's
/// thread, but for device(), which is the server's.
class AttackSubject {
 public:
  AttackSubject() = default;
  virtual ~AttackSubject() = default;
  AttackSubject(const AttackSubject&) = delete;
  AttackSubject& operator=(const AttackSubject&) = delete;

  [[nodiscard]] virtual device::DeviceType& device() = 0;
  /// How log lines call it.
  [[nodiscard]] virtual std::string name() const = 0;
  /// The queue that is attacked.
  [[nodiscard]] virtual std::uint16_t queue() const = 0;
  /// Features of the type that an honest driver accepts, as a mask.
  [[nodiscard]] virtual std::uint64_t features() const = 0;
  /// What the type counts of a driver's nonsense that breaks nothing: refused frames, messages.
  [[nodiscard]] virtual std::uint64_t refusals() const { return 0; }

  /// An honest chain for the queue, in three parts of one direction or two. The second is data of
  /// kDataPartBytes at HostileDriver::kData, of which any number more may follow. However many
  /// there were, nothing piles up that keeps the device from returning the next.
  [[nodiscard]] virtual std::vector<airlock_descriptor> chain(
      const HostileDriver& driver) const = 0;
  static constexpr std::uint32_t kDataPartBytes = 512;
  /// The shortest chain that the device returns, in one part.
  [[nodiscard]] virtual airlock_descriptor single(const HostileDriver& driver) const = 0;

  /// What an honest driver does first, once its queues run.
  virtual void begin(HostileDriver& /*driver*/) {}
  /// Has the device take a chain of a queue that it fills when it likes. True if what did that is a
  /// chain of nudging_queue(), which will come back.
  virtual bool nudge(HostileDriver& /*driver*/) { return false; }
  [[nodiscard]] virtual std::uint16_t nudging_queue() const { return 0; }
  /// Whether all queues do what they are for.
  [[nodiscard]] virtual bool works(HostileDriver& driver) = 0;
  /// Leaves something in the device that no lie may change, where it keeps anything.
  virtual void put_canary(HostileDriver& /*driver*/) {}
  [[nodiscard]] virtual bool has_canary(HostileDriver& /*driver*/) { return true; }
};

/// What a subject is made of.
struct SubjectOptions {
  Attacked attacked = Attacked::kBlk;
  std::uint64_t ring_features = 0;  // on offer, as a mask
  std::uint16_t queue_size = 0;
};

/// What can't be had stops the test (CHECK). `gate` keeps a disk's requests, and outlives it.
std::unique_ptr<AttackSubject> make_subject(const SubjectOptions& options, Gate& gate);
std::unique_ptr<AttackSubject> make_blk_subject(const SubjectOptions& options, Gate& gate);
std::unique_ptr<AttackSubject> make_net_subject(const SubjectOptions& options);
std::unique_ptr<AttackSubject> make_vsock_subject(const SubjectOptions& options);
std::unique_ptr<AttackSubject> make_console_subject(const SubjectOptions& options);
std::unique_ptr<AttackSubject> make_rng_subject(const SubjectOptions& options);

}  // namespace airlock::testing
