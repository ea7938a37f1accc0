// SPDX-License-Identifier: Apache-2.0
//
// The device as the VM sees it: always there and always in time, whatever its process does.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "guard/access.h"
#include "guard/audit.h"
#include "guard/device_link.h"
#include "guard/device_profile.h"
#include "guard/device_source.h"
#include "guard/interrupt_relay.h"
#include "guard/poller.h"
#include "guard/register_cache.h"
#include "guard/restart_limit.h"
#include "guard/virtio_record.h"

namespace airlock::guard {

/// One device for one connection of the VM's. Writes return at once; reads and resets are answered
/// within a deadline, with what was known last if the device does not answer. A device process that
/// dies, lies or hangs is started anew where that is possible and brought to where it was; if it is
/// not, a virtio device says DEVICE_NEEDS_RESET. One thread.
class Device {
 public:
  struct Options {
    airlock_guard_rules rules{};
    std::chrono::milliseconds answer_within{80};  // for a read or a reset
    // For a new device to say what it is: the VM waits for the first (VFIO_USER 0.5). One that
    // takes the place of another has hang_limit: it may have to wait for what that has in flight.
    std::chrono::milliseconds start_within{4000};
    std::chrono::milliseconds hang_limit{30'000};  // without an answer, until it is started anew
    RestartLimit::Options restarts;
    InterruptRelay::Rate interrupts;
  };
  struct Events {
    /// The device has said what it is: profile() is there from now on.
    std::function<void()> ready;
    /// It has not, and won't; why, for a person.
    std::function<void(std::string)> unusable;
    /// The device sent a command. An error ends its connection.
    std::function<Result<void>(vfio_user::Message)> command;
  };

  /// `poller`, `source` and `audit` outlive it.
  Device(Options options, Poller& poller, DeviceSource& source, Audit& audit, Events events);
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  /// Gets the first process. An event tells how it went.
  void start();

  [[nodiscard]] const DeviceProfile* profile() const { return profile_ ? &*profile_ : nullptr; }
  /// What the driver has set it up with; null if it is no virtio device.
  [[nodiscard]] const VirtioRecord* virtio() const { return virtio_ ? &*virtio_ : nullptr; }
  /// Whether `file` is what the VM has mapped as one of the regions.
  [[nodiscard]] bool is_region_file(const FileId& file) const;

  using OnRead = std::move_only_function<void(std::span<const std::byte>)>;
  /// One at a time: not before the one before has been answered, no reset either. `on_read` may be
  /// called at once; on an error of the device's it gets all ones.
  void read(std::uint32_t region, std::uint64_t offset, std::uint32_t count, OnRead on_read);
  void write(RegionWrite write);
  void reset(std::move_only_function<void()> on_reset);

  /// As the VM's DEVICE_SET_IRQS says, which was checked. Errors: kSystem (no eventfd to be had).
  Result<void> set_irqs(const spec::VfioUserIrqSet& request, std::span<const std::byte> data,
                        std::vector<Fd> eventfds);
  /// Memory of the VM's that the policy lets the device know of. A later process hears of it too.
  void map(const vfio_user::DmaRange& range, Fd fd);
  /// Whatever of it lies in this range, which cuts no part in two.
  void unmap(std::uint64_t address, std::uint64_t size);
  /// Whether a driver has it in use.
  [[nodiscard]] bool in_use() const { return virtio_ && virtio_->driver_ok(); }
  /// It has done what no device may, and is given up.
  void condemn(const std::string& why);
  /// Answers a command of the device's, if it is still there.
  void answer_command(vfio_user::Outgoing message);

  [[nodiscard]] std::optional<TimePoint> next_deadline() const;
  /// To be called when that time has come, or before.
  void tick(TimePoint now);

 private:
  enum class State : std::uint8_t {
    kIdle,     // not started
    kAsked,    // the source was asked for a process
    kProbing,  // it is asked what it is
    kUp,       // it works
    kWaiting,  // for the time of the next attempt
    kDead,     // for good
  };
  struct Waiting {
    std::uint64_t number = 0;
    bool is_reset = false;
    std::uint32_t region = 0;
    std::uint64_t offset = 0;
    std::uint32_t count = 0;
    OnRead on_answer;
    TimePoint deadline;
    bool sent = false;
  };
  struct Mapping {
    vfio_user::DmaRange range;
    Fd fd;
  };

  void ask();
  void on_source();
  void adopt(Fd socket);
  void on_link();
  Result<void> on_profile(DeviceProfile profile);
  Result<void> bring_back();
  [[nodiscard]] int region_to_keep() const;
  void come_up();
  void fail_device(const std::string& why);
  void give_up(const std::string& why);
  void note(const Result<void>& sent);

  Result<void> send_write(const RegionWrite& write);
  Result<void> send_irq(InterruptRelay::Vector vector);
  Result<void> send_mapping(const Mapping& mapping);
  Result<void> send_waiting();
  Result<void> on_read(std::uint64_t number, const spec::VfioUserRegionAccess& asked,
                       const Answer& reply);
  void send_held();
  void answer(std::span<const std::byte> bytes);
  void answer_from_memory();
  [[nodiscard]] bool late(TimePoint now) const;
  [[nodiscard]] bool takes_orders() const;

  Options options_;
  Poller& poller_;
  DeviceSource& source_;
  Audit& audit_;
  Events events_;

  State state_ = State::kIdle;
  TimePoint deadline_;  // of kAsked and kProbing: for the device; of kWaiting: the next attempt
  RestartLimit restarts_;
  Poller::Watch source_watch_;
  Poller::Watch link_watch_;
  std::unique_ptr<DeviceLink> link_;
  bool brought_back_ = false;    // what the last process knew has been sent to this one
  std::optional<Error> broken_;  // the link failed while in use: it goes at the next tick

  std::optional<DeviceProfile> profile_;
  RegisterCache cache_;
  std::optional<VirtioRecord> virtio_;
  // Of the driver's resets, those asked for and those answered: one that is not answered the
  // process may not have seen, and what it left of its queues is void all the same.
  std::uint64_t resets_ = 0;
  std::uint64_t resets_answered_ = 0;
  std::map<std::uint64_t, std::vector<std::byte>> config_writes_;  // of the header, by offset
  std::map<std::uint64_t, Mapping> mappings_;                      // by address
  InterruptRelay relay_;
  std::map<std::pair<std::uint32_t, std::uint64_t>, RegionWrite>
      held_;  // notifications, while late

  std::optional<Waiting> waiting_;
  std::uint64_t waits_ = 0;
};

}  // namespace airlock::guard
