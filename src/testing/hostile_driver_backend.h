// SPDX-License-Identifier: Apache-2.0
//
// For tests: a disk of memory whose requests stay in flight as long as a gate is shut.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <set>

#include "backend/block_backend.h"
#include "base/event_fd.h"

namespace airlock::testing {

/// Lets requests through, or keeps them. Any thread. Open at first.
class Gate {
 public:
  void shut() { open_.store(false); }
  /// What waited goes on.
  void open();
  [[nodiscard]] bool is_open() const { return open_.load(); }
  /// Requests that were submitted and have not completed.
  [[nodiscard]] std::uint64_t in_flight() const { return in_flight_.load(); }

 private:
  friend class GatedChannel;
  void watch(const EventFd& event);
  void forget(const EventFd& event);

  std::atomic<bool> open_{true};
  std::atomic<std::uint64_t> in_flight_{0};
  std::mutex mutex_;  // guards watchers_
  std::set<const EventFd*> watchers_;
};

/// Another backend behind a gate, which outlives this. While the gate is shut a request has not
/// begun: its memory is read or written when the gate opens, however long ago the driver reset the
/// device.
class GatedBackend final : public backend::BlockBackend {
 public:
  GatedBackend(std::unique_ptr<backend::BlockBackend> inner, Gate& gate)
      : inner_(std::move(inner)), gate_(gate) {}

  [[nodiscard]] const backend::Geometry& geometry() const override { return inner_->geometry(); }
  [[nodiscard]] bool copies() const override { return inner_->copies(); }
  [[nodiscard]] std::string describe() const override { return inner_->describe(); }
  Result<std::unique_ptr<backend::BlockChannel>> open_channel(const shm::SharedBytes& region,
                                                              std::uint32_t depth) override;

 private:
  std::unique_ptr<backend::BlockBackend> inner_;
  Gate& gate_;
};

}  // namespace airlock::testing
