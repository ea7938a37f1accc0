// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "cli/outcome.h"
#include "cli/serve_device.h"
#include "cli/serve_options.h"
#include "device/shared_region.h"

namespace airlock::cli {

/// One device on one socket, with all that it needs open. Made before the process locks itself in,
/// and run after.
class DeviceServer {
 public:
  /// Opens it: the options are checked, the socket listens, nobody has been answered. The process
  /// has one thread. `alone`: it has no other device; so it may take the place of another process,
  /// and its signals are this device's.
  static std::expected<std::unique_ptr<DeviceServer>, Failure> open(std::string_view kind,
                                                                    const ServeOptions& options,
                                                                    const MakeDeviceInLoop& make,
                                                                    bool alone);
  ~DeviceServer();
  DeviceServer(const DeviceServer&) = delete;
  DeviceServer& operator=(const DeviceServer&) = delete;

  /// Serves until stop(), or a signal if those are its: the calling thread is the device's control
  /// thread. Then finishes what is in flight, writes the counters and removes the socket. Once.
  void run();
  /// Any thread, at any time.
  void stop();
  /// Writes the counters. Any thread, while it runs.
  void report();
  /// Has what is held back tried again. Any thread, while it runs.
  void retry();

  /// Says in the log what is served, and where.
  void announce() const;

 private:
  struct Parts;
  explicit DeviceServer(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

/// While one lives, what serve_device() would serve is opened and kept in it instead: for a process
/// with several devices. On one thread.
class DeviceCollector {
 public:
  DeviceCollector();
  ~DeviceCollector();
  DeviceCollector(const DeviceCollector&) = delete;
  DeviceCollector& operator=(const DeviceCollector&) = delete;

  [[nodiscard]] std::vector<std::unique_ptr<DeviceServer>> take() { return std::move(servers_); }

  /// The region that the options name, made by the first device of this process that names it;
  /// null if they name none. Another size or kind of pages than the first one's is a misuse.
  static std::expected<std::shared_ptr<device::SharedRegion>, Failure> shared_region(
      std::string_view kind, const ServeOptions& options);

  /// Opens it for the collector there is; false if there is none.
  static std::expected<bool, Failure> collect(std::string_view kind, const ServeOptions& options,
                                              const MakeDeviceInLoop& make);

 private:
  struct Shared {
    std::shared_ptr<device::SharedRegion> region;
    std::string first;  // of its devices, for messages
  };

  std::vector<std::unique_ptr<DeviceServer>> servers_;
  std::map<std::string, Shared> regions_;  // by name
};

/// Nothing is opened from here on: no byte of a peer has been read yet. Says what is in force.
void lock_in(bool sandbox);

}  // namespace airlock::cli
