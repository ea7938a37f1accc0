// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string_view>

#include "backend/block_backend.h"
#include "base/log.h"
#include "device/blk/blk_hold.h"
#include "device/blk/blk_metrics.h"
#include "device/blk/blk_request.h"
#include "device/device_type.h"
#include "device/queue_task.h"
#include "spec/virtio_blk.h"

namespace airlock::device {

/// What the queues of a disk share. Outlives them; any thread.
struct BlkShared {
  std::string name;                                       // of the backend, for the log
  std::array<std::byte, spec::VIRTIO_BLK_ID_BYTES> id{};  // padded with zeros
  LogLimit io_errors;                                     // how often the log hears of them
};

/// What a queue is made with.
struct BlkQueueOptions {
  BlkLimits limits;
  /// The driver declined VIRTIO_BLK_F_FLUSH: a write it is told of has to be stable (5.2.6.2).
  bool durable_writes = false;
  std::unique_ptr<backend::BlockChannel> channel;  // as deep as the ring has entries, or less
  BlkShared* shared = nullptr;
  BlkQueueMetrics* metrics = nullptr;  // this queue's, for as long as it lives
  OnError on_error = OnError::kReport;
  const EventFd* retry_bell = nullptr;  // but with kReport: as BlkHold::create() has it
};

/// Makes the task of a queue, in the format and with the ring features that were negotiated: it
/// takes requests from its ring, gives them to its channel, answers them.
///
/// Every request taken gets an answer, whatever the backend does: an I/O error, a full disk too, is
/// VIRTIO_BLK_S_IOERR and a line in the log, and the queue goes on, unless OnError has it held.
/// What is held when the queue is drained, which ends the waiting, is answered so all the same.
/// All of a chain's writable part is accounted for: what a request didn't fill reads as zeros, so
/// that the used length is exact and nothing older shows through. Only a chain without room for a
/// status breaks the queue, and one whose buffers overlap so much that they describe more than the
/// memory it may use.
///
/// A batch is bounded in the bytes that its chains describe, and so is what is in flight: further
/// chains wait in the ring. A queue that broke or was drained to discard stays broken: poll() and
/// rebind() fail with kQueueBroken.
///
/// Allocates when it is made, and while the first chains of a new length come by.
/// Errors: those of ring::DeviceQueue::create(), kBadQueueSize; of BlkHold::create().
[[nodiscard]] Result<std::unique_ptr<QueueTask>> make_blk_queue(const QueueContext& context,
                                                                BlkQueueOptions options);

}  // namespace airlock::device
