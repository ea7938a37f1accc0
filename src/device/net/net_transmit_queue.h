// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "device/device_type.h"
#include "device/net/net_metrics.h"
#include "device/net/net_shared.h"
#include "device/queue_task.h"

namespace airlock::device {

/// What a transmit queue is made with. All of it outlives the queue.
struct NetTransmitOptions {
  NetPair* pair = nullptr;
  NetQueueMetrics* metrics = nullptr;
};

/// Makes the task of a transmit queue: it checks a private copy of each frame's header, and gives
/// the frame itself to the channel as it lies in the region, without a copy.
///
/// A frame whose header lies is dropped and counted; a driver's own users may have made it. A chain
/// without a header breaks the queue. A frame that finds the channel full waits, and so does all
/// that is behind it; when the queue is drained it is dropped instead, so that nobody who doesn't
/// read can keep a driver from a reset.
///
/// A queue that broke or was drained to discard stays broken: poll() and rebind() fail with
/// kQueueBroken. Allocates when it is made, and while the first chains come by.
/// Errors: those of RingTask::open_ring().
/// VIRTIO 1.3, 5.1.6.2.
[[nodiscard]] Result<std::unique_ptr<QueueTask>> make_net_transmit_queue(
    const QueueContext& context, const NetTransmitOptions& options);

}  // namespace airlock::device
