// SPDX-License-Identifier: Apache-2.0
//
// The hostile device behind a VMM: what a FakeTransport does to a driver in this process is done
// here to a vfio-user client.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "testing/fake_disk.h"
#include "testing/fake_transport.h"
#include "vfio_user/handler.h"

namespace airlock::testing {

/// A device with its disk as vfio-user clients see it, and the lies told in between. One thread.
/// The device and the lies must outlive it. Guest memory that is offered is dropped.
class HostileEndpoint final : public vfio_user::Handler {
 public:
  HostileEndpoint(FakeDiskDevice& device, Lies& lies) : device_(device), lies_(lies) {}

  void connected() override {}
  void disconnected() override;
  vfio_user::RegionInfo region(std::uint32_t index) override;
  std::uint32_t irq_count(std::uint32_t index) override;
  Result<void> read(std::uint32_t region, std::uint64_t offset,
                    std::span<std::byte> target) override;
  Result<void> write(std::uint32_t region, std::uint64_t offset,
                     std::span<const std::byte> source) override;
  Result<void> set_irq_eventfds(std::uint32_t index, std::uint32_t start,
                                std::vector<Fd> eventfds) override;
  Result<void> deassign_irqs(std::uint32_t index, std::uint32_t start,
                             std::uint32_t count) override;
  Result<void> disable_irqs(std::uint32_t index) override;
  Result<void> trigger_irq(std::uint32_t index, std::uint32_t start, std::uint32_t count) override;
  void dma_map(const vfio_user::DmaRange& range, Fd fd, vfio_user::Reply reply) override;
  void dma_unmap(std::uint64_t address, std::uint64_t size, bool all,
                 vfio_user::Reply reply) override;
  void reset(vfio_user::Reply reply) override;

 private:
  void lie_about_config(std::uint64_t offset, std::span<std::byte> target);
  void lie_about_register(std::uint32_t bar, std::uint64_t offset,
                          std::span<std::byte> target) const;

  FakeDiskDevice& device_;
  Lies& lies_;
};

}  // namespace airlock::testing
