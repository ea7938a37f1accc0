// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "backend/block_backend.h"
#include "base/fifo.h"

namespace airlock::backend {

/// A channel whose requests are done when submit() returns; reap() hands them out in order.
class ImmediateChannel : public BlockChannel {
 public:
  /// `depth`: as BlockBackend::open_channel() has it. Read-only: what would change the disk fails
  /// with EROFS.
  ImmediateChannel(bool read_only, std::uint32_t depth);

  Result<void> submit(const BlockRequest& request) final;
  std::size_t reap(std::span<BlockCompletion> target) final;
  [[nodiscard]] int completion_fd() const final { return -1; }

 protected:
  /// Does it now, all of it, which can't fail.
  virtual void perform(const BlockRequest& request) = 0;

 private:
  bool read_only_;
  std::uint32_t depth_;
  Fifo<BlockCompletion> done_;
};

}  // namespace airlock::backend
