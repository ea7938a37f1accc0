// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "spec/virtio_net.h"

namespace airlock::testing {

/// The fields of a header of a frame, of which a test names those that matter to it.
struct NetHeaderFields {
  std::uint8_t flags = 0;
  std::uint8_t gso_type = spec::VIRTIO_NET_HDR_GSO_NONE;
  std::uint16_t hdr_len = 0;
  std::uint16_t gso_size = 0;
  std::uint16_t csum_start = 0;
  std::uint16_t csum_offset = 0;
  std::uint16_t num_buffers = 0;
};

inline spec::VirtioNetHdr net_header(const NetHeaderFields& fields) {
  return {.flags = fields.flags,
          .gso_type = fields.gso_type,
          .hdr_len = Le16(fields.hdr_len),
          .gso_size = Le16(fields.gso_size),
          .csum_start = Le16(fields.csum_start),
          .csum_offset = Le16(fields.csum_offset),
          .num_buffers = Le16(fields.num_buffers)};
}

}  // namespace airlock::testing
