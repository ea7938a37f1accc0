// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string_view>

#include "device/vsock/vsock_packet.h"

namespace airlock::testing {

/// A packet as a test wants a guest to say it, the lies too.
struct VsockSay {
  static constexpr std::uint32_t kCid = 7;  // of the guest

  std::uint16_t op = spec::VIRTIO_VSOCK_OP_RW;
  device::VsockPorts ports{.guest = 1000, .host = 80};
  // NOLINTNEXTLINE(readability-redundant-member-init): for GCC, where it is left out
  std::string_view text{};
  std::uint32_t flags = 0;
  std::uint16_t type = spec::VIRTIO_VSOCK_TYPE_STREAM;
  std::uint32_t buf_alloc = 65536;
  std::uint32_t fwd_cnt = 0;
  std::uint64_t source_cid = kCid;
  std::uint64_t target_cid = spec::VIRTIO_VSOCK_CID_HOST;
};

inline spec::VirtioVsockHdr header_of(const VsockSay& say) {
  return {.src_cid = Le32(static_cast<std::uint32_t>(say.source_cid)),
          .src_cid_high = Le32(static_cast<std::uint32_t>(say.source_cid >> 32U)),
          .dst_cid = Le32(static_cast<std::uint32_t>(say.target_cid)),
          .dst_cid_high = Le32(static_cast<std::uint32_t>(say.target_cid >> 32U)),
          .src_port = Le32(say.ports.guest),
          .dst_port = Le32(say.ports.host),
          .len = Le32(static_cast<std::uint32_t>(say.text.size())),
          .type = Le16(say.type),
          .op = Le16(say.op),
          .flags = Le32(say.flags),
          .buf_alloc = Le32(say.buf_alloc),
          .fwd_cnt = Le32(say.fwd_cnt)};
}

}  // namespace airlock::testing
