// SPDX-License-Identifier: Apache-2.0
//
// What a socket device makes of packets that it can do nothing with: VIRTIO 1.3, 5.10.6. None of
// them is of a connection, so that nobody on the host hears of it.
#include <cstring>
#include <optional>
#include <vector>

#include <fmt/core.h>

#include "driver/conformance/check_context.h"
#include "driver/conformance/checks.h"
#include "driver/conformance/violation.h"
#include "spec/virtio_vsock.h"

namespace airlock::driver::conformance {

namespace {

using VsockHeader = spec::VirtioVsockHdr;

constexpr std::uint32_t kVsockHeaderBytes = sizeof(VsockHeader);
constexpr std::uint32_t kVsockRoomBytes = 1024;  // of each buffer for the device
/// Of a connection that there is not.
constexpr std::uint32_t kVsockGuestPort = 0x8001'2345;
constexpr std::uint32_t kVsockHostPort = 0x8005'4321;

/// Brings the device up with its tx queue, and its rx queue with one buffer; its cid. A Finding
/// where that can't be done.
Result<std::optional<Finding>> bring_up_vsock(CheckContext& ctx, std::uint64_t& cid) {
  if (ctx.device_type() != spec::VIRTIO_ID_VSOCK) return skipped("the device is no socket device");
  ctx.accept_also(spec::feature(spec::VIRTIO_VSOCK_F_STREAM));
  for (const std::uint16_t index : {spec::VIRTIO_VSOCK_QUEUE_RX, spec::VIRTIO_VSOCK_QUEUE_TX}) {
    TRY(ctx.common().select_queue(index));
    if (TRY(ctx.common().queue_size()) < ctx.queue().size().value()) {
      return skipped(fmt::format("queue {} is smaller than queue 0", index));
    }
  }
  ctx.use_queue(spec::VIRTIO_VSOCK_QUEUE_TX);
  ctx.use_other_queue(spec::VIRTIO_VSOCK_QUEUE_RX);
  TRY(ctx.bring_up());
  cid = TRY(ctx.device_config(0, Width::k4))
  | TRY(ctx.device_config(4, Width::k4))
  << 32U;
  const Part room{.length = kVsockRoomBytes, .writable = true};
  ctx.other_queue().put_chain(0, std::span(&room, 1));
  ctx.other_queue().make_available(0);
  TRY(ctx.notify_other());
  return std::nullopt;
}

VsockHeader vsock_packet(std::uint64_t cid, std::uint16_t op) {
  VsockHeader packet{};
  packet.src_cid.set(static_cast<std::uint32_t>(cid));
  packet.dst_cid.set(spec::VIRTIO_VSOCK_CID_HOST);
  packet.src_port.set(kVsockGuestPort);
  packet.dst_port.set(kVsockHostPort);
  packet.type.set(spec::VIRTIO_VSOCK_TYPE_STREAM);
  packet.op.set(op);
  packet.buf_alloc.set(kVsockRoomBytes);
  return packet;
}

/// Sends a packet, whose buffer the device has to give back.
Result<void> send_vsock_packet(CheckContext& ctx, const VsockHeader& packet) {
  ctx.queue().data().put(0, packet);
  const Part part{.length = kVsockHeaderBytes};
  ctx.queue().put_chain(0, std::span(&part, 1));
  ctx.queue().make_available(0);
  TRY(ctx.notify());
  return ctx.wait_used(ctx.queue().avail_index());
}

/// What is wrong with the answer to a packet, which must be a reset; empty: nothing.
std::string fault_in_reset(CheckContext& ctx, std::uint64_t cid, const VsockHeader& packet) {
  const auto used = ctx.other_queue().used(0);
  if (used.id != 0) return fmt::format("head 0 came back as id {}", used.id);
  if (used.length != kVsockHeaderBytes) return fmt::format("an answer of {} bytes", used.length);
  std::vector<std::byte> bytes(kVsockHeaderBytes);
  ctx.other_queue().data().copy_out(0, bytes);
  VsockHeader answer;
  std::memcpy(&answer, bytes.data(), sizeof answer);
  if (answer.op.get() != spec::VIRTIO_VSOCK_OP_RST) {
    return fmt::format("operation {}, not RST", answer.op.get());
  }
  if (answer.src_port.get() != packet.dst_port.get() ||
      answer.dst_port.get() != packet.src_port.get()) {
    return fmt::format("a reset from port {} to {}", answer.src_port.get(), answer.dst_port.get());
  }
  const std::uint64_t target = answer.dst_cid.get() | std::uint64_t{answer.dst_cid_high.get()}
                                                          << 32U;
  if (target != cid) return fmt::format("a reset to cid {:#x}, not {:#x}", target, cid);
  if (answer.len.get() != 0) return fmt::format("a reset with {} bytes", answer.len.get());
  return {};
}

/// A packet that must be answered by a reset.
Result<Finding> is_reset(CheckContext& ctx, void (*change)(VsockHeader&)) {
  std::uint64_t cid = 0;
  if (auto obstacle = TRY(bring_up_vsock(ctx, cid))) return *obstacle;
  VsockHeader packet = vsock_packet(cid, spec::VIRTIO_VSOCK_OP_RW);
  change(packet);
  TRY(send_vsock_packet(ctx, packet));
  const auto answered = ctx.wait_used(ctx.other_queue(), 1);
  if (!answered && answered.error().code == Errc::kTimeout) return failed("no answer");
  TRY(answered);
  const std::string fault = fault_in_reset(ctx, cid, packet);
  return fault.empty() ? passed() : failed(fault);
}

/// A packet that nothing must come of.
Result<Finding> is_ignored(CheckContext& ctx, std::uint16_t op, std::uint32_t cid_offset) {
  std::uint64_t cid = 0;
  if (auto obstacle = TRY(bring_up_vsock(ctx, cid))) return *obstacle;
  TRY(send_vsock_packet(ctx, vsock_packet(cid + cid_offset, op)));
  ctx.watch();
  return ctx.other_queue().used_index() == 0 ? passed() : failed("it was answered");
}

Result<Finding> check_vsock_no_connection(CheckContext& ctx) {
  return is_reset(ctx, [](VsockHeader& /*packet*/) {});
}

Result<Finding> check_vsock_type(CheckContext& ctx) {
  return is_reset(ctx, [](VsockHeader& packet) { packet.type = Le16(0xee); });
}

Result<Finding> check_vsock_operation(CheckContext& ctx) {
  return is_reset(ctx, [](VsockHeader& packet) { packet.op = Le16(0xee); });
}

Result<Finding> check_vsock_response(CheckContext& ctx) {
  return is_reset(ctx,
                  [](VsockHeader& packet) { packet.op = Le16(spec::VIRTIO_VSOCK_OP_RESPONSE); });
}

Result<Finding> check_vsock_foreign(CheckContext& ctx) {
  return is_ignored(ctx, spec::VIRTIO_VSOCK_OP_RW, 1);
}

Result<Finding> check_vsock_reset(CheckContext& ctx) {
  return is_ignored(ctx, spec::VIRTIO_VSOCK_OP_RST, 0);
}

/// A header that says more follows than its chain has, or that is cut short itself: it comes back
/// with nothing written, or the device says that it needs a reset.
Result<Finding> ends(CheckContext& ctx, std::uint32_t bytes, std::uint32_t length) {
  std::uint64_t cid = 0;
  if (auto obstacle = TRY(bring_up_vsock(ctx, cid))) return *obstacle;
  RawQueue& queue = ctx.queue();
  VsockHeader packet = vsock_packet(cid, spec::VIRTIO_VSOCK_OP_RST);
  packet.len = Le32(length);
  queue.data().put(0, packet);
  return expect_nothing_done(ctx, {.length = bytes});
}

Result<Finding> check_vsock_long(CheckContext& ctx) {
  return ends(ctx, kVsockHeaderBytes, 0xffff'ffff);
}

Result<Finding> check_vsock_short(CheckContext& ctx) {
  return ends(ctx, kVsockHeaderBytes - 1, 0);
}

constexpr Check kVsockPacketChecks[] = {
    {"VIRTIO-5.10.6.4.2/type", "sockets: a packet of an unknown type is answered by a reset",
     Needs::kRegion, check_vsock_type},
    {"VIRTIO-5.10.6.4.1/cid", "sockets: a packet in another guest's name is dropped",
     Needs::kRegion, check_vsock_foreign},
    {"VIRTIO-5.10.6.5/data", "sockets: data of no connection are answered by a reset",
     Needs::kRegion, check_vsock_no_connection},
    {"VIRTIO-5.10.6.5/response", "sockets: a response to nothing is answered by a reset",
     Needs::kRegion, check_vsock_response},
    {"VIRTIO-5.10.6.5/operation", "sockets: an unknown operation is answered by a reset",
     Needs::kRegion, check_vsock_operation},
    {"VIRTIO-5.10.6.5/reset", "sockets: a reset is not answered", Needs::kRegion,
     check_vsock_reset},
    {"VIRTIO-5.10.6/long", "sockets: a packet that says more than it has ends", Needs::kRegion,
     check_vsock_long},
    {"VIRTIO-5.10.6/short", "sockets: what is shorter than a header ends", Needs::kRegion,
     check_vsock_short},
};

}  // namespace

std::span<const Check> vsock_packet_checks() {
  return kVsockPacketChecks;
}

}  // namespace airlock::driver::conformance
