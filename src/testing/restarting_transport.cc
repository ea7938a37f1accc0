// SPDX-License-Identifier: Apache-2.0
#include "testing/restarting_transport.h"

#include <sys/stat.h>

#include <cerrno>
#include <chrono>
#include <utility>

#include "base/check.h"
#include "base/le.h"
#include "pci/virtio_pci_device.h"
#include "spec/pci.h"
#include "spec/vfio_user.h"
#include "spec/virtio.h"
#include "spec/virtio_pci.h"

namespace airlock::testing {

namespace {

using Cfg = spec::VirtioPciCommonCfg;

/// A sanitizer makes a process slow to start.
constexpr std::chrono::seconds kPatience{60};

std::span<const std::byte> bytes_of(const Le64& value, std::size_t count) {
  return std::as_bytes(std::span(&value, 1)).first(count);
}

/// The connection is fine, and this is the device's answer.
bool is_answer(const Error& error) {
  return error.code == Errc::kSystem || error.code == Errc::kOutOfRange;
}

bool same_file(const Fd& one, const Fd& other) {
  struct stat a{};
  struct stat b{};
  CHECK(fstat(one.get(), &a) == 0 && fstat(other.get(), &b) == 0);
  return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

constexpr std::uint16_t kBegun = spec::VIRTIO_CONFIG_S_ACKNOWLEDGE | spec::VIRTIO_CONFIG_S_DRIVER;

}  // namespace

RestartingTransport::RestartingTransport(std::vector<std::string> command)
    : command_(std::move(command)) {
  start();
  for (std::uint32_t i = 0; i < bars_.size(); ++i) {
    const auto region = MUST(client_->region(i));
    // As pci::VirtioPciDevice lays them out: the region's BAR alone is a 64-bit one.
    bars_[i] = {.size = region.size, .is_64bit = i == pci::kRegionBar, .is_io = false};
    bar_sizes_[i] = region.size;
  }
  addresses_ = MUST(driver::place_bars(bars_));
  vectors_ =
      static_cast<std::uint16_t>(MUST(client_->irq_info(spec::VFIO_PCI_MSIX_IRQ_INDEX)).count);
  region_ = MUST(client_->region(pci::kRegionBar))
  .fd.duplicate().value();
  MUST(place_region());
}

void RestartingTransport::start() {
  process_ = std::make_unique<DeviceProcess>(
      command_, DeviceProcess::Passed{.state = state_.memfd().fd().get(), .region = region_.get()});
  auto client = vfio_user::Client::adopt(process_->take_socket(), {.timeout = kPatience});
  client_ = client ? std::make_unique<vfio_user::Client>(std::move(*client)) : nullptr;
}

bool RestartingTransport::kill_and_restart() {
  process_->kill();  // whatever is under way meets it
  const std::scoped_lock held(lock_);
  start();
  const bool alive = client_ != nullptr && place_region() && replay();
  given_up_ = !alive;
  ++generation_;
  restarted_.notify_all();
  return alive;
}

template <class Call>
auto RestartingTransport::with_device(const Call& call) {
  std::unique_lock held(lock_);
  for (;;) {
    auto result = given_up_ ? decltype(call()){fail(Errc::kPeerClosed)} : call();
    if (result || given_up_ || is_answer(result.error())) return result;
    restarted_.wait(held, [this, before = generation_] { return generation_ != before; });
  }
}

Result<void> RestartingTransport::put(std::uint64_t offset, std::uint64_t value,
                                      std::size_t bytes) {
  return client_->write(pci::kRegistersBar, offset, bytes_of(Le64(value), bytes));
}

Result<void> RestartingTransport::put_config(std::uint16_t offset,
                                             std::span<const std::byte> source) {
  return client_->write(spec::VFIO_PCI_CONFIG_REGION_INDEX, offset, source);
}

Result<void> RestartingTransport::place_region() {
  for (std::uint32_t i = 0; i < bars_.size(); ++i) {
    if (addresses_[i] == 0) continue;
    const auto at = static_cast<std::uint16_t>(spec::PCI_BASE_ADDRESS_0 + (4 * i));
    TRY(put_config(at, bytes_of(Le64(addresses_[i]), bars_[i].is_64bit ? 8 : 4)));
  }
  return put_config(
      spec::PCI_COMMAND,
      bytes_of(Le64(spec::PCI_COMMAND_MEMORY | spec::PCI_COMMAND_MASTER), sizeof(Le16)));
}

// What a guard does. No reset: that would be the driver's wish.
Result<void> RestartingTransport::replay() {
  if (!same_file(TRY(client_->region(pci::kRegionBar)).fd, region_)) {
    return fail(Errc::kNoRegion);
  }
  if (!events_.empty()) {
    std::vector<int> fds;
    fds.reserve(events_.size());
    for (const EventFd& event : events_)
      fds.push_back(event.fd());
    TRY(client_->set_irq_eventfds(spec::VFIO_PCI_MSIX_IRQ_INDEX, 0, fds));
    TRY(put_config(msix_control_, bytes_of(Le64(spec::PCI_MSIX_FLAGS_ENABLE), sizeof(Le16))));
  }
  if (shadow_.status == 0) return {};
  const auto until = [&](unsigned bits) {
    return put(offsetof(Cfg, device_status), shadow_.status & bits, 1);
  };
  TRY(until(spec::VIRTIO_CONFIG_S_ACKNOWLEDGE));
  TRY(until(kBegun));
  for (std::uint32_t word = 0; word < 2; ++word) {
    TRY(put(offsetof(Cfg, driver_feature_select), word, 4));
    TRY(put(offsetof(Cfg, driver_feature), shadow_.features[word], 4));
  }
  TRY(until(kBegun | spec::VIRTIO_CONFIG_S_FEATURES_OK));
  TRY(put(offsetof(Cfg, config_msix_vector), shadow_.config_vector, 2));
  TRY(replay_queues());
  TRY(until(~0U));
  TRY(put(offsetof(Cfg, driver_feature_select), shadow_.feature_select, 4));
  TRY(put(offsetof(Cfg, queue_select), shadow_.queue_select, 2));
  for (const auto& [queue, registers] : shadow_.queues)
    TRY(put(pci::kNotifyOffset + (pci::kNotifyMultiplier * queue), queue, 2));
  for (const EventFd& event : events_)
    event.signal();
  return {};
}

// In the order of their offsets, queue_enable last.
Result<void> RestartingTransport::replay_queues() {
  constexpr std::uint64_t kEnable = offsetof(Cfg, queue_enable);
  for (const auto& [queue, registers] : shadow_.queues) {
    TRY(put(offsetof(Cfg, queue_select), queue, 2));
    for (const auto& [offset, value] : registers) {
      if (offset != kEnable) TRY(put(offset, value.value, value.bytes));
    }
    if (registers.contains(kEnable)) TRY(put(kEnable, 1, 2));
  }
  return {};
}

// What of a write the device keeps.
void RestartingTransport::follow(const driver::Register& to, std::uint64_t value) {
  if (to.bar != pci::kRegistersBar || to.offset >= sizeof(Cfg)) return;
  switch (to.offset) {
    case offsetof(Cfg, driver_feature_select):
      shadow_.feature_select = static_cast<std::uint32_t>(value);
      return;
    case offsetof(Cfg, driver_feature):
      shadow_.features.at(shadow_.feature_select) = static_cast<std::uint32_t>(value);
      return;
    case offsetof(Cfg, config_msix_vector):
      shadow_.config_vector = value;
      return;
    case offsetof(Cfg, device_status):
      shadow_.status = static_cast<std::uint8_t>(value);
      if (value == 0) shadow_ = {};
      return;
    case offsetof(Cfg, queue_select):
      shadow_.queue_select = static_cast<std::uint16_t>(value);
      return;
    case offsetof(Cfg, device_feature_select):
      return;
    default:
      shadow_.queues[shadow_.queue_select][to.offset] = {
          .value = value, .bytes = static_cast<std::size_t>(to.width)};
  }
}

Result<void> RestartingTransport::read_config(std::uint16_t offset, std::span<std::byte> target) {
  return with_device(
      [&] { return client_->read(spec::VFIO_PCI_CONFIG_REGION_INDEX, offset, target); });
}

Result<void> RestartingTransport::write_config(std::uint16_t offset,
                                               std::span<const std::byte> source) {
  return with_device([&] { return put_config(offset, source); });
}

Result<std::uint64_t> RestartingTransport::read(const driver::Register& from) {
  return with_device([&]() -> Result<std::uint64_t> {
    Le64 value;
    const auto bytes = std::as_writable_bytes(std::span(&value, 1));
    TRY(client_->read(from.bar, from.offset, bytes.first(static_cast<std::size_t>(from.width))));
    return value.get();
  });
}

Result<void> RestartingTransport::write(const driver::Register& to, std::uint64_t value) {
  return with_device([&]() -> Result<void> {
    TRY(client_->write(to.bar, to.offset,
                       bytes_of(Le64(value), static_cast<std::size_t>(to.width))));
    follow(to, value);
    return {};
  });
}

Result<driver::MappedRegion> RestartingTransport::map(const pci::BarRange& range) {
  if (range.bar != pci::kRegionBar) return fail(Errc::kNoRegion);
  driver::MappedRegion mapped;
  const std::scoped_lock held(lock_);
  mapped.mapping =
      TRY(shm::Mapping::map(region_, {.offset = range.offset, .length = range.length}));
  mapped.bus_address = window::BusAddress{addresses_[range.bar] + range.offset};
  return mapped;
}

Result<void> RestartingTransport::enable_interrupts(const pci::MsixLocation& msix,
                                                    std::uint16_t count) {
  std::vector<EventFd> events;
  std::vector<int> fds;
  for (std::uint16_t i = 0; i < count; ++i) {
    events.push_back(TRY(EventFd::create()));
    fds.push_back(events.back().fd());
  }
  return with_device([&]() -> Result<void> {
    TRY(client_->set_irq_eventfds(spec::VFIO_PCI_MSIX_IRQ_INDEX, 0, fds));
    const auto control = static_cast<std::uint16_t>(msix.capability + 2);
    TRY(put_config(control, bytes_of(Le64(spec::PCI_MSIX_FLAGS_ENABLE), sizeof(Le16))));
    events_ = std::move(events);
    msix_control_ = control;
    return {};
  });
}

int RestartingTransport::interrupt_fd(std::uint16_t vector) const {
  return vector < events_.size() ? events_[vector].fd() : -1;
}

bool RestartingTransport::take_interrupt(std::uint16_t vector) {
  return vector < events_.size() && events_[vector].drain();
}

}  // namespace airlock::testing
