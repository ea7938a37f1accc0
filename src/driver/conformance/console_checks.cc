// SPDX-License-Identifier: Apache-2.0
//
// A console: VIRTIO 1.3, 5.3. What it says and takes of a person is not looked at.
#include <fmt/core.h>

#include "driver/conformance/check_context.h"
#include "driver/conformance/checks.h"
#include "spec/virtio_console.h"

namespace airlock::driver::conformance {

namespace {

using ConsoleCfg = spec::VirtioConsoleConfig;

bool is_console(const CheckContext& ctx) {
  return ctx.device_type() == spec::VIRTIO_ID_CONSOLE;
}
Finding no_console() {
  return skipped("the device is no console");
}

Result<Finding> check_console_queues(CheckContext& ctx) {
  if (!is_console(ctx)) return no_console();
  const std::uint32_t queues = TRY(ctx.common().queue_count());
  std::uint64_t ports = 1;
  std::uint64_t needed = 2;
  if (ctx.offers(spec::VIRTIO_CONSOLE_F_MULTIPORT)) {
    ports = TRY(ctx.device_config(offsetof(ConsoleCfg, max_nr_ports), Width::k4));
    if (ports == 0) return failed("MULTIPORT is offered, and max_nr_ports is 0");
    needed = 2 * ports + 2;
  }
  if (queues < needed) return failed(fmt::format("{} queues for {} ports", queues, ports));
  return passed(fmt::format("{} queues for {} ports", queues, ports));
}

Result<Finding> check_console_fixed(CheckContext& ctx) {
  const auto& place = ctx.capabilities().device;
  if (!is_console(ctx) || !place) return no_console();
  for (const std::size_t offset :
       {offsetof(ConsoleCfg, cols), offsetof(ConsoleCfg, max_nr_ports)}) {
    const std::uint64_t before = TRY(ctx.device_config(offset, Width::k2));
    TRY(ctx.transport().write(
        {.bar = place->bar, .offset = place->offset + offset, .width = Width::k2},
        ~before & 0xffff));
    const std::uint64_t after = TRY(ctx.device_config(offset, Width::k2));
    if (after != before) return failed(fmt::format("byte {} can be written", offset));
  }
  return passed();
}

/// 5.3.4.1: the device MUST allow a write to emerg_wr, even on an unconfigured device.
Result<Finding> check_emergency(CheckContext& ctx) {
  const auto& place = ctx.capabilities().device;
  if (!is_console(ctx) || !place) return no_console();
  if (!ctx.offers(spec::VIRTIO_CONSOLE_F_EMERG_WRITE)) return skipped("EMERG_WRITE is not offered");
  if (!ctx.options().destructive) return skipped("it writes to the console: --destructive");
  const std::uint8_t before = TRY(ctx.common().status());
  TRY(ctx.transport().write({.bar = place->bar,
                             .offset = place->offset + offsetof(ConsoleCfg, emerg_wr),
                             .width = Width::k4},
                            '\n'));
  const std::uint8_t after = TRY(ctx.common().status());
  if (after != before) return failed(fmt::format("the status became {:#x}", after));
  return passed();
}

/// A driver that knows of no ports: both queues of the console run, and that is all there is to it.
Result<Finding> check_plain_console(CheckContext& ctx) {
  if (!is_console(ctx)) return no_console();
  TRY(ctx.bring_up());
  ctx.watch();
  const std::uint8_t status = TRY(ctx.common().status());
  if ((status & spec::VIRTIO_CONFIG_S_NEEDS_RESET) != 0) return failed("it needs a reset");
  return passed();
}

constexpr Check kConsoleChecks[] = {
    {"VIRTIO-5.3.2", "console: a pair of queues for each port, and one for control messages",
     Needs::kRegisters, check_console_queues},
    {"VIRTIO-5.3.4/fixed", "console: a driver can't write its size or its ports", Needs::kRegisters,
     check_console_fixed},
    {"VIRTIO-5.3.4.1", "console: an emergency write before anything was negotiated",
     Needs::kRegisters, check_emergency},
    {"VIRTIO-5.3.3/plain", "console: it runs for a driver without ports", Needs::kRegion,
     check_plain_console},
};

}  // namespace

std::span<const Check> console_checks() {
  return kConsoleChecks;
}

}  // namespace airlock::driver::conformance
