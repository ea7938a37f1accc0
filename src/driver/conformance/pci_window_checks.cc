// SPDX-License-Identifier: Apache-2.0
//
// The window through configuration space: VIRTIO 1.3, 4.1.4.9.
#include <fmt/core.h>

#include "driver/conformance/check_context.h"
#include "driver/conformance/checks.h"

namespace airlock::driver::conformance {

namespace {

using Cfg = spec::VirtioPciCommonCfg;

/// Where a field of the capability is in configuration space; the capability is there.
std::uint16_t in_window(const CheckContext& ctx, std::size_t field) {
  return static_cast<std::uint16_t>(ctx.capabilities().pci_cfg.value_or(0) + field);
}

template <class T>
Result<void> put_in_window(CheckContext& ctx, std::size_t field, T value) {
  const std::uint16_t at = in_window(ctx, field);
  return ctx.transport().write_config(at, std::as_bytes(std::span(&value, 1)));
}

/// Points the window at bytes of the common configuration.
Result<void> aim_window(CheckContext& ctx, std::size_t field, std::uint32_t length) {
  const pci::BarRange& place = ctx.common_place();
  TRY(put_in_window(ctx, offsetof(spec::VirtioPciCap, bar), place.bar));
  TRY(put_in_window(ctx, offsetof(spec::VirtioPciCap, offset),
                    Le32(static_cast<std::uint32_t>(place.offset + field))));
  return put_in_window(ctx, offsetof(spec::VirtioPciCap, length), Le32(length));
}

template <class T>
Result<T> read_through_window(CheckContext& ctx) {
  T value;
  TRY(ctx.transport().read_config(in_window(ctx, offsetof(spec::VirtioPciCfgCap, pci_cfg_data)),
                                  std::as_writable_bytes(std::span(&value, 1))));
  return value;
}

Result<Finding> check_window_is_there(CheckContext& ctx) {
  return ctx.capabilities().pci_cfg ? passed() : failed("there is no such capability");
}

Result<Finding> check_window_read(CheckContext& ctx) {
  if (!ctx.capabilities().pci_cfg) return skipped("there is no such capability");
  const std::uint16_t direct = TRY(ctx.common().queue_count());
  TRY(aim_window(ctx, offsetof(Cfg, num_queues), 2));
  const std::uint16_t through = TRY(read_through_window<Le16>(ctx))
  .get();
  if (through != direct) return failed(fmt::format("num_queues is {}, not {}", through, direct));
  return passed();
}

Result<Finding> check_window_write(CheckContext& ctx) {
  if (!ctx.capabilities().pci_cfg) return skipped("there is no such capability");
  // A selector that takes any value: a queue's would have to be one that there is.
  for (const std::uint32_t word : {1U, 0U}) {
    TRY(aim_window(ctx, offsetof(Cfg, device_feature_select), sizeof word));
    TRY(put_in_window(ctx, offsetof(spec::VirtioPciCfgCap, pci_cfg_data), Le32(word)));
    const auto selected = TRY(ctx.get<std::uint32_t>(offsetof(Cfg, device_feature_select)));
    if (selected != word) {
      return failed(fmt::format("{} was written, device_feature_select is {}", word, selected));
    }
  }
  return passed();
}

// A driver must not ask for these. What the device makes of it is its own affair, if it lives.
Result<Finding> check_window_misuse(CheckContext& ctx) {
  if (!ctx.capabilities().pci_cfg) return skipped("there is no such capability");
  const std::uint16_t count = TRY(ctx.common().queue_count());
  for (const std::uint32_t length : {0U, 3U, 8U, ~0U}) {
    TRY(aim_window(ctx, offsetof(Cfg, num_queues), length));
    (void)TRY(read_through_window<Le16>(ctx));
  }
  TRY(put_in_window(ctx, offsetof(spec::VirtioPciCap, length), Le32(2)));
  TRY(put_in_window(ctx, offsetof(spec::VirtioPciCap, offset), Le32(0xffff'fffe)));
  (void)TRY(read_through_window<Le16>(ctx));
  TRY(put_in_window(ctx, offsetof(spec::VirtioPciCap, bar), std::uint8_t{0xff}));
  (void)TRY(read_through_window<Le16>(ctx));
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
