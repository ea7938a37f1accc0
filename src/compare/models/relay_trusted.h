// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "compare/models/relay.h"
#include "window/window.h"

namespace airlock::compare {

/// A chain of the guest's, as it was read: what the device may read of it, and write.
struct RelayedChain {
  std::uint16_t head = 0;
  std::vector<window::SharedSpan> readable;
  std::vector<window::SharedSpan> writable;
};

/// How a trusted part reads a queue of the guest's, and writes to it: what its models differ in.
/// One thread.
class RelayFront {
 public:
  RelayFront() = default;
  virtual ~RelayFront() = default;
  RelayFront(const RelayFront&) = delete;
  RelayFront& operator=(const RelayFront&) = delete;

  /// The next chain, which is in flight until push_used(); false if there is none now.
  /// Errors: what is wrong with the guest's ring, for good.
  virtual Result<bool> pop(RelayedChain& target) = 0;
  /// Returns a chain, of whose writable part `written` bytes were written, at the next publish().
  virtual Result<void> push_used(std::uint16_t head, std::uint32_t written) = 0;
  virtual void publish() = 0;
  /// After publish().
  [[nodiscard]] virtual bool guest_wants_interrupt() = 0;
  /// Before who asks for notifications sleeps, pop() finds nothing once more.
  virtual void suppress_notifications(bool suppressed) = 0;
};

/// Makes a front for a queue of the guest's. `window`, which is onto all of `own`, outlives it.
/// Errors: those of the ring.
using MakeFront = std::function<Result<std::unique_ptr<RelayFront>>(
    const QueueStart& queue, const PrivateMemory& own, const window::Window& window)>;

/// The trusted part's process: the guest's queues on one side, the device's on the other, and a
/// copy in between. It knows no device type: a chain is bytes to read and room to write. Errors:
/// the guest's, the rings' (a device that lies in its ring is one).
Result<void> serve_relay(const Fd& guest, const MakeFront& make);

}  // namespace airlock::compare
