// SPDX-License-Identifier: Apache-2.0
//
// MSI-X vectors as the common configuration maps them, and the ISR status. VIRTIO 1.3, 4.1.5.1.2,
// 4.1.4.5.
#include <fmt/core.h>

#include "driver/conformance/check_context.h"
#include "driver/conformance/checks.h"
#include "driver/conformance/raw_disk.h"
#include "driver/wait.h"

namespace airlock::driver::conformance {

namespace {

using Cfg = spec::VirtioPciCommonCfg;

Finding no_msix() {
  return skipped("the device has no MSI-X");
}

/// Asks for `vector` for the configuration and for queue 0; both must read as `wanted` then.
Result<Finding> vector_reads_as(CheckContext& ctx, std::uint16_t vector, std::uint16_t wanted) {
  TRY(ctx.common().select_queue(0));
  const std::uint16_t config = TRY(ctx.common().set_config_vector(vector));
  const std::uint16_t queue = TRY(ctx.common().set_queue_vector(vector));
  if (config == wanted && queue == wanted) return passed();
  return failed(fmt::format("asked for {:#x}: config_msix_vector {:#x}, queue_msix_vector {:#x}",
                            vector, config, queue));
}

Result<Finding> check_vectors_map(CheckContext& ctx) {
  const auto& msix = ctx.capabilities().msix;
  if (!msix) return no_msix();
  const std::uint16_t count = msix->vectors;
  for (const std::uint16_t vector : {std::uint16_t{0}, static_cast<std::uint16_t>(count - 1)}) {
    Finding finding = TRY(vector_reads_as(ctx, vector, vector));
    if (finding.verdict != Verdict::kPass) return finding;
  }
  return passed();
}

Result<Finding> check_vectors_unmap(CheckContext& ctx) {
  if (!ctx.capabilities().msix) return no_msix();
  TRY(vector_reads_as(ctx, 0, 0));
  return vector_reads_as(ctx, spec::VIRTIO_MSI_NO_VECTOR, spec::VIRTIO_MSI_NO_VECTOR);
}

Result<Finding> check_vectors_out_of_range(CheckContext& ctx) {
  const auto& msix = ctx.capabilities().msix;
  if (!msix) return no_msix();
  for (const std::uint16_t vector : {msix->vectors, std::uint16_t{0x7fff}, std::uint16_t{0xfffe}}) {
    Finding finding = TRY(vector_reads_as(ctx, vector, spec::VIRTIO_MSI_NO_VECTOR));
    if (finding.verdict != Verdict::kPass) return finding;
  }
  return passed();
}

Result<Finding> check_reset_unmaps(CheckContext& ctx) {
  if (!ctx.capabilities().msix) return no_msix();
  TRY(vector_reads_as(ctx, 0, 0));
  TRY(ctx.reset());
  TRY(ctx.common().select_queue(0));
  const auto config = TRY(ctx.get<std::uint16_t>(offsetof(Cfg, config_msix_vector)));
  const auto queue = TRY(ctx.get<std::uint16_t>(offsetof(Cfg, queue_msix_vector)));
  constexpr std::uint16_t kNone = spec::VIRTIO_MSI_NO_VECTOR;
  if (config == kNone && queue == kNone) return passed();
  return failed(fmt::format("config_msix_vector {:#x}, queue_msix_vector {:#x}", config, queue));
}

/// An index that no queue of this size can have leaves NEEDS_RESET, and so ISR's bit 1, behind.
Result<void> provoke_config_change(CheckContext& ctx) {
  TRY(ctx.bring_up());
  ctx.queue().set_avail_index(0x8000);
  TRY(ctx.notify());
  (void)TRY(ctx.wait_status(spec::VIRTIO_CONFIG_S_NEEDS_RESET));
  return {};
}

Result<Finding> check_isr_config_bit(CheckContext& ctx) {
  TRY(provoke_config_change(ctx));
  const Deadline deadline = Deadline::after(ctx.options().timeout);
  for (unsigned round = 0;; ++round) {
    const std::uint8_t isr = TRY(ctx.read_isr());
    if ((isr & spec::VIRTIO_PCI_ISR_CONFIG) != 0) break;
    if (deadline.passed()) return failed("the configuration bit was never set");
    pause_between_polls(round);
  }
  const std::uint8_t again = TRY(ctx.read_isr());
  return again == 0 ? passed() : failed(fmt::format("read again it is {:#x}", again));
}

/// MSI-X switched off as long as this lives: with it on, ISR's bit 0 need not be set.
class MsixOff {
 public:
  explicit MsixOff(CheckContext& ctx) : ctx_(ctx) {}
  MsixOff(const MsixOff&) = delete;
  MsixOff& operator=(const MsixOff&) = delete;
  ~MsixOff() {
    if (place_ != 0) (void)put(before_);
  }

