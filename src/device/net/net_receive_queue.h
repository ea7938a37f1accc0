// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>

#include "device/device_type.h"
#include "device/net/net_metrics.h"
#include "device/net/net_shared.h"
#include "device/queue_task.h"

namespace airlock::device {

/// What a receive queue is made with. All of it outlives the queue.
struct NetReceiveOptions {
  std::uint16_t pair_index = 0;
  std::uint16_t mtu = 0;  // of the configuration
  NetPair* pair = nullptr;
  NetShared* shared = nullptr;
  NetQueueMetrics* metrics = nullptr;
};

/// Makes the task of a receive queue: it fetches frames from its channel into private memory, looks
/// whether the driver wants them, and copies them into the driver's buffers: the header, and the
/// bytes that arrived, no more; into several buffers where the driver merges them.
///
/// A frame that finds no buffer waits for one, and what comes behind it waits in the channel. A
/// frame that no buffer of the driver's would take, or that asks for what was not negotiated, is
/// dropped and counted. A buffer without room for a header breaks the queue. While its pair is not
/// in use, nothing is fetched.
///
/// A queue that broke or was drained to discard stays broken: poll() and rebind() fail with
/// kQueueBroken. Allocates when it is made, and while the first chains come by.
/// Errors: those of RingTask::open_ring().
/// VIRTIO 1.3, 5.1.6.3.2, 5.1.6.4.1.
[[nodiscard]] Result<std::unique_ptr<QueueTask>> make_net_receive_queue(
    const QueueContext& context, const NetReceiveOptions& options);

}  // namespace airlock::device
