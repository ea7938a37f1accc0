// SPDX-License-Identifier: Apache-2.0
#include "testing/hostile_endpoint.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <utility>

#include "spec/pci.h"
#include "spec/vfio_user.h"

namespace airlock::testing {

namespace {

constexpr std::size_t kHeaderBytes = 0x40;  // of configuration space, before the capabilities

}  // namespace

void HostileEndpoint::disconnected() {
  device_.device().reset();
  device_.device().vectors().remove_all();
}

vfio_user::RegionInfo HostileEndpoint::region(std::uint32_t index) {
  const auto info = device_.device().region_info(index);
  vfio_user::RegionInfo region{
      .size = info.size, .readable = info.size != 0, .writable = info.size != 0, .mapping = {}};
  if (info.mappable) {
    region.mapping = vfio_user::RegionMapping{
        .fd = device_.memfd.fd().get(), .file_offset = 0, .area = {.offset = 0, .size = info.size}};
  }
  return region;
}

std::uint32_t HostileEndpoint::irq_count(std::uint32_t index) {
  return index == spec::VFIO_PCI_MSIX_IRQ_INDEX ? device_.device().vectors().count() : 0U;
}

Result<void> HostileEndpoint::read(std::uint32_t region, std::uint64_t offset,
                                   std::span<std::byte> target) {
  TRY(device_.device().read(region, offset, target));
  if (region == pci::kConfigRegion) {
    lie_about_config(offset, target);
  } else {
    lie_about_register(region, offset, target);
  }
  return {};
}

// Our own driver reads a capability in one piece, and the lies expect that; a guest reads it in
// several. So each read is cut from the lies that are told of the header and of each capability.
void HostileEndpoint::lie_about_config(std::uint64_t offset, std::span<std::byte> target) {
  std::array<std::byte, spec::PCI_CFG_SPACE_SIZE> config{};
  if (!lies_.on_config_read || offset + target.size() > config.size()) return;
  MUST(device_.device().read(pci::kConfigRegion, 0, config));
  const auto lie = [&](std::size_t start, std::size_t length) {
    lies_.on_config_read(static_cast<std::uint16_t>(start),
                         std::span(config).subspan(start, length));
  };
  auto next = std::to_integer<std::size_t>(config[spec::PCI_CAPABILITY_LIST]);
  lie(0, kHeaderBytes);
  while (next != 0) {
    const std::size_t position = next;
    next = std::to_integer<std::size_t>(config[position + 1]);
    const bool vendor = config[position] == std::byte{spec::PCI_CAP_ID_VNDR};
    if (vendor) lie(position, std::to_integer<std::size_t>(config[position + 2]));
  }
  std::ranges::copy(std::span(config).subspan(offset, target.size()), target.begin());
}

void HostileEndpoint::lie_about_register(std::uint32_t bar, std::uint64_t offset,
                                         std::span<std::byte> target) const {
  Le64 wire;
  if (!lies_.on_read || target.size() > sizeof wire || !std::has_single_bit(target.size())) return;
  std::memcpy(&wire, target.data(), target.size());
  std::uint64_t value = wire.get();
  const auto width = static_cast<driver::Width>(target.size());
  lies_.on_read({.bar = static_cast<std::uint8_t>(bar), .offset = offset, .width = width}, value);
  wire.set(value);
  std::memcpy(target.data(), &wire, target.size());
}

Result<void> HostileEndpoint::write(std::uint32_t region, std::uint64_t offset,
                                    std::span<const std::byte> source) {
  return device_.device().write(region, offset, source);
}

Result<void> HostileEndpoint::set_irq_eventfds(std::uint32_t /*index*/, std::uint32_t start,
                                               std::vector<Fd> eventfds) {
  auto vector = static_cast<std::uint16_t>(start);
  for (Fd& fd : eventfds) {
    TRY(device_.device().vectors().install(vector++, TRY(EventFd::adopt(std::move(fd)))));
  }
  return {};
}

Result<void> HostileEndpoint::deassign_irqs(std::uint32_t /*index*/, std::uint32_t start,
                                            std::uint32_t count) {
  for (std::uint32_t i = 0; i < count; i++) {
    TRY(device_.device().vectors().install(static_cast<std::uint16_t>(start + i), EventFd()));
  }
  return {};
}

Result<void> HostileEndpoint::disable_irqs(std::uint32_t /*index*/) {
  device_.device().vectors().remove_all();
  return {};
}

Result<void> HostileEndpoint::trigger_irq(std::uint32_t /*index*/, std::uint32_t start,
                                          std::uint32_t count) {
  for (std::uint32_t i = 0; i < count; i++)
    device_.device().vectors().fire(static_cast<std::uint16_t>(start + i));
  return {};
}

void HostileEndpoint::dma_map(const vfio_user::DmaRange& /*range*/, Fd fd, vfio_user::Reply reply) {
  fd.reset();
  reply({});
}

void HostileEndpoint::dma_unmap(std::uint64_t /*address*/, std::uint64_t /*size*/, bool /*all*/,
                                vfio_user::Reply reply) {
  reply({});
}

void HostileEndpoint::reset(vfio_user::Reply reply) {
  device_.device().reset();  // nothing of a held disk is in flight
  reply({});
}

}  // namespace airlock::testing
