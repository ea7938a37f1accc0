// SPDX-License-Identifier: Apache-2.0
#include "device/vsock/vsock_packet.h"

namespace airlock::device {

namespace {

using Header = spec::VirtioVsockHdr;

VsockType vsock_type_of(std::uint16_t raw) {
  if (raw == spec::VIRTIO_VSOCK_TYPE_STREAM) return VsockType::kStream;
  if (raw == spec::VIRTIO_VSOCK_TYPE_SEQPACKET) return VsockType::kSeqpacket;
  return VsockType::kUnknown;
}

std::uint64_t cid_of(Le32 low, Le32 high) {
  return std::uint64_t{high.get()} << 32U | low.get();
}

}  // namespace

Result<VsockPacket> parse_vsock_packet(const ring::Chain& chain) {
  if (chain.readable_bytes() < sizeof(Header)) {
    return fail({.code = Errc::kTooSmall, .address = sizeof(Header)});
  }
  // Once: what the driver does to it later changes nothing.
  const auto header = MUST(chain.read<Header>(0));
  const std::uint32_t length = header.len.get();
  if (length > chain.readable_bytes() - sizeof(Header)) {
    return fail({.code = Errc::kBadLength, .detail = length});
  }
  return VsockPacket{
      .source_cid = cid_of(header.src_cid, header.src_cid_high),
      .target_cid = cid_of(header.dst_cid, header.dst_cid_high),
      .ports = {.guest = header.src_port.get(), .host = header.dst_port.get()},
      .type = vsock_type_of(header.type.get()),
      .raw_type = header.type.get(),
      .op = header.op.get(),
      .flags = header.flags.get(),
      .grant = {.buf_alloc = header.buf_alloc.get(), .fwd_cnt = header.fwd_cnt.get()},
      .payload = {.offset = sizeof(Header), .length = length}};
}

spec::VirtioVsockHdr vsock_header(const VsockReply& reply, std::uint32_t guest_cid,
                                  std::uint32_t payload_bytes) {
  return {.src_cid = Le32(static_cast<std::uint32_t>(reply.source_cid)),
          .src_cid_high = Le32(static_cast<std::uint32_t>(reply.source_cid >> 32U)),
          .dst_cid = Le32(guest_cid),
          .dst_cid_high = {},
          .src_port = Le32(reply.ports.host),
          .dst_port = Le32(reply.ports.guest),
          .len = Le32(payload_bytes),
          .type = Le16(reply.type),
          .op = Le16(reply.op),
          .flags = Le32(reply.flags),
          .buf_alloc = Le32(reply.grant.buf_alloc),
          .fwd_cnt = Le32(reply.grant.fwd_cnt)};
}

}  // namespace airlock::device
