// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/event_fd.h"
#include "driver/bar_layout.h"
#include "driver/transport.h"
#include "shm/sealed_memfd.h"
#include "vfio_user/client.h"

namespace airlock::driver {

/// A device behind a vfio-user socket, driven without a virtual machine: this is VMM, firmware and
/// bus at once. No memory of ours is ever offered to the server: no DMA_MAP is sent, and what it
/// asks for by message is refused by the client.
class VfioUserTransport final : public PciTransport {
 public:
  /// What a server is trusted with that nothing here can check.
  struct Trust {
    /// kHuge: a region of huge pages is accepted, and it will not take them away.
    shm::PageKind pages = shm::PageKind::kNormal;
    /// Queues are notified by eventfds of the server's, and it will not have us wait for room in
    /// one (it could clear O_NONBLOCK and fill the counter between our look and our write).
    bool doorbells = false;
  };
  struct Options {
    std::string path;
    std::chrono::milliseconds timeout{5000};  // for connecting, and for each answer
    Trust trust{};
  };

  /// Connects, places the BARs, and enables memory and bus mastering. Errors: those of Client and
  /// place_bars(); kNotVirtio (not a PCI device); kMalformed (a BAR does not stay where it is put).
  static Result<std::unique_ptr<VfioUserTransport>> connect(const Options& options);
  /// The same over a connected client.
  static Result<std::unique_ptr<VfioUserTransport>> adopt(vfio_user::Client client,
                                                          const Trust& trust);

  Result<void> read_config(std::uint16_t offset, std::span<std::byte> target) override;
  Result<void> write_config(std::uint16_t offset, std::span<const std::byte> source) override;
  [[nodiscard]] const pci::BarSizes& bar_sizes() const override { return bar_sizes_; }
  Result<std::uint64_t> read(const Register& from) override;
  Result<void> write(const Register& to, std::uint64_t value) override;
  Result<void> post(const Register& to, std::uint64_t value) override;
  /// By a queue's doorbell, an eventfd of the device's, where it has one and is trusted with it.
  Result<void> prepare_notifications(const pci::BarRange& range) override;
  Result<MappedRegion> map(const pci::BarRange& range) override;
  [[nodiscard]] std::uint16_t interrupt_vectors() const override { return vectors_; }
  Result<void> enable_interrupts(const pci::MsixLocation& msix, std::uint16_t count) override;
  [[nodiscard]] int interrupt_fd(std::uint16_t vector) const override;
  bool take_interrupt(std::uint16_t vector) override;
  Result<void> reset() override;

  /// As vfio_user::Client::server_pid().
  [[nodiscard]] std::int64_t server_pid() const { return client_.server_pid(); }
  /// Commands by which the server asked for our memory, all refused.
  [[nodiscard]] std::uint64_t refused_commands() const;
  [[nodiscard]] std::optional<std::uint64_t> foreign_requests() const override {
    return refused_commands();
  }

 private:
  VfioUserTransport(vfio_user::Client client, const Trust& trust)
      : client_(std::move(client)), trust_(trust) {}
  Result<void> find_bars();
  Result<void> program_bars();
  Result<void> put_bar(std::uint16_t at, std::uint32_t value, std::uint32_t mask);
  Result<void> write_command(std::uint16_t value);
  Result<void> check_register(const Register& where) const;
  Result<void> write_register(const Register& to, std::uint64_t value,
                              vfio_user::Client::Posted posted);

  // A register that is signalled by an eventfd of the device's instead of being written.
  struct Doorbell {
    std::uint64_t offset = 0;
    Width width = Width::k2;
    EventFd event;
  };

  mutable std::mutex lock_;  // for client_
  vfio_user::Client client_;
  Trust trust_;
  Bars bars_;
  BarAddresses addresses_{};
  pci::BarSizes bar_sizes_{};
  std::uint16_t vectors_ = 0;
  std::vector<EventFd> events_;
  std::uint8_t doorbell_bar_ = 0;
  std::vector<Doorbell> doorbells_;  // by offset
};

}  // namespace airlock::driver
