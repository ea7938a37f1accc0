// SPDX-License-Identifier: Apache-2.0
//
// Attacks as a table: what a hostile driver does, and the definite end that it has to have.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <ostream>
#include <span>
#include <string>
#include <vector>

#include "testing/hostile_driver.h"

namespace airlock::testing {

/// How an attack ends. Whatever the end, a reset revives the device afterwards.
enum class End : std::uint8_t {
  kGoesOn,       // the status is what it was, the queues go on, nothing was logged
  kOk,           // the same, and the one chain in the queue that is attacked came back; a disk's
                 // with VIRTIO_BLK_S_OK
  kIoError,      // ... with VIRTIO_BLK_S_IOERR
  kUnsupported,  // ... with VIRTIO_BLK_S_UNSUPP
  kDropped,      // ... and the device counted it as nonsense, AttackSubject::refusals()
  kBroken,       // DEVICE_NEEDS_RESET, a configuration interrupt, one log line
  kRefused,      // the last message got an error for a reply, and one log line; the queues go on
  kClosed,       // the connection is closed, with a log line or two
  kRevives,      // the case has looked for itself
};

struct HostileCase {
  std::string name;
  End end = End::kGoesOn;
  /// Called with a device that runs.
  void (*attack)(HostileDriver&) = nullptr;
  AttackTarget::Options target{};
  HostileManner manner{};

  // NOLINTNEXTLINE(readability-identifier-naming): GoogleTest's name
  friend void PrintTo(const HostileCase& hostile, std::ostream* stream) { *stream << hostile.name; }
};

/// The VMM takes all of the driver's memory back, and expects the device to agree.
void take_memory_back(HostileDriver& driver);

/// Runs one case on a device of its own. Around each: a canary on the disk that no attack may
/// change, guards in the driver's memory that no chain names, as many open fds afterwards as
/// before. Around each class of cases: fds, memory, and threads that sleep when nothing is asked of
/// them. That nothing outside the region is touched can't be watched from here, since the device
/// maps it for itself: the window, which alone makes memory out of an address, refuses by
/// construction, and its tests say so.
class HostileDriverTest : public ::testing::TestWithParam<HostileCase> {
 protected:
  static void SetUpTestSuite();
  static void TearDownTestSuite();

  void run();

  /// A new device, and its driver with queues that run. The last one's are gone.
  static void attach(const AttackTarget::Options& options, const HostileManner& manner);
  static HostileDriver& driver();
  /// Lines logged since the last call.
  static std::vector<std::string> take_log();
  /// A reset, or a new connection where there is none: then everything works as at first.
  static void revive();

 private:
  struct Before;
  static void check_end(End end, const Before& before);
  static void check_returned(End end, const Before& before);
  static void check_broken(const Before& before);
  static void check_goes_on(const Before& before);
};

/// The same cases for one queue of each type of device, or for each queue that can be attacked.
/// Their names then begin with its name.
std::vector<HostileCase> for_every_type(std::span<const HostileCase> cases);
std::vector<HostileCase> for_every_queue(std::span<const HostileCase> cases);
/// The same cases with more features of rings, on offer and accepted.
std::vector<HostileCase> with_ring_features(std::vector<HostileCase> cases, std::uint64_t features);

/// What is logged for one violation at most, by a driver that goes on and on.
inline constexpr std::size_t kLogBurst = 8;

inline std::string hostile_case_name(const ::testing::TestParamInfo<HostileCase>& info) {
  return info.param.name;
}

/// The sanitizers' runtimes take their time: so many of the rounds remain.
#if defined(__SANITIZE_THREAD__)
inline constexpr std::uint32_t kRoundsDivisor = 10;
#elif defined(__SANITIZE_ADDRESS__)
inline constexpr std::uint32_t kRoundsDivisor = 4;
#else
inline constexpr std::uint32_t kRoundsDivisor = 1;
#endif

}  // namespace airlock::testing

/// A class of attacks: one test a case of the table.
#define AIRLOCK_HOSTILE_CLASS(suite, cases)                                  \
  class suite : public ::airlock::testing::HostileDriverTest {};             \
  TEST_P(suite, HasADefiniteEnd) {                                           \
    run();                                                                   \
  }                                                                          \
  INSTANTIATE_TEST_SUITE_P(HostileDriver, suite, ::testing::ValuesIn(cases), \
                           ::airlock::testing::hostile_case_name)
