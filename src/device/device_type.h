// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "device/queue_task.h"
#include "pci/virtio_model.h"
#include "ring/queue_record.h"

namespace airlock::device {

/// What a queue needs to run: what driver and device agreed upon, where its ring is, what the
/// device may touch. `window` outlives the task; `interrupt` may be called from the task's thread.
struct QueueContext {
  pci::Negotiated negotiated;
  pci::QueueSetup setup;
  const window::Window* window = nullptr;
  std::function<void()> interrupt;
  // NOLINTNEXTLINE(readability-redundant-member-init): GCC wants it, to be left out where not used
  ring::QueueRecord record{};  // where it leaves how far it got, and goes on from
};

/// What a device type may ask of whoever serves it.
struct DeviceHost {
  /// Runs a function on the control thread, later, as long as that runs. Any thread.
  std::function<void(std::function<void()>)> post;
  /// Tells the driver, if there is one, that config() changed: after the change, on the control
  /// thread. VIRTIO 1.3, 2.5.2.
  std::function<void()> config_changed;
};

/// A type of device (a disk, a network card) with its backend: it lives as long as the process,
/// while clients, regions and queues come and go. What it says of itself never changes, but the
/// bytes of its configuration may. Control thread.
class DeviceType {
 public:
  DeviceType() = default;
  virtual ~DeviceType() = default;
  DeviceType(const DeviceType&) = delete;
  DeviceType& operator=(const DeviceType&) = delete;

  [[nodiscard]] virtual std::uint16_t virtio_id() const = 0;  // VIRTIO_ID_*
  [[nodiscard]] virtual std::uint32_t pci_class() const = 0;  // PCI_CLASS_*
  /// As pci::VirtioModel::features() and accepts().
  [[nodiscard]] virtual std::uint64_t features() const = 0;
  [[nodiscard]] virtual bool accepts(std::uint64_t /*features*/) const { return true; }
  [[nodiscard]] virtual std::uint16_t queue_count() const = 0;
  [[nodiscard]] virtual std::uint16_t queue_size_max(std::uint16_t queue) const = 0;
  /// The device configuration, as it is read now: its bytes change on the control thread only, its
  /// size never. Empty if the type has none.
  [[nodiscard]] virtual std::span<const std::byte> config() const = 0;
  /// The driver writes part of it, inside config(). Most types have nothing there to be written.
  virtual void write_config(std::uint32_t /*offset*/, std::span<const std::byte> /*source*/) {}

  /// A queue, ready to be run by a worker. Called on the control thread at DRIVER_OK.
  /// Errors: the ring's (kAddressOutside, ...), the backend's.
  virtual Result<std::unique_ptr<QueueTask>> make_queue(const QueueContext& context) = 0;

  /// Called once, before the first queue is made. The host outlives the queues; `post` outlives the
  /// type.
  virtual void attach(const DeviceHost& /*host*/) {}
  /// All queues are gone, since the driver reset the device or the client left: what belonged to
  /// that driver is to be forgotten.
  virtual void stopped() {}
};

}  // namespace airlock::device
