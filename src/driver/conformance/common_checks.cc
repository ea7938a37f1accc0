// SPDX-License-Identifier: Apache-2.0
//
// The registers of the common configuration: VIRTIO 1.3, 4.1.4.3.
#include <fmt/core.h>

#include "core/range.h"
#include "driver/conformance/check_context.h"
#include "driver/conformance/checks.h"

namespace airlock::driver::conformance {

namespace {

using Cfg = spec::VirtioPciCommonCfg;

/// Calls `look` for each queue that the device has, selected, until one finds something.
template <class F>
Result<Finding> for_each_queue(CheckContext& ctx, const F& look) {
  const std::uint16_t count = TRY(ctx.common().queue_count());
  for (std::uint16_t queue = 0; queue < count; ++queue) {
    TRY(ctx.common().select_queue(queue));
    Result<Finding> finding = look(queue);
    if (!finding || finding->verdict != Verdict::kPass) return finding;
  }
  return passed(fmt::format("{} queues", count));
}

Result<Finding> check_feature_words(CheckContext& ctx) {
  for (const std::uint32_t select : {2U, 3U, 0x8000'0000U, 0xffff'ffffU}) {
    TRY(ctx.put(offsetof(Cfg, device_feature_select), select));
    const auto word = TRY(ctx.get<std::uint32_t>(offsetof(Cfg, device_feature)));
    if (word != 0) return failed(fmt::format("word {} is {:#x}", select, word));
  }
  return passed();
}

Result<Finding> check_driver_features(CheckContext& ctx) {
  TRY(ctx.add_status(spec::VIRTIO_CONFIG_S_ACKNOWLEDGE));
  TRY(ctx.add_status(spec::VIRTIO_CONFIG_S_DRIVER));
  TRY(ctx.common().write_accepted_features(ctx.offered()));
  std::uint64_t kept = 0;
  for (std::uint32_t word = 0; word < 2; ++word) {
    TRY(ctx.put(offsetof(Cfg, driver_feature_select), word));
    kept |= std::uint64_t {
      TRY(ctx.get<std::uint32_t>(offsetof(Cfg, driver_feature)))
    }
    << (32 * word);
  }
  if (kept != ctx.offered()) {
    return failed(fmt::format("{:#x} was written, {:#x} is read", ctx.offered(), kept));
  }
  return passed();
}

Result<Finding> check_selects(CheckContext& ctx) {
  for (const std::size_t field :
       {offsetof(Cfg, device_feature_select), offsetof(Cfg, driver_feature_select)}) {
    for (const std::uint32_t value : {1U, 0U}) {
      TRY(ctx.put(field, value));
      const auto now = TRY(ctx.get<std::uint32_t>(field));
      if (now != value) return failed(fmt::format("the field at {:#x} is {}", field, now));
    }
  }
  return for_each_queue(ctx, [&](std::uint16_t queue) -> Result<Finding> {
    const auto now = TRY(ctx.get<std::uint16_t>(offsetof(Cfg, queue_select)));
    return now == queue ? passed() : failed(fmt::format("queue_select is {}", now));
  });
}

Result<Finding> check_queue_count(CheckContext& ctx) {
  const std::uint16_t count = TRY(ctx.common().queue_count());
  return count == 0 ? failed("num_queues is 0") : passed(fmt::format("{} queues", count));
}

Result<Finding> check_missing_queue(CheckContext& ctx) {
  const std::uint32_t count = TRY(ctx.common().queue_count());
  for (const std::uint32_t queue : {count, count + 1, 0x7fffU, 0xffffU}) {
    if (queue < count || queue > 0xffff) continue;
    TRY(ctx.common().select_queue(static_cast<std::uint16_t>(queue)));
    const std::uint16_t size = TRY(ctx.common().queue_size());
    if (size != 0) return failed(fmt::format("queue {} has size {}", queue, size));
  }
  return passed();
}

Result<Finding> check_queue_size(CheckContext& ctx) {
  return for_each_queue(ctx, [&](std::uint16_t queue) -> Result<Finding> {
    const std::uint16_t size = TRY(ctx.common().queue_size());
    if (size != 0 && !ring::QueueSize::from(size)) {
      return failed(fmt::format("queue {} has size {}", queue, size));
    }
    return passed();
  });
}

Result<Finding> check_smaller_queue(CheckContext& ctx) {
  return for_each_queue(ctx, [&](std::uint16_t queue) -> Result<Finding> {
    const std::uint16_t size = TRY(ctx.common().queue_size());
    if (size < 2) return passed();
    const auto smaller = static_cast<std::uint16_t>(size / 2);
    TRY(ctx.common().write_queue_size(smaller));
    const std::uint16_t now = TRY(ctx.common().queue_size());
    if (now != smaller) {
      return failed(fmt::format("queue {}: {} was written, {} is read", queue, smaller, now));
    }
    return passed();
  });
}

/// A field of `T` that a driver can't write.
template <class T>
Result<Finding> keeps_its_value(CheckContext& ctx, std::size_t offset, const char* name) {
  const T before = TRY(ctx.get<T>(offset));
  TRY(ctx.put<T>(offset, static_cast<T>(~before)));
  const T after = TRY(ctx.get<T>(offset));
  if (after == before) return passed();
  return failed(fmt::format("{} was {:#x} and is {:#x}", name, before, after));
}

Result<Finding> check_fixed_registers(CheckContext& ctx) {
  TRY(ctx.common().select_queue(0));
  TRY(ctx.put<std::uint32_t>(offsetof(Cfg, device_feature_select), 1));
  const Finding findings[] = {
    TRY(keeps_its_value<std::uint32_t>(ctx, offsetof(Cfg, device_feature), "device_feature")),
    TRY(keeps_its_value<std::uint16_t>(ctx, offsetof(Cfg, num_queues), "num_queues")),
    TRY(keeps_its_value<std::uint8_t>(ctx, offsetof(Cfg, config_generation), "config_generation")),
    TRY(keeps_its_value<std::uint16_t>(ctx, offsetof(Cfg, queue_notify_off), "queue_notify_off")),
  };
  for (const Finding& finding : findings) {
    if (finding.verdict != Verdict::kPass) return finding;
  }
  return passed();
}

Result<Finding> check_generation(CheckContext& ctx) {
  if (!ctx.capabilities().device) return skipped("the device has no configuration of its own");
  constexpr std::size_t kBytes = 8;
  for (int round = 0; round < 8; ++round) {
    const std::uint8_t before = TRY(ctx.common().config_generation());
    std::array<std::uint64_t, kBytes> first{};
    std::array<std::uint64_t, kBytes> second{};
    for (std::size_t i = 0; i < kBytes; ++i)
      first[i] = TRY(ctx.device_config(i, Width::k1));
    for (std::size_t i = 0; i < kBytes; ++i)
      second[i] = TRY(ctx.device_config(i, Width::k1));
    const bool same = TRY(ctx.common().config_generation())
    == before;
    if (same && first != second) return failed("the values changed, the generation did not");
    if (same) return passed();
  }
  return failed("the generation never stands still");
}

Result<Finding> check_halves(CheckContext& ctx) {
  constexpr std::uint32_t kLow = 0x1234'5000;
  constexpr std::uint32_t kHigh = 0x0000'0056;
  TRY(ctx.common().select_queue(0));
  for (const std::size_t field :
       {offsetof(Cfg, queue_desc), offsetof(Cfg, queue_driver), offsetof(Cfg, queue_device)}) {
    TRY(ctx.put(field + 4, kHigh));
    TRY(ctx.put(field, kLow));
    const auto low = TRY(ctx.get<std::uint32_t>(field));
    const auto high = TRY(ctx.get<std::uint32_t>(field + 4));
    if (low != kLow || high != kHigh) {
      return failed(fmt::format("the field at {:#x} is {:#x}, {:#x}", field, low, high));
    }
  }
  return passed();
}

Result<Finding> check_notify_offsets(CheckContext& ctx) {
  const pci::BarRange& notify = ctx.notify_place();
  const std::uint64_t width = ctx.offers(spec::VIRTIO_F_NOTIFICATION_DATA) ? 4 : 2;
  return for_each_queue(ctx, [&](std::uint16_t queue) -> Result<Finding> {
    const std::uint64_t number = TRY(ctx.common().queue_notify_off());
    const std::uint64_t offset = number * ctx.capabilities().notify_off_multiplier;
    if (!airlock_range_within(offset, width, notify.length)) {
      return failed(
          fmt::format("queue {} is notified at {:#x} of {:#x}", queue, offset, notify.length));
    }
    return passed();
  });
}

Result<Finding> check_reset_clears_queues(CheckContext& ctx) {
  TRY(ctx.bring_up());
  TRY(ctx.common().select_queue(0));
  if (TRY(ctx.common().queue_enable()) != 1) return failed("queue_enable was not 1 before");
  TRY(ctx.reset());
  return for_each_queue(ctx, [&](std::uint16_t queue) -> Result<Finding> {
    const std::uint16_t enabled = TRY(ctx.common().queue_enable());
    if (enabled == 0) return passed();
    return failed(fmt::format("queue_enable of queue {} is {}", queue, enabled));
  });
}

Result<Finding> check_reset_restores_size(CheckContext& ctx) {
  TRY(ctx.common().select_queue(0));
  const std::uint16_t before = TRY(ctx.common().queue_size());
  if (before < 2) return skipped("the queue can't be smaller");
  TRY(ctx.common().write_queue_size(static_cast<std::uint16_t>(before / 2)));
  TRY(ctx.reset());
  TRY(ctx.common().select_queue(0));
  const std::uint16_t after = TRY(ctx.common().queue_size());
  return after == before ? passed() : failed(fmt::format("{} was {}", after, before));
}

Result<Finding> check_queue_enable(CheckContext& ctx) {
  TRY(ctx.prepare());
  TRY(ctx.common().select_queue(0));
  if (TRY(ctx.common().queue_enable()) != 0) return failed("it is enabled before it was set up");
  TRY(ctx.enable_queue(ctx.queue().areas()));
  const std::uint16_t enabled = TRY(ctx.common().queue_enable());
  return enabled == 1 ? passed() : failed(fmt::format("queue_enable is {}", enabled));
}

constexpr Check kCommonChecks[] = {
    {"VIRTIO-4.1.4.3.1/feature-words", "device_feature is 0 from word 2 on", Needs::kRegisters,
     check_feature_words},
    {"VIRTIO-4.1.4.3.1/driver-feature", "driver_feature keeps what is valid", Needs::kRegisters,
     check_driver_features},
    {"VIRTIO-4.1.4.3/selects", "the three selectors read back", Needs::kRegisters, check_selects},
    {"VIRTIO-4.1.4.3/num-queues", "there is a queue", Needs::kRegisters, check_queue_count},
    {"VIRTIO-4.1.4.3.1/missing-queue", "a queue that is not there has size 0", Needs::kRegisters,
     check_missing_queue},
    {"VIRTIO-4.1.4.3.1/queue-size", "queue sizes are powers of two up to 32768", Needs::kRegisters,
     check_queue_size},
    {"VIRTIO-4.1.4.3/smaller-queue", "a driver may choose a smaller queue", Needs::kRegisters,
     check_smaller_queue},
    {"VIRTIO-4.1.4.3/fixed", "read-only registers keep their values", Needs::kRegisters,
     check_fixed_registers},
    {"VIRTIO-4.1.4.3.1/generation", "config_generation tells whether values changed",
     Needs::kRegisters, check_generation},
    {"VIRTIO-4.1.3.2", "64-bit fields are two halves", Needs::kRegisters, check_halves},
    {"VIRTIO-4.1.4.4.1/offsets", "each notify address lies in the structure", Needs::kRegisters,
     check_notify_offsets},
    {"VIRTIO-4.1.4.3/queue-enable", "queue_enable reads 1 once it was written", Needs::kRegion,
     check_queue_enable},
    {"VIRTIO-4.1.4.3.1/reset-queues", "a reset disables the queues", Needs::kRegion,
     check_reset_clears_queues},
    {"VIRTIO-2.4.1/queue-size", "a reset restores the size of a queue", Needs::kRegisters,
     check_reset_restores_size},
};

}  // namespace

std::span<const Check> common_checks() {
  return kCommonChecks;
}

}  // namespace airlock::driver::conformance
