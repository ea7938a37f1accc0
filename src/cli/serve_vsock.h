// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cli/outcome.h"
#include "cli/serve_options.h"
#include "device/vsock/vsock_host.h"
#include "spec/virtio_vsock.h"

namespace airlock::cli {

inline constexpr std::uint32_t kVsockConnectionsMost = 60000;
inline constexpr std::size_t kVsockForwardsMost = device::VsockHost::kListenersMost;

struct ServeVsockOptions {
  ServeOptions serve;
  std::string uds;  // where the host's clients come; what listens for the guest is at uds_PORT
  std::optional<std::uint32_t> forward_cid;  // instead: who listens for the guest, by AF_VSOCK
  std::vector<std::uint32_t>
      forward_listen;  // and ports of the host whose clients get to the guest
  std::uint32_t cid = spec::VIRTIO_VSOCK_CID_GUEST_MIN;
  std::uint32_t connections = 10240;
  std::uint16_t queue_size = 256;
};

/// `airlock serve vsock`: serves one socket device on one socket until SIGTERM or SIGINT.
Outcome serve_vsock(const ServeVsockOptions& options);

}  // namespace airlock::cli
