// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "device/device_type.h"
#include "pci/virtio_pci_device.h"
#include "shm/sealed_memfd.h"
#include "testing/fake_transport.h"

namespace airlock::testing {

/// A device of any type in this process, for a driver in the same thread: its queues run when
/// pump() says so, and what is in its region can be looked at, and changed, in between. A driver
/// must not wait for it: submit, pump, poll.
class PolledDevice final : private pci::VirtioModel {
 public:
  static constexpr std::uint64_t kRegionBytes = std::uint64_t{8} << 20;

  explicit PolledDevice(std::unique_ptr<device::DeviceType> type,
                        const pci::VirtioPciDevice::Options& options)
      : type_(std::move(type)), pci_(MUST(pci::VirtioPciDevice::create(options, *this, window_))) {
    type_->attach({.post = [](const std::function<void()>& work) { work(); },
                   .config_changed = [this] { pci_->interrupt_config(); }});
  }
  PolledDevice(const PolledDevice&) = delete;
  PolledDevice& operator=(const PolledDevice&) = delete;

  [[nodiscard]] pci::VirtioPciDevice& pci() { return *pci_; }
  [[nodiscard]] shm::SharedBytes region() const { return mapping_.bytes(); }
  /// What a driver is made with. One at a time; goes before this.
  [[nodiscard]] std::unique_ptr<driver::PciTransport> transport() {
    return std::make_unique<FakeTransport>(*pci_, memfd_, lies, FakeTransport::Options{});
  }

  /// Runs every queue until none has anything to do. One that a driver broke is reported, and rests
  /// until the next reset.
  void pump() {
    for (bool any = true; any;) {
      any = false;
      for (auto& [queue, task] : tasks_) {
        if (!task) continue;
        const auto progress = task->poll();
        if (!progress) broken.push_back(progress.error());
        if (!progress) pci_->report_violation(progress.error());
        if (!progress) task->drain(true);
        if (!progress) task.reset();
        any |= progress.value_or(false);
      }
    }
  }

  Lies lies;
  std::vector<Error> broken;  // what queues broke with

 private:
  [[nodiscard]] std::uint16_t device_type() const override { return type_->virtio_id(); }
  [[nodiscard]] std::uint32_t pci_class() const override { return type_->pci_class(); }
  [[nodiscard]] std::uint64_t features() const override { return type_->features(); }
  [[nodiscard]] bool accepts(std::uint64_t features) const override {
    return type_->accepts(features);
  }
  [[nodiscard]] std::uint16_t queue_count() const override { return type_->queue_count(); }
  [[nodiscard]] std::uint16_t queue_size_max(std::uint16_t queue) const override {
    return type_->queue_size_max(queue);
  }
  [[nodiscard]] std::uint32_t config_size() const override {
    return static_cast<std::uint32_t>(type_->config().size());
  }
  void read_config(std::uint32_t offset, std::span<std::byte> target) const override {
    std::ranges::copy(type_->config().subspan(offset, target.size()), target.begin());
  }
  Result<void> start(const pci::Negotiated& negotiated,
                     std::span<const pci::QueueSetup> queues) override {
    for (const pci::QueueSetup& setup : queues)
      TRY(start_queue(negotiated, setup));
    return {};
  }
  Result<void> start_queue(const pci::Negotiated& negotiated,
                           const pci::QueueSetup& setup) override {
    tasks_[setup.index] = TRY(type_->make_queue(
        {.negotiated = negotiated, .setup = setup, .window = &window_, .interrupt = [] {}}));
    return {};
  }
  void stop(std::function<void()> done) override {
    for (auto& [queue, task] : tasks_) {
      if (task) task->drain(true);
    }
    tasks_.clear();
    type_->stopped();
    done();
  }
  void reset_queue(std::uint16_t queue, std::function<void()> done) override {
    if (tasks_[queue]) tasks_[queue]->drain(true);
    tasks_.erase(queue);
    done();
  }
  void notify(std::uint16_t /*queue*/) override {}

  shm::SealedMemfd memfd_ = MUST(shm::SealedMemfd::create({.size = kRegionBytes}));
  shm::Mapping mapping_ = MUST(memfd_.map());
  window::Window window_{mapping_.bytes()};
  std::unique_ptr<device::DeviceType> type_;
  std::map<std::uint16_t, std::unique_ptr<device::QueueTask>> tasks_;
  std::unique_ptr<pci::VirtioPciDevice> pci_;
};

}  // namespace airlock::testing
