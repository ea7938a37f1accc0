// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>

#include "shm/sealed_memfd.h"

namespace airlock::device {

/// One region that several devices of this process show to their clients, each as its own BAR.
/// What is given up: each of the devices can touch all of it, and so can whoever drives one.
///
/// It lives as long as any of the devices has a client. A device that is reset, or whose client
/// leaves, changes nothing in it, as the others work on; when the last client has left it is
/// emptied, and who comes next finds another one, which no earlier client has mapped.
/// Any thread.
class SharedRegion {
 public:
  struct Options {
    std::uint64_t bytes = 0;  // whole pages
    shm::PageKind pages = shm::PageKind::kNormal;

    friend bool operator==(const Options&, const Options&) = default;
  };

  /// Errors: those of SealedMemfd::create().
  static Result<std::shared_ptr<SharedRegion>> create(const Options& options);

  [[nodiscard]] const Options& options() const { return options_; }

  /// The region as it is now, for a device. Errors: kSystem.
  Result<shm::SealedMemfd> file();

  /// A client of one of the devices came, before file() is asked for it. Errors: those of
  /// SealedMemfd::create(), and the client counts all the same.
  Result<void> enter();
  /// It left.
  void leave();

 private:
  explicit SharedRegion(const Options& options) : options_(options) {}
  Result<void> renew();

  const Options options_;
  std::mutex lock_;  // for what follows
  shm::SealedMemfd memfd_;
  std::uint32_t clients_ = 0;
  bool used_ = false;  // by clients who have all left
};

}  // namespace airlock::device
