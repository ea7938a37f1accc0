// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "base/check.h"
#include "pci/virtio_model.h"
#include "pci/virtio_pci_device.h"
#include "ring/device_queue.h"
#include "shm/sealed_memfd.h"
#include "testing/fake_device.h"

namespace airlock::testing {

/// A device of any type for tests of its driver: what it does with a chain is a function, called
/// the moment that the driver notifies, in the notifying thread. It may lie there about how much it
/// wrote: see raw().
class FakeModel final : public pci::VirtioModel {
 public:
  std::uint16_t type = 0;
  std::uint64_t own_features = 0;
  std::vector<std::uint16_t> queue_sizes{64};
  std::vector<std::byte> config;
  /// What to do with a chain of a queue: how many bytes were written, or nothing to keep it, with
  /// all that come behind it in its queue, until serve() is called again.
  std::function<std::optional<std::uint32_t>(std::uint16_t queue, const ring::Chain& chain)>
      on_chain;
  std::function<void(std::uint32_t offset, std::span<const std::byte> source)> on_config_write;

  void set_transport(pci::VirtioTransport* transport) { transport_ = transport; }
  /// The window that the queues look through.
  const window::Window* window = nullptr;

  /// Serves what is in the rings.
  void serve() {
    for (auto& [index, queue] : queues_)
      serve(index, queue);
  }
  [[nodiscard]] bool running() const { return !queues_.empty(); }
  /// The ring of a queue, to lie in: a split one. Only while the device runs.
  [[nodiscard]] FakeDevice raw(std::uint16_t queue) const {
    const pci::QueueSetup& setup = queues_.at(queue).setup;
    const bool bus = window->mode() == window::AddressMode::kBus;
    const std::uint64_t base = bus ? std::to_underlying(window->region_bus_base()) : 0;
    const auto offset = [base](window::DriverAddress address) {
      return window::RegionOffset{std::to_underlying(address) - base};
    };
    const ring::AreaOffsets areas{.descriptors = offset(setup.descriptor_area),
                                  .driver = offset(setup.driver_area),
                                  .device = offset(setup.device_area)};
    return {
      window->region(), MUST(ring::QueueSize::from(setup.size))
      , areas
    };
  }

  [[nodiscard]] std::uint16_t device_type() const override { return type; }
  [[nodiscard]] std::uint32_t pci_class() const override { return 0xff0000; }
  [[nodiscard]] std::uint64_t features() const override { return own_features; }
  [[nodiscard]] std::uint16_t queue_count() const override {
    return static_cast<std::uint16_t>(queue_sizes.size());
  }
  [[nodiscard]] std::uint16_t queue_size_max(std::uint16_t queue) const override {
    return queue_sizes[queue];
  }
  [[nodiscard]] std::uint32_t config_size() const override {
    return static_cast<std::uint32_t>(config.size());
  }
  void read_config(std::uint32_t offset, std::span<std::byte> target) const override {
    std::ranges::copy(std::span(config).subspan(offset, target.size()), target.begin());
  }
  void write_config(std::uint32_t offset, std::span<const std::byte> source) override {
    if (on_config_write) on_config_write(offset, source);
  }
  Result<void> start(const pci::Negotiated& negotiated,
                     std::span<const pci::QueueSetup> queues) override {
    for (const pci::QueueSetup& setup : queues) {
      TRY(start_queue(negotiated, setup));
    }
    return {};
  }
  Result<void> start_queue(const pci::Negotiated& negotiated,
                           const pci::QueueSetup& setup) override {
    const ring::Features features = ring::Features::from(negotiated.features);
    const ring::QueueSize size = TRY(ring::QueueSize::from(setup.size, features.format));
    auto ring = TRY(ring::DeviceQueue::create({.queue = setup.index,
                                               .size = size,
                                               .areas = {.descriptors = setup.descriptor_area,
                                                         .driver = setup.driver_area,
                                                         .device = setup.device_area},
                                               .features = features},
                                              *window));
    queues_.emplace(setup.index, Running{.setup = setup, .ring = std::move(ring), .held = {}});
    return {};
  }
  void stop(std::function<void()> done) override {
    queues_.clear();
    done();
  }
  void reset_queue(std::uint16_t queue, std::function<void()> done) override {
    queues_.erase(queue);
    done();
  }
  void notify(std::uint16_t queue) override {
    const auto found = queues_.find(queue);
    if (found != queues_.end()) serve(queue, found->second);
  }

 private:
  struct Running {
    pci::QueueSetup setup;
    ring::DeviceQueue ring;
    std::deque<ring::Chain> held;
  };

  void serve(std::uint16_t index, Running& queue) {
    for (;;) {
      ring::Chain chain;
      const auto head = queue.ring.pop(chain);
      if (!head) {
        transport_->report_violation(head.error());
        return;
      }
      if (!*head) break;
      queue.held.push_back(std::move(chain));
    }
    bool any = false;
    while (!queue.held.empty() && on_chain) {
      const auto written = on_chain(index, queue.held.front());
      if (!written) break;
      MUST(queue.ring.push_used(queue.held.front().head(), *written));
      queue.held.pop_front();
      any = true;
    }
    if (!any) return;
    queue.ring.publish();
    if (queue.ring.driver_wants_interrupt()) transport_->interrupt_queue(index);
  }

  pci::VirtioTransport* transport_ = nullptr;
  std::map<std::uint16_t, Running> queues_;
};

/// It with its PCI device, its region and its window, ready to be driven through a FakeTransport.
struct FakeModelDevice {
  explicit FakeModelDevice(std::uint64_t region_bytes = std::uint64_t{1} << 20)
      : memfd(MUST(shm::SealedMemfd::create({.size = region_bytes}))),
        mapping(MUST(memfd.map())),
        window(mapping.bytes()) {
    model.window = &window;
  }

  /// The device, made at the first call: configure `model` before.
  [[nodiscard]] pci::VirtioPciDevice& device() {
    if (!device_) {
      device_ = MUST(pci::VirtioPciDevice::create({}, model, window));
      model.set_transport(device_.get());
    }
    return *device_;
  }

  shm::SealedMemfd memfd;
  shm::Mapping mapping;
  window::Window window;
  FakeModel model;

 private:
  std::unique_ptr<pci::VirtioPciDevice> device_;
};

}  // namespace airlock::testing
