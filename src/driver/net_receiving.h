// SPDX-License-Identifier: Apache-2.0
//
// What receive queues have in common, whether they copy frames out or leave them where they are.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "driver/net_info.h"
#include "driver/net_packet.h"
#include "spec/virtio_net.h"

namespace airlock::driver {

inline constexpr std::uint32_t kNetHeaderBytes = sizeof(spec::VirtioNetHdr);

struct NetReceiveLimits {
  NetInfo info;
  std::uint64_t pool_bytes = 0;      // of buffers that the device has, at most
  std::chrono::microseconds spin{};  // before a wait goes to sleep
};

/// Of a buffer, whole slots, that the largest frame fits into with its header and a `tag`.
std::uint32_t whole_frame_buffer_bytes(const NetInfo& info, std::uint64_t tag_bytes);

/// What a header says of its frame.
struct NetHeaderSays {
  std::optional<NetChecksum> missing_checksum;
  bool checksum_checked = false;
};

/// Whether a frame of so many bytes, and the private copy of its header, make sense: if so, what
/// that says. VIRTIO 1.3, 5.1.6.4.2: what was not negotiated is not there.
std::optional<NetHeaderSays> judge_received(const spec::VirtioNetHdr& header,
                                            std::size_t frame_bytes, const NetInfo& info);

}  // namespace airlock::driver
