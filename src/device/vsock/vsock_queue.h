// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <memory>

#include "device/device_type.h"
#include "device/queue_task.h"
#include "device/vsock/vsock_connections.h"
#include "device/vsock/vsock_host.h"

namespace airlock::device {

/// What the queues of a socket device share. Outlives them.
struct VsockShared {
  std::unique_ptr<VsockConnections> connections;
  std::unique_ptr<VsockHost> host;           // the rx queue's
  std::atomic<bool> transport_reset{false};  // an event that the guest is yet to get
};

// The tasks of the three queues. Each takes a chain only when it can return it at once, so that
// nothing is ever in flight; a chain that breaks a rule of the ring, or has no room for a header,
// breaks the queue. Errors: those of ring::DeviceQueue::create(), kBadQueueSize.

/// VIRTIO 1.3, 5.10.6: packets from the guest, to the connections they belong to.
[[nodiscard]] Result<std::unique_ptr<QueueTask>> make_vsock_tx_queue(const QueueContext& context,
                                                                     VsockShared& shared);
/// Packets to the guest; the host's sockets wake it.
[[nodiscard]] Result<std::unique_ptr<QueueTask>> make_vsock_rx_queue(const QueueContext& context,
                                                                     VsockShared& shared);
/// VIRTIO 1.3, 5.10.6.7.
[[nodiscard]] Result<std::unique_ptr<QueueTask>> make_vsock_event_queue(const QueueContext& context,
                                                                        VsockShared& shared);

}  // namespace airlock::device
