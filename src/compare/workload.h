// SPDX-License-Identifier: Apache-2.0
//
// What is done through every model, and what is counted meanwhile.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include "base/latency.h"
#include "compare/access.h"
#include "compare/rig_driver.h"
#include "compare/sight.h"
#include "compare/traffic.h"

namespace airlock::compare {

/// Bytes of a guest's private memory.
inline constexpr std::uint64_t kPrivateBytes = std::uint64_t{16} << 20;

/// Where the buffers of requests of one size lie in the private memory: with words around them that
/// no device is to see, in the same pages where a request is smaller than one. A buffer's last word
/// may reach beyond its request.
struct BufferPlan {
  std::uint64_t request_bytes = 0;
  Declared buffers;  // of the workload: one for each request in flight
  Declared lone;     // one, for looking at exposure
};
inline constexpr std::uint64_t kDeepest = RigDriver::kDepthMost;
inline constexpr std::array<BufferPlan, 3> kDiskPlans{{
    {.request_bytes = 512,
     .buffers = {.first = 0x40400, .stride = 0x1000, .length = 512, .count = kDeepest},
     .lone = {.first = 0x600400, .stride = 0x40000, .length = 512, .count = 1}},
    {.request_bytes = 4096,
     .buffers = {.first = 0x80000, .stride = 0x2000, .length = 4096, .count = kDeepest},
     .lone = {.first = 0x620000, .stride = 0x40000, .length = 4096, .count = 1}},
    {.request_bytes = 131072,
     .buffers = {.first = 0x100000, .stride = 0x21000, .length = 131072, .count = kDeepest},
     .lone = {.first = 0x640000, .stride = 0x40000, .length = 131072, .count = 1}},
}};
inline constexpr std::array<BufferPlan, 3> kFramePlans{{
    {.request_bytes = 64,
     .buffers = {.first = 0x40400, .stride = 0x1000, .length = 64, .count = kDeepest},
     .lone = {.first = 0x600400, .stride = 0x40000, .length = 64, .count = 1}},
    {.request_bytes = 1500,
     .buffers = {.first = 0x80400, .stride = 0x1000, .length = 1504, .count = kDeepest},
     .lone = {.first = 0x620400, .stride = 0x40000, .length = 1504, .count = 1}},
    {.request_bytes = 65536,
     .buffers = {.first = 0x100000, .stride = 0x11000, .length = 65536, .count = kDeepest},
     .lone = {.first = 0x640000, .stride = 0x40000, .length = 65536, .count = 1}},
}};
/// A plan for each size that there are loads of.
[[nodiscard]] std::span<const BufferPlan> plans_of(Traffic traffic);
/// Null if no plan has requests of that size.
[[nodiscard]] const BufferPlan* plan_of(Traffic traffic, std::uint64_t request_bytes);

/// One kind of load: random requests of one size, or frames, so many at a time.
struct Cell {
  std::uint64_t request_bytes = 4096;
  bool write = false;       // of a disk; frames that are sent
  std::uint32_t depth = 1;  // up to RigDriver::kDepthMost
};

/// What a load came to. Sums: those of several rounds may be added.
struct RunResult {
  std::uint64_t requests = 0;
  std::uint64_t ns = 0;
  std::uint64_t guest_cpu_ns = 0;
  std::uint64_t trusted_cpu_ns = 0;
  std::uint64_t device_cpu_ns = 0;
  std::uint64_t copied_bytes = 0;         // by guest and trusted part, for the model's sake
  std::uint64_t stand_in_bytes = 0;       // TrustedCounts::stand_in_bytes
  std::uint64_t device_copied_bytes = 0;  // between window and disk or wire: the same for all
  std::uint64_t messages = 0;             // to the trusted part
  std::uint64_t wakes = 0;                // signals of eventfds by guest and trusted part
  std::uint64_t mapped_ns = 0;            // of all requests, from map to unmap
  std::uint64_t high_water_bytes = 0;     // no sum: the most
  LatencyHistogram latency;

  RunResult& operator+=(const RunResult& other);
};

/// What of the private memory a device can see for one request.
struct Exposure {
  std::uint64_t request_bytes = 0;
  // NOLINTBEGIN(readability-redundant-member-init): GCC wants it, to be left out where not used
  Seen during{};  // while the request is in flight
  Seen after{};   // once it is completed
  // NOLINTEND(readability-redundant-member-init)
};

/// A guest's application: buffers full of canary words, and requests. One thread.
class Workload {
 public:
  /// `access`, `driver` and `device` outlive it. The private memory is filled anew.
  Workload(Access& access, RigDriver& driver, DeviceLink& device, Traffic traffic)
      : access_(access), driver_(driver), device_(device), traffic_(traffic) {}

  /// Errors: kUnsupported (a size without a plan, or a depth beyond RigDriver::kDepthMost); the
  /// driver's.
  Result<RunResult> run(const Cell& cell, std::chrono::milliseconds time);
  /// Writes a buffer of each size and reads it back; or sends it as a frame, and receives that.
  /// Errors: kIoError (it came back different); the driver's.
  Result<void> verify();
  /// One request that the device refuses, so that no byte of it is kept there; or a buffer for a
  /// frame, which gets one of another key. Looked at in flight and after, with a key of its own.
  /// Errors: the driver's, the device's.
  Result<Exposure> expose(std::uint64_t request_bytes, bool write);
  /// All that the device can see now of what run() worked with. Errors: the device's.
  Result<Seen> scan();

  /// Fills the private memory, with a new key; buffers elsewhere keep what they have.
  /// Errors: kSystem.
  Result<void> refill();

 private:
  struct Snapshot {
    AccessCounts access;
    TrustedCounts trusted;
    Usage device;
    DriverCounts driver;
    std::uint64_t cpu_ns = 0;
  };
  Result<Snapshot> snapshot();
  Result<std::span<std::byte>> buffer_at(std::uint64_t offset, std::uint64_t bytes);
  Result<std::optional<Error>> do_one(const RigDriver::Request& request);
  Result<void> do_all(const RigDriver::Request& request);
  Result<void> prime(const BufferPlan& plan);
  /// The buffer of a plan for looking at exposure, and for what is done one at a time.
  Result<std::span<std::byte>> lone_buffer(const BufferPlan& plan);
  Result<void> start(const Cell& cell, std::uint64_t slot, RigDriver::Clock::time_point now);
  Result<void> keep_busy(const Cell& cell, std::chrono::milliseconds time, RunResult& result);
  [[nodiscard]] Look look_for(std::span<const Declared> declared) const;

  Access& access_;
  RigDriver& driver_;
  DeviceLink& device_;
  Traffic traffic_;
  std::uint64_t key_ = 0;
  std::uint64_t random_ = 1;
  std::map<std::uint64_t, std::span<std::byte>> buffers_;  // by offset in the private memory
  std::array<RigDriver::Clock::time_point, kDeepest> since_{};
};

}  // namespace airlock::compare
