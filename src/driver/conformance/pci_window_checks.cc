// SPDX-License-Identifier: Apache-2.0
//
// The window through configuration space: VIRTIO 1.3, 4.1.4.9.
#include <fmt/core.h>

#include "driver/conformance/check_context.h"
#include "driver/conformance/checks.h"

namespace airlock::driver::conformance {

namespace {

using Cfg = spec::VirtioPciCommonCfg;

template <class T>
Result<void> put_in_window(CheckContext& ctx, std::size_t field, T value) {
  const auto at = static_cast<std::uint16_t>(*ctx.capabilities().pci_cfg + field);
  return ctx.transport().write_config(at, std::as_bytes(std::span(&value, 1)));
}

/// Points the window at bytes of the common configuration.
Result<void> aim_window(CheckContext& ctx, std::size_t field, std::uint32_t length) {
  const pci::BarRange& place = *ctx.capabilities().common;
  TRY(put_in_window(ctx, offsetof(spec::VirtioPciCap, bar), place.bar));
  TRY(put_in_window(ctx, offsetof(spec::VirtioPciCap, offset),
                    Le32(static_cast<std::uint32_t>(place.offset + field))));
  return put_in_window(ctx, offsetof(spec::VirtioPciCap, length), Le32(length));
}

Result<std::uint16_t> read_through_window(CheckContext& ctx) {
  constexpr std::size_t kData = offsetof(spec::VirtioPciCfgCap, pci_cfg_data);
  Le16 value;
  TRY(ctx.transport().read_config(static_cast<std::uint16_t>(*ctx.capabilities().pci_cfg + kData),
                                  std::as_writable_bytes(std::span(&value, 1))));
  return value.get();
}

Result<Finding> check_window_is_there(CheckContext& ctx) {
  return ctx.capabilities().pci_cfg ? passed() : failed("there is no such capability");
}

Result<Finding> check_window_read(CheckContext& ctx) {
  if (!ctx.capabilities().pci_cfg) return skipped("there is no such capability");
  const std::uint16_t direct = TRY(ctx.common().queue_count());
  TRY(aim_window(ctx, offsetof(Cfg, num_queues), 2));
  const std::uint16_t through = TRY(read_through_window(ctx));
  if (through != direct) return failed(fmt::format("num_queues is {}, not {}", through, direct));
  return passed();
}

Result<Finding> check_window_write(CheckContext& ctx) {
  if (!ctx.capabilities().pci_cfg) return skipped("there is no such capability");
  constexpr std::uint16_t kMarker = 0x1234;
  TRY(ctx.common().select_queue(0));
  TRY(aim_window(ctx, offsetof(Cfg, queue_select), 2));
  TRY(put_in_window(ctx, offsetof(spec::VirtioPciCfgCap, pci_cfg_data), Le16(kMarker)));
  const auto selected = TRY(ctx.get<std::uint16_t>(offsetof(Cfg, queue_select)));
  TRY(ctx.common().select_queue(0));
  if (selected != kMarker) return failed(fmt::format("queue_select is {:#x}", selected));
  return passed();
}

// A driver must not ask for these. What the device makes of it is its own affair, if it lives.
Result<Finding> check_window_misuse(CheckContext& ctx) {
  if (!ctx.capabilities().pci_cfg) return skipped("there is no such capability");
  const std::uint16_t count = TRY(ctx.common().queue_count());
  for (const std::uint32_t length : {0U, 3U, 8U, ~0U}) {
    TRY(aim_window(ctx, offsetof(Cfg, num_queues), length));
    (void)TRY(read_through_window(ctx));
  }
  TRY(put_in_window(ctx, offsetof(spec::VirtioPciCap, length), Le32(2)));
  TRY(put_in_window(ctx, offsetof(spec::VirtioPciCap, offset), Le32(0xffff'fffe)));
  (void)TRY(read_through_window(ctx));
  TRY(put_in_window(ctx, offsetof(spec::VirtioPciCap, bar), std::uint8_t{0xff}));
  (void)TRY(read_through_window(ctx));
  if (TRY(ctx.common().queue_count()) != count) return failed("num_queues changed");
  return passed();
}

constexpr Check kPciWindowChecks[] = {
    {"VIRTIO-4.1.4.9.1/capability", "a PCI configuration access capability", Needs::kConfigSpace,
     check_window_is_there},
    {"VIRTIO-4.1.4.9.1/read", "a read through configuration space is one of the BAR",
     Needs::kRegisters, check_window_read},
    {"VIRTIO-4.1.4.9.1/write", "a write through configuration space is one of the BAR",
     Needs::kRegisters, check_window_write},
    {"VIRTIO-4.1.4.9.1/misuse", "odd lengths and places outside do no harm", Needs::kRegisters,
     check_window_misuse},
};

}  // namespace

std::span<const Check> pci_window_checks() {
  return kPciWindowChecks;
}

}  // namespace airlock::driver::conformance
