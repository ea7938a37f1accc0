// SPDX-License-Identifier: Apache-2.0
//
// A disk that serves its client honestly and throws nothing away: every descriptor of guest memory,
// every eventfd. What it makes of them is elsewhere (attacks.h).
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "testing/fake_disk.h"
#include "testing/hostile_endpoint.h"
#include "vfio_user/handler.h"

namespace airlock::testing::attack {

/// One thread. The device must outlive it.
class GreedyEndpoint final : public vfio_user::Handler {
 public:
  struct Options {
    bool mapped = true;  // the region's BAR can be mapped; if not, a VMM posts its writes
  };

  /// Memory that the client offered, taken back since or not.
  struct Offer {
    vfio_user::DmaRange range;
    Fd fd;  // empty if none came
  };

  GreedyEndpoint(FakeDiskDevice& device, const Options& options);

  [[nodiscard]] std::span<const Offer> offers() const { return offers_; }
  /// A duplicate of the client's eventfd of an interrupt. Errors: kWrongState (there is none).
  [[nodiscard]] Result<Fd> eventfd(std::uint32_t index, std::uint32_t number) const;

  /// What is behind the region's BAR from now on, whether it is fit for that or not.
  void show_region(Fd fd) { shown_ = std::move(fd); }
  /// What `find` returns is behind it, as soon as that is anything.
  void show_when_found(std::function<Fd()> find) { find_ = std::move(find); }
  [[nodiscard]] const Fd& shown() const { return shown_; }

  void connected() override { honest_.connected(); }
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
  void reset(vfio_user::Reply reply) override { honest_.reset(std::move(reply)); }

 private:
  Lies no_lies_;
  HostileEndpoint honest_;
  Options options_;
  std::vector<Offer> offers_;
  std::map<std::pair<std::uint32_t, std::uint32_t>, Fd> eventfds_;  // by index and number
  Fd shown_;                                                        // empty: the disk's own region
  std::function<Fd()> find_;
};

}  // namespace airlock::testing::attack
