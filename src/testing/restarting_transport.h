// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/event_fd.h"
#include "driver/bar_layout.h"
#include "driver/transport.h"
#include "testing/device_process.h"
#include "testing/state_page.h"
#include "vfio_user/client.h"

namespace airlock::testing {

/// For a driver of ours, what VMM and guard are together: it keeps the region mapped and the
/// queues' state while device processes are killed and others take their place. An access that
/// meets a dead device waits for the next one and is made there. Only for `airlock serve`, whose
/// layout it knows.
///
/// kill_and_restart() is for one thread, everything else for any.
class RestartingTransport final : public driver::PciTransport {
 public:
  /// `command` serves the device; its socket is added to it.
  explicit RestartingTransport(std::vector<std::string> command);

  /// Kills the process, starts the next and replays what the driver had configured. False: the next
  /// one did not come to life, and nothing works any more.
  [[nodiscard]] bool kill_and_restart();

  Result<void> read_config(std::uint16_t offset, std::span<std::byte> target) override;
  Result<void> write_config(std::uint16_t offset, std::span<const std::byte> source) override;
  [[nodiscard]] const pci::BarSizes& bar_sizes() const override { return bar_sizes_; }
  Result<std::uint64_t> read(const driver::Register& from) override;
  Result<void> write(const driver::Register& to, std::uint64_t value) override;
  Result<void> post(const driver::Register& to, std::uint64_t value) override {
    return write(to, value);
  }
  Result<driver::MappedRegion> map(const pci::BarRange& range) override;
  [[nodiscard]] std::uint16_t interrupt_vectors() const override { return vectors_; }
  Result<void> enable_interrupts(const pci::MsixLocation& msix, std::uint16_t count) override;
  [[nodiscard]] int interrupt_fd(std::uint16_t vector) const override;
  bool take_interrupt(std::uint16_t vector) override;
  Result<void> reset() override { return fail(Errc::kUnsupported); }

 private:
  /// A queue's registers of the common configuration, by offset: values and widths.
  struct Value {
    std::uint64_t value = 0;
    std::size_t bytes = 0;
  };
  using Registers = std::map<std::uint64_t, Value>;
  /// What the driver configured, as far as the device keeps it.
  struct Shadow {
    std::array<std::uint32_t, 4> features{};
    std::uint32_t feature_select = 0;
    std::uint16_t queue_select = 0;
    std::uint64_t config_vector = 0xffff;
    std::uint8_t status = 0;
    std::map<std::uint16_t, Registers> queues;
  };

  template <class Call>
  auto with_device(const Call& call);
  void start();
  Result<void> place_region();
  Result<void> replay();
  Result<void> replay_queues();
  Result<void> put(std::uint64_t offset, std::uint64_t value, std::size_t bytes);
  Result<void> put_config(std::uint16_t offset, std::span<const std::byte> source);
  void follow(const driver::Register& to, std::uint64_t value);

  std::vector<std::string> command_;
  StatePage state_;
  std::unique_ptr<DeviceProcess> process_;
  pci::BarSizes bar_sizes_{};
  driver::BarAddresses addresses_{};
  driver::Bars bars_;
  std::uint16_t vectors_ = 0;

  std::mutex lock_;  // guards what follows
  std::condition_variable restarted_;
  std::uint64_t generation_ = 0;
  bool given_up_ = false;
  std::unique_ptr<vfio_user::Client> client_;
  Fd region_;  // once there was a device
  std::vector<EventFd> events_;
  std::uint16_t msix_control_ = 0;  // offset in configuration space
  Shadow shadow_;
};

}  // namespace airlock::testing
