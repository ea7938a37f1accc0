// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "base/event_fd.h"
#include "device/client_model.h"
#include "device/device_type.h"
#include "device/queue_set.h"
#include "device/queue_states.h"

namespace airlock::device {

/// A DeviceType at work for one client: what the PCI transport starts, notifies and stops. Control
/// thread.
class RunningModel final : public ClientModel {
 public:
  /// `type`, `window` and `states` outlive it. A queue that is live in `states` (null: none is)
  /// goes on from there, and interrupts once: the driver may wait for one that the process before
  /// this one did not get round to.
  RunningModel(DeviceType& type, const window::Window& window, QueueSet::Options options,
               const QueueStates* states = nullptr);

  void attach(pci::VirtioTransport& transport) override { transport_ = &transport; }

  [[nodiscard]] QueueSet& queues() { return queues_; }
  [[nodiscard]] std::uint64_t notifications() const override {
    return notifications_ + counts().doorbells;
  }
  Result<const EventFd*> doorbell(std::uint16_t queue) override;
  [[nodiscard]] QueueCounts counts() const override;
  [[nodiscard]] const std::vector<pci::QueueSetup>& setups() const override { return setups_; }
  void pause(std::function<void()> paused) override { queues_.pause(std::move(paused)); }
  void resume() override { queues_.resume(); }
  void drain() override { queues_.stop_and_wait(false); }

  [[nodiscard]] std::uint16_t device_type() const override { return type_.virtio_id(); }
  [[nodiscard]] std::uint32_t pci_class() const override { return type_.pci_class(); }
  [[nodiscard]] std::uint64_t features() const override { return type_.features(); }
  [[nodiscard]] bool accepts(std::uint64_t features) const override {
    return type_.accepts(features);
  }
  [[nodiscard]] std::uint16_t queue_count() const override { return type_.queue_count(); }
  [[nodiscard]] std::uint16_t queue_size_max(std::uint16_t queue) const override {
    return type_.queue_size_max(queue);
  }
  [[nodiscard]] std::uint32_t config_size() const override {
    return static_cast<std::uint32_t>(type_.config().size());
  }
  void read_config(std::uint32_t offset, std::span<std::byte> target) const override;
  void write_config(std::uint32_t offset, std::span<const std::byte> source) override {
    type_.write_config(offset, source);
  }
  Result<void> start(const pci::Negotiated& negotiated,
                     std::span<const pci::QueueSetup> queues) override;
  void stop(std::function<void()> done) override;
  void stop_and_wait() override;
  void reset_queue(std::uint16_t queue, std::function<void()> done) override;
  Result<void> start_queue(const pci::Negotiated& negotiated,
                           const pci::QueueSetup& setup) override;
  void forget_queue(std::uint16_t queue) override;
  void notify(std::uint16_t queue) override;

 private:
  DeviceType& type_;
  const window::Window& window_;
  const QueueStates* states_;
  pci::VirtioTransport* transport_ = nullptr;
  std::uint64_t notifications_ = 0;
  std::uint64_t interrupts_ = 0;  // by the control thread; the queues' are in their metrics
  std::vector<pci::QueueSetup> setups_;
  std::vector<QueueMetrics> metrics_;  // by queue
  std::vector<EventFd> doorbells_;     // by queue; made when first needed
  QueueSet queues_;                    // last: its threads use what is above
};

}  // namespace airlock::device
