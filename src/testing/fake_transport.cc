// SPDX-License-Identifier: Apache-2.0
#include "testing/fake_transport.h"

#include <sys/stat.h>
#include <unistd.h>

#include "base/le.h"
#include "spec/pci.h"

namespace airlock::testing {

FakeTransport::FakeTransport(pci::VirtioPciDevice& device, const shm::SealedMemfd& region,
                             Lies& lies, const Options& options)
    : device_(device), region_(region), lies_(lies), options_(options) {
  driver::Bars bars{};
  for (unsigned i = 0; i < bars.size(); i++) {
    bar_sizes_[i] = device_.region_info(i).size;
    bars[i] = {.size = bar_sizes_[i], .is_64bit = i == pci::kRegionBar};
  }
  addresses_ = MUST(driver::place_bars(bars));
  place();
}

void FakeTransport::place() {
  for (unsigned i = 0; i < addresses_.size(); i++) {
    if (addresses_[i] == 0) continue;
    const Le64 address(addresses_[i]);
    const std::size_t size = i == pci::kRegionBar ? 8 : 4;
    const auto offset = static_cast<std::uint16_t>(spec::PCI_BASE_ADDRESS_0 + (4 * i));
    MUST(write_config(offset, std::as_bytes(std::span(&address, 1)).first(size)));
  }
  const Le16 command(spec::PCI_COMMAND_MEMORY | spec::PCI_COMMAND_MASTER);
  MUST(write_config(spec::PCI_COMMAND, std::as_bytes(std::span(&command, 1))));
}

Result<void> FakeTransport::read_config(std::uint16_t offset, std::span<std::byte> target) {
  TRY(device_.read(pci::kConfigRegion, offset, target));
  if (lies_.on_config_read) lies_.on_config_read(offset, target);
  return {};
}

Result<void> FakeTransport::write_config(std::uint16_t offset, std::span<const std::byte> source) {
  return device_.write(pci::kConfigRegion, offset, source);
}

Result<std::uint64_t> FakeTransport::read(const driver::Register& from) {
  if (lies_.read_error) return fail(*lies_.read_error);
  Le64 wire;
  const auto bytes = std::as_writable_bytes(std::span(&wire, 1));
  TRY(device_.read(from.bar, from.offset, bytes.first(static_cast<std::size_t>(from.width))));
  std::uint64_t value = wire.get();
  if (lies_.on_read) lies_.on_read(from, value);
  return value;
}

Result<void> FakeTransport::write(const driver::Register& to, std::uint64_t value) {
  if (lies_.on_write && lies_.on_write(to, value)) return {};
  const Le64 wire(value);
  const auto bytes = std::as_bytes(std::span(&wire, 1));
  return device_.write(to.bar, to.offset, bytes.first(static_cast<std::size_t>(to.width)));
}

Result<driver::MappedRegion> FakeTransport::map(const pci::BarRange& range) {
  if (lies_.map_error) return fail(*lies_.map_error);
  if (range.bar != pci::kRegionBar) return fail(Errc::kNoRegion);
  driver::MappedRegion mapped;
  mapped.mapping =
      TRY(shm::Mapping::map(region_.fd(), {.offset = range.offset, .length = range.length}));
  mapped.bus_address = window::BusAddress{addresses_[range.bar] + range.offset};
  if (options_.names_file) {
    struct stat status = {};
    if (fstat(region_.fd().get(), &status) < 0) return fail(system_error());
    mapped.file = {.device = status.st_dev, .inode = status.st_ino, .offset = range.offset};
  }
  return mapped;
}

std::uint16_t FakeTransport::interrupt_vectors() const {
  return options_.interrupts ? device_.vectors().count() : std::uint16_t{0};
}

Result<void> FakeTransport::enable_interrupts(const pci::MsixLocation& /*msix*/,
                                              std::uint16_t count) {
  events_.clear();
  for (std::uint16_t i = 0; i < count; i++) {
    events_.push_back(TRY(EventFd::create()));
    const Fd duplicate = TRY(own_fd(dup(events_.back().fd())));
    TRY(device_.vectors().install(i, TRY(EventFd::adopt(TRY(duplicate.duplicate())))));
  }
  return {};
}

int FakeTransport::interrupt_fd(std::uint16_t vector) const {
  return vector < events_.size() ? events_[vector].fd() : -1;
}

bool FakeTransport::take_interrupt(std::uint16_t vector) {
  return vector < events_.size() && events_[vector].drain();
}

Result<void> FakeTransport::reset() {
  device_.reset();
  events_.clear();
  place();
  return {};
}

}  // namespace airlock::testing