  Result<void> apply() {
    const auto& msix = ctx_.capabilities().msix;
    if (!msix) return {};
    constexpr std::size_t kControl = offsetof(spec::PciMsixCap, message_control);
    const auto place = static_cast<std::uint16_t>(msix->capability + kControl);
    TRY(ctx_.transport().read_config(place, std::as_writable_bytes(std::span(&before_, 1))));
    place_ = place;
    return put(Le16(static_cast<std::uint16_t>(before_.get() & ~spec::PCI_MSIX_FLAGS_ENABLE)));
  }

 private:
  Result<void> put(Le16 control) {
    return ctx_.transport().write_config(place_, std::as_bytes(std::span(&control, 1)));
  }

  CheckContext& ctx_;
  std::uint16_t place_ = 0;
  Le16 before_;
};

Result<Finding> check_isr_queue_bit(CheckContext& ctx) {
  MsixOff off(ctx);
  TRY(off.apply());
  TRY(ctx.bring_up());
  (void)TRY(read_first_sector(ctx));
  const std::uint8_t isr = TRY(ctx.read_isr());
  if ((isr & spec::VIRTIO_PCI_ISR_QUEUE) == 0) return failed(fmt::format("it is {:#x}", isr));
  const std::uint8_t again = TRY(ctx.read_isr());
  return again == 0 ? passed() : failed(fmt::format("read again it is {:#x}", again));
}

Result<Finding> check_reset_clears_isr(CheckContext& ctx) {
  TRY(provoke_config_change(ctx));
  TRY(ctx.reset());
  const std::uint8_t isr = TRY(ctx.read_isr());
  return isr == 0 ? passed() : failed(fmt::format("it is {:#x}", isr));
}

constexpr Check kVectorChecks[] = {
    {"VIRTIO-4.1.5.1.2.1/map", "the first and the last vector can be mapped", Needs::kRegisters,
     check_vectors_map},
    {"VIRTIO-4.1.5.1.2.1/unmap", "NO_VECTOR takes a vector away", Needs::kRegisters,
     check_vectors_unmap},
    {"VIRTIO-4.1.5.1.2.1/out-of-range", "a vector that is not there reads back as NO_VECTOR",
     Needs::kRegisters, check_vectors_out_of_range},
    {"VIRTIO-4.1.5.1.2.1/reset", "a reset takes the vectors away", Needs::kRegisters,
     check_reset_unmaps},
    {"VIRTIO-4.1.4.5.1/config", "ISR shows a configuration change, and reading clears it",
     Needs::kDisk, check_isr_config_bit},
    {"VIRTIO-4.1.4.5.1/queue", "ISR shows a used buffer, and reading clears it", Needs::kDisk,
     check_isr_queue_bit},
    {"VIRTIO-2.4.1/isr", "a reset clears ISR", Needs::kDisk, check_reset_clears_isr},
};

}  // namespace

std::span<const Check> vector_checks() {
  return kVectorChecks;
}

}  // namespace airlock::driver::conformance
