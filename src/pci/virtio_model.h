// SPDX-License-Identifier: Apache-2.0
//
// What a device type is, seen from its transport, and the transport, seen from a device type.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

#include "base/fd.h"
#include "base/result.h"
#include "crypt/queue_secret.h"
#include "window/window.h"

namespace airlock::pci {

/// What driver and device agreed upon.
struct Negotiated {
  std::uint64_t features = 0;  // bit n is feature n
  window::AddressMode mode = window::AddressMode::kBus;
  window::Reach reach = window::Reach::kNothing;  // kRegion: the driver accepted the region

  [[nodiscard]] bool has(unsigned bit) const { return (features >> bit & 1) != 0; }
};

/// A queue that the driver enabled. Its areas were inside the window, whole and aligned, when it
/// did so; whoever uses them translates them again.
struct QueueSetup {
  std::uint16_t index = 0;
  std::uint16_t size = 0;  // entries
  window::DriverAddress descriptor_area{};
  window::DriverAddress driver_area{};
  window::DriverAddress device_area{};
  /// What its buffers are sealed with; null: they are not. Whoever has run the queue forgets it.
  // NOLINTNEXTLINE(readability-redundant-member-init): GCC wants it, to be left out where not used
  crypt::SharedSecret secret{};
};

/// What a device type may ask of its transport. Any thread.
class VirtioTransport {
 public:
  VirtioTransport() = default;
  virtual ~VirtioTransport() = default;
  VirtioTransport(const VirtioTransport&) = delete;
  VirtioTransport& operator=(const VirtioTransport&) = delete;

  /// Tells the driver that `queue` has used buffers.
  virtual void interrupt_queue(std::uint16_t queue) = 0;
  /// Tells the driver that the configuration changed; call it after the change, on the control
  /// thread, so that no read falls between the two. VIRTIO 1.3, 2.5.2.
  virtual void interrupt_config() = 0;
  /// A duplicate of the eventfd that an interrupt of `queue` is a signal of: empty while it has
  /// none, as its vector is masked or there is none. Errors: kSystem.
  [[nodiscard]] virtual Result<Fd> queue_eventfd(std::uint16_t queue) = 0;
  /// The driver broke a rule: DEVICE_NEEDS_RESET, a configuration interrupt, one log line for the
  /// first since the last reset. `error.queue` names the queue. DEF-5, DMB-D7.
  virtual void report_violation(const Error& error) = 0;
};

/// A device type: block, network, ... All calls come from the control thread, none may block.
class VirtioModel {
 public:
  VirtioModel() = default;
  virtual ~VirtioModel() = default;
  VirtioModel(const VirtioModel&) = delete;
  VirtioModel& operator=(const VirtioModel&) = delete;

  [[nodiscard]] virtual std::uint16_t device_type() const = 0;  // VIRTIO_ID_*
  [[nodiscard]] virtual std::uint32_t pci_class() const = 0;    // PCI_CLASS_*
  /// The type's own features, and those of rings that it can do (INDIRECT_DESC, EVENT_IDX,
  /// RING_PACKED, IN_ORDER). The transport's are the transport's, and masked out here.
  [[nodiscard]] virtual std::uint64_t features() const = 0;
  /// Whether the type can work with this choice of the offered features (their dependencies).
  [[nodiscard]] virtual bool accepts(std::uint64_t /*features*/) const { return true; }

  [[nodiscard]] virtual std::uint16_t queue_count() const = 0;
  /// Entries, a power of two up to 32768; 0: no such queue.
  [[nodiscard]] virtual std::uint16_t queue_size_max(std::uint16_t queue) const = 0;

  /// Bytes of device configuration; 0 if the type has none.
  [[nodiscard]] virtual std::uint32_t config_size() const = 0;
  /// Part of it. [offset, offset + target.size()) is inside.
  virtual void read_config(std::uint32_t offset, std::span<std::byte> target) const = 0;
  /// The driver writes part of it; most types have nothing there that a driver may write.
  virtual void write_config(std::uint32_t /*offset*/, std::span<const std::byte> /*source*/) {}

  /// DRIVER_OK: go. `queues` has those that are enabled, by index. On an error nothing runs, and
  /// the transport reports the violation.
  virtual Result<void> start(const Negotiated& negotiated, std::span<const QueueSetup> queues) = 0;
  /// A reset: finish or drop what is in flight, touch no ring any more, then call `done` on the
  /// control thread (now or later). The driver waits for it. Called only between a successful
  /// start() and its `done`.
  virtual void stop(std::function<void()> done) = 0;
  /// The driver resets one queue of a running device: stop that one, as stop() would, then call
  /// `done` on the control thread (now or later), before the `done` of a stop() asked for since.
  /// Nothing of the queue's state outlives it. VIRTIO 1.3, 2.6.1.1.1.
  virtual void reset_queue(std::uint16_t queue, std::function<void()> done) = 0;
  /// The driver enables a queue of a running device again, which was reset before. On an error it
  /// does not run, and the transport reports the violation.
  /// VIRTIO 1.3, 2.6.1.2.1.
  virtual Result<void> start_queue(const Negotiated& negotiated, const QueueSetup& queue) = 0;
  /// The queue is being reset, alone or with the device, whether it runs or not: what the model
  /// kept of it for a process that may take this one's place is void from now on. Before the write
  /// that asked for it is answered, and before stop() or reset_queue().
  virtual void forget_queue(std::uint16_t /*queue*/) {}
  /// The driver notified an enabled queue of a running device.
  virtual void notify(std::uint16_t queue) = 0;
  /// The region is elsewhere on the bus than it was: the window knows where.
  virtual void region_moved() {}
  /// VirtioTransport::queue_eventfd() may say something else than it did.
  virtual void vectors_changed() {}
};

}  // namespace airlock::pci
