// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include "guard/audit.h"
#include "guard/channel.h"
#include "guard/decision.h"
#include "guard/device.h"
#include "guard/snooper.h"

namespace airlock::guard {

/// One connection of a VM's, with a device of its own behind it. Every message of either side is
/// judged here, by core's rules, and passed on, answered or refused. One thread.
class VmSession {
 public:
  /// `poller`, `source` and `audit` outlive it. `ended` is called once, when the VM has gone or
  /// can't be served; it must not destroy the session at once.
  VmSession(const Device::Options& options, Poller& poller, DeviceSource& source, Audit& audit,
            Fd socket, std::function<void()> ended);

  /// Errors: kSystem.
  Result<void> start();

  [[nodiscard]] std::optional<TimePoint> next_deadline() const { return device_.next_deadline(); }
  void tick(TimePoint now) { device_.tick(now); }

 private:
  using Header = spec::VfioUserHeader;
  using Payload = std::span<const std::byte>;

  // The VM's side.
  void on_vm();
  void run();
  void note(const Result<void>& done);
  void proceed(const Result<void>& answered);
  void end();
  Result<void> handle(vfio_user::Message message);
  Result<void> dispatch(vfio_user::Message& message);
  Result<void> on_version(const Header& header, Payload payload);
  Result<void> on_device_info(const Header& header);
  Result<void> on_region_info(const Header& header, Payload payload);
  Result<void> on_irq_info(const Header& header, Payload payload);
  Result<void> on_dma_map(vfio_user::Message& message);
  Result<void> on_dma_unmap(const Header& header, Payload payload);
  Result<void> on_set_irqs(vfio_user::Message& message);
  Result<void> on_region_read(const Header& header, Payload payload);
  Result<void> on_region_write(const Header& header, Payload payload);
  Result<void> on_reset(const Header& header);
  [[nodiscard]] airlock_guard_memory memory();
  [[nodiscard]] airlock_guard_reason judge(const spec::VfioUserRegionAccess& access) const;
  Result<void> answer(const Header& request, Payload payload = {}, Fd fd = {});
  Result<void> refuse(const Header& request, airlock_guard_reason reason);
  void seen(const Header& request, Decision decision, airlock_guard_reason reason);

  // The device's commands, which are about guest memory.
  Result<void> on_device_command(vfio_user::Message message);
  Result<void> on_dma_answer(const vfio_user::Message& message);
  void refuse_device(const Header& request, airlock_guard_reason reason);

  airlock_guard_rules rules_;
  Poller& poller_;
  Audit& audit_;
  std::function<void()> ended_;
  Channel channel_;
  Poller::Watch watch_;
  bool negotiated_ = false;
  bool busy_ = true;  // the answer to the last command is due, or the device has yet to come
  bool running_ = false;
  std::deque<vfio_user::Message> pending_;  // commands, meanwhile
  bool ended_said_ = false;

  std::vector<airlock_guard_map> maps_;
  Snooper snooper_;  // with the policy that goes by it
  struct DmaRequest {
    airlock_guard_asked asked;
    Header header;  // as the device sent it
  };
  std::map<std::uint16_t, DmaRequest> dma_;  // passed on to the VM, by id
  std::uint16_t next_dma_ = 0;

  Device device_;
};

}  // namespace airlock::guard
