// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <cstdint>
#include <filesystem>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "base/fd.h"

namespace airlock::testing {

/// A block device that can take as long for a write as a test wants: a loop device over a file
/// whose file system (FUSE) is this process. So requests can be in flight in the kernel with nobody
/// left to wait for them. Needs root; what else can't be had stops the test (CHECK).
class StalledDisk {
 public:
  static constexpr std::uint64_t kBytes = std::uint64_t{1} << 20;

  /// Whether this machine has what it takes.
  [[nodiscard]] static bool possible();

  StalledDisk();
  ~StalledDisk();
  StalledDisk(const StalledDisk&) = delete;
  StalledDisk& operator=(const StalledDisk&) = delete;

  [[nodiscard]] const std::string& path() const { return loop_path_; }
  /// The next write is not answered until release().
  void hold_next_write();
  /// Returns when that write has come.
  void wait_until_held();
  void release();
  /// What was written, as far as it was answered.
  [[nodiscard]] std::vector<std::byte> bytes(std::uint64_t offset, std::size_t count);

 private:
  void mount();
  void attach();
  void serve();
  void handle(std::span<const std::byte> request);
  void reply(std::uint64_t unique, int error, std::span<const std::byte> payload = {});
  void write(std::uint64_t unique, std::span<const std::byte> argument);

  std::filesystem::path folder_;
  Fd fuse_;
  Fd loop_;
  std::string loop_path_;

  std::mutex lock_;  // guards what follows
  std::condition_variable changed_;
  bool hold_ = false;
  std::optional<std::vector<std::byte>> held_;  // the argument of a write
  std::uint64_t held_unique_ = 0;
  std::vector<std::byte> bytes_ = std::vector<std::byte>(kBytes);

  std::thread thread_;
};

}  // namespace airlock::testing
