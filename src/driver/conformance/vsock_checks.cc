// SPDX-License-Identifier: Apache-2.0
//
// A socket device's offer and configuration: VIRTIO 1.3, 5.10.2 to 5.10.4.
#include <fmt/core.h>

#include "driver/conformance/check_context.h"
#include "driver/conformance/checks.h"
#include "spec/virtio_vsock.h"

namespace airlock::driver::conformance {

namespace {

bool is_vsock(const CheckContext& ctx) {
  return ctx.device_type() == spec::VIRTIO_ID_VSOCK;
}
Finding no_vsock() {
  return skipped("the device is no socket device");
}

Result<std::uint64_t> guest_cid(CheckContext& ctx) {
  const std::uint64_t low = TRY(ctx.device_config(0, Width::k4));
  const std::uint64_t high = TRY(ctx.device_config(4, Width::k4));
  return low | high << 32U;
}

Result<Finding> check_cid(CheckContext& ctx) {
  if (!is_vsock(ctx)) return no_vsock();
  const std::uint64_t cid = TRY(guest_cid(ctx));
  if (cid < spec::VIRTIO_VSOCK_CID_GUEST_MIN || cid >= spec::VIRTIO_VSOCK_CID_ANY) {
    return failed(fmt::format("guest_cid {:#x} is a reserved one, or has an upper half", cid));
  }
  return passed(fmt::format("cid {}", cid));
}

Result<Finding> check_cid_is_fixed(CheckContext& ctx) {
  const auto& place = ctx.capabilities().device;
  if (!is_vsock(ctx) || !place) return no_vsock();
  const std::uint64_t before = TRY(guest_cid(ctx));
  const Register low{.bar = place->bar, .offset = place->offset, .width = Width::k4};
  TRY(ctx.transport().write(low, before + 1));
  const std::uint64_t after = TRY(guest_cid(ctx));
  if (before == after) return passed();
  return failed(fmt::format("guest_cid was {}, and is {} after a write", before, after));
}

Result<Finding> check_types(CheckContext& ctx) {
  if (!is_vsock(ctx)) return no_vsock();
  if (ctx.offers(spec::VIRTIO_VSOCK_F_NO_IMPLIED_STREAM)) return passed();
  return failed("VIRTIO_VSOCK_F_NO_IMPLIED_STREAM is not offered");
}

Result<Finding> check_vsock_queues(CheckContext& ctx) {
  if (!is_vsock(ctx)) return no_vsock();
  const auto count = TRY(ctx.get<std::uint16_t>(offsetof(spec::VirtioPciCommonCfg, num_queues)));
  if (count >= spec::VIRTIO_VSOCK_QUEUES) return passed();
  return failed(fmt::format("{} queues, of rx, tx and event", count));
}

constexpr Check kVsockChecks[] = {
    {"VIRTIO-5.10.2/queues", "sockets: rx, tx and event queue", Needs::kRegisters,
     check_vsock_queues},
    {"VIRTIO-5.10.3.2/types", "sockets: streams need not be implied", Needs::kRegisters,
     check_types},
    {"VIRTIO-5.10.6.4.2/cid", "sockets: the guest's cid is none of the reserved ones",
     Needs::kRegisters, check_cid},
    {"VIRTIO-5.10.4/fixed", "sockets: a driver can't write the cid", Needs::kRegisters,
     check_cid_is_fixed},
};

}  // namespace

std::span<const Check> vsock_checks() {
  return kVsockChecks;
}

}  // namespace airlock::driver::conformance
