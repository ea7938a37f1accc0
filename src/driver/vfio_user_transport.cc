// SPDX-License-Identifier: Apache-2.0
#include "driver/vfio_user_transport.h"

#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "base/checked.h"
#include "base/le.h"
#include "core/range.h"
#include "spec/vfio_user.h"

namespace airlock::driver {

namespace {

using Posted = vfio_user::Client::Posted;

std::span<const std::byte> first_bytes(const Le64& value, Width width) {
  return std::as_bytes(std::span(&value, 1)).first(static_cast<std::size_t>(width));
}

constexpr std::uint16_t bar_register(std::uint32_t index) {
  return static_cast<std::uint16_t>(spec::PCI_BASE_ADDRESS_0 + (4 * index));
}

}  // namespace

Result<std::unique_ptr<VfioUserTransport>> VfioUserTransport::connect(const Options& options) {
  return adopt(TRY(vfio_user::Client::connect(options.path, {.timeout = options.timeout})),
               options.trust);
}

Result<std::unique_ptr<VfioUserTransport>> VfioUserTransport::adopt(vfio_user::Client client,
                                                                    const Trust& trust) {
  std::unique_ptr<VfioUserTransport> transport(new VfioUserTransport(std::move(client), trust));
  const auto info = TRY(transport->client_.device_info());
  if ((info.flags & spec::VFIO_DEVICE_FLAGS_PCI) == 0 ||
      info.num_regions <= spec::VFIO_PCI_CONFIG_REGION_INDEX) {
    return fail(Errc::kNotVirtio);
  }
  const auto config = TRY(transport->client_.region(spec::VFIO_PCI_CONFIG_REGION_INDEX));
  if (config.size < spec::PCI_CFG_SPACE_SIZE || !config.readable || !config.writable) {
    return fail({.code = Errc::kTooSmall, .address = spec::PCI_CFG_SPACE_SIZE});
  }
  if (info.num_irqs > spec::VFIO_PCI_MSIX_IRQ_INDEX) {
    const auto irqs = TRY(transport->client_.irq_info(spec::VFIO_PCI_MSIX_IRQ_INDEX));
    if ((irqs.flags & spec::VFIO_IRQ_INFO_EVENTFD) != 0) {
      transport->vectors_ = static_cast<std::uint16_t>(
          std::min<std::uint32_t>(irqs.count, spec::PCI_MSIX_VECTORS_MAX));
    }
  }
  TRY(transport->find_bars());
  TRY(transport->program_bars());
  return transport;
}

Result<void> VfioUserTransport::find_bars() {
  bool upper_half = false;
  for (std::uint32_t i = 0; i < bars_.size(); i++) {
    const auto region = TRY(client_.region(i));
    Le32 value;
    TRY(read_config(bar_register(i), std::as_writable_bytes(std::span(&value, 1))));
    Bar& bar = bars_[i];
    bar.size = region.size;
    bar.is_io = !upper_half && (value.get() & spec::PCI_BASE_ADDRESS_SPACE_IO) != 0;
    bar.is_64bit =
        !upper_half && !bar.is_io && bar.size != 0 &&
        (value.get() & spec::PCI_BASE_ADDRESS_MEM_TYPE_MASK) == spec::PCI_BASE_ADDRESS_MEM_TYPE_64;
    upper_half = bar.is_64bit;
    bar_sizes_[i] = bar.is_io ? 0 : bar.size;
  }
  addresses_ = TRY(place_bars(bars_));
  return {};
}

// Writes each address and reads it back: bus addresses are only worth something if both sides
// agree.
Result<void> VfioUserTransport::program_bars() {
  TRY(write_command(0));
  for (std::uint32_t i = 0; i < bars_.size(); i++) {
    if (addresses_[i] == 0) continue;
    const auto low = static_cast<std::uint32_t>(addresses_[i]);
    TRY(put_bar(bar_register(i), low, spec::PCI_BASE_ADDRESS_MEM_MASK));
    if (!bars_[i].is_64bit) continue;
    TRY(put_bar(bar_register(i + 1), static_cast<std::uint32_t>(addresses_[i] >> 32), ~0U));
  }
  return write_command(spec::PCI_COMMAND_MEMORY | spec::PCI_COMMAND_MASTER |
                       spec::PCI_COMMAND_INTX_DISABLE);
}

Result<void> VfioUserTransport::put_bar(std::uint16_t at, std::uint32_t value, std::uint32_t mask) {
  const Le32 wire(value);
  TRY(write_config(at, std::as_bytes(std::span(&wire, 1))));
  Le32 kept;
  TRY(read_config(at, std::as_writable_bytes(std::span(&kept, 1))));
  if ((kept.get() & mask) != value) return fail({.code = Errc::kMalformed, .detail = at});
  return {};
}

Result<void> VfioUserTransport::write_command(std::uint16_t value) {
  const Le16 command(value);
  return write_config(spec::PCI_COMMAND, std::as_bytes(std::span(&command, 1)));
}

Result<void> VfioUserTransport::read_config(std::uint16_t offset, std::span<std::byte> target) {
  const std::scoped_lock held(lock_);
  return client_.read(spec::VFIO_PCI_CONFIG_REGION_INDEX, offset, target);
}

Result<void> VfioUserTransport::write_config(std::uint16_t offset,
                                             std::span<const std::byte> source) {
  const std::scoped_lock held(lock_);
  return client_.write(spec::VFIO_PCI_CONFIG_REGION_INDEX, offset, source);
}

Result<std::uint64_t> VfioUserTransport::read(const Register& from) {
  TRY(check_register(from));
  Le64 value;
  const auto bytes = std::as_writable_bytes(std::span(&value, 1));
  const std::scoped_lock held(lock_);
  TRY(client_.read(from.bar, from.offset, bytes.first(static_cast<std::size_t>(from.width))));
  return value.get();
}

Result<void> VfioUserTransport::write(const Register& to, std::uint64_t value) {
  return write_register(to, value, Posted::kNo);
}

Result<void> VfioUserTransport::post(const Register& to, std::uint64_t value) {
  const auto found = std::ranges::lower_bound(doorbells_, to.offset, {}, &Doorbell::offset);
  if (found != doorbells_.end() && found->offset == to.offset && found->width == to.width &&
      to.bar == doorbell_bar_) {
    found->event.signal();
    return {};
  }
  return write_register(to, value, Posted::kYes);
}

Result<void> VfioUserTransport::write_register(const Register& to, std::uint64_t value,
                                               Posted posted) {
  TRY(check_register(to));
  const Le64 wire(value);
  const std::scoped_lock held(lock_);
  return client_.write(to.bar, to.offset, first_bytes(wire, to.width), posted);
}

// VFIO_USER 1.8. Many servers know nothing of it, and say so: the registers are written then.
Result<void> VfioUserTransport::prepare_notifications(const pci::BarRange& range) {
  doorbells_.clear();
  if (!trust_.doorbells) return {};
  auto given = [&] {
    const std::scoped_lock held(lock_);
    return client_.doorbells(range.bar, bar_sizes_[range.bar]);
  }();
  if (!given) {
    if (given.error().code == Errc::kSystem) return {};
    return fail(given.error());
  }
  std::vector<Doorbell> doorbells;
  for (const auto& one : given->eventfds) {
    if (!airlock_range_inside(one.offset, one.size, range.offset, range.length)) {
      return fail({.code = Errc::kOutOfRange, .detail = one.size, .address = one.offset});
    }
    Fd fd = TRY(given->fds[one.fd_index].duplicate());
    doorbells.push_back({
      .offset = one.offset, .width = Width{static_cast<std::uint8_t>(one.size)},
      .event = TRY(EventFd::adopt(std::move(fd)))
    });
  }
  std::ranges::sort(doorbells, {}, &Doorbell::offset);
  doorbell_bar_ = range.bar;
  doorbells_ = std::move(doorbells);
  return {};
}

Result<MappedRegion> VfioUserTransport::map(const pci::BarRange& range) {
  if (range.bar >= bars_.size() || addresses_[range.bar] == 0) return fail(Errc::kNoRegion);
  const std::scoped_lock held(lock_);
  auto region = TRY(client_.region(range.bar));
  if (region.size != bars_[range.bar].size) {
    return fail({.code = Errc::kWrongSize, .address = region.size});
  }
  const bool mappable = std::ranges::any_of(region.areas, [&](const auto& area) {
    return airlock_range_inside(range.offset, range.length, area.offset, area.size);
  });
  if (!mappable || !region.readable || !region.writable) return fail(Errc::kNoRegion);
  // The file is the region and nothing else, and nobody can shrink it under us.
  const auto file_size = checked_add(region.file_offset, region.size);
  if (!file_size) return fail({.code = Errc::kOutOfRange, .address = region.file_offset});
  const auto memfd = TRY(shm::SealedMemfd::adopt(std::move(region.fd), *file_size, trust_.pages));
  MappedRegion mapped;
  mapped.mapping = TRY(shm::Mapping::map(
      memfd.fd(), {.offset = region.file_offset + range.offset, .length = range.length}));
  mapped.bus_address = window::BusAddress{addresses_[range.bar] + range.offset};
  struct stat status = {};
  if (fstat(memfd.fd().get(), &status) < 0) return fail(system_error());
  mapped.file = {
      .device = status.st_dev, .inode = status.st_ino, .offset = region.file_offset + range.offset};
  return mapped;
}

Result<void> VfioUserTransport::enable_interrupts(const pci::MsixLocation& msix,
                                                  std::uint16_t count) {
  if (count > vectors_) return fail({.code = Errc::kUnsupported, .detail = count});
  std::vector<EventFd> events;
  std::vector<int> fds;
  for (std::uint16_t i = 0; i < count; i++) {
    events.push_back(TRY(EventFd::create()));
    fds.push_back(events.back().fd());
  }
  {
    const std::scoped_lock held(lock_);
    TRY(client_.set_irq_eventfds(spec::VFIO_PCI_MSIX_IRQ_INDEX, 0, fds));
  }
  events_ = std::move(events);
  const auto control = static_cast<std::uint16_t>(msix.capability + 2);
  const Le16 enable(spec::PCI_MSIX_FLAGS_ENABLE);
  return write_config(control, std::as_bytes(std::span(&enable, 1)));
}

int VfioUserTransport::interrupt_fd(std::uint16_t vector) const {
  return vector < events_.size() ? events_[vector].fd() : -1;
}

bool VfioUserTransport::take_interrupt(std::uint16_t vector) {
  return vector < events_.size() && events_[vector].drain();
}

Result<void> VfioUserTransport::reset() {
  {
    const std::scoped_lock held(lock_);
    TRY(client_.reset());
  }
  events_.clear();
  return program_bars();
}

std::uint64_t VfioUserTransport::refused_commands() const {
  const std::scoped_lock held(lock_);
  return client_.refused_commands();
}

Result<void> VfioUserTransport::check_register(const Register& where) const {
  const auto width = static_cast<std::uint64_t>(where.width);
  if (where.bar >= bar_sizes_.size() ||
      !airlock_range_within(where.offset, width, bar_sizes_[where.bar])) {
    return fail({.code = Errc::kOutOfRange,
                 .detail = static_cast<std::uint32_t>(width),
                 .address = where.offset});
  }
  if (!airlock_is_aligned(where.offset, width)) {
    return fail({.code = Errc::kNotAligned,
                 .detail = static_cast<std::uint32_t>(width),
                 .address = where.offset});
  }
  return {};
}

}  // namespace airlock::driver
