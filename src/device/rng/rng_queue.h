// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "base/counter.h"
#include "device/device_type.h"
#include "device/rng/rng_allowance.h"

namespace airlock::device {

/// What the queue did so far: its thread adds, any thread reads.
struct RngMetrics {
  Counter requests;  // chains that got random bytes
  Counter bytes;     // random bytes given out
  Counter waits;     // times that requests found nothing left of the allowance
};

/// Makes the task of a random number device's queue: every chain it takes gets random bytes, from
/// its start on; of a long one, or at the end of the allowance, fewer than it has room for, and the
/// used length says how many. While the allowance is used up chains wait in the ring.
///
/// A chain that the device can read anything of, or write nothing, breaks the queue (kBadOrder,
/// kTooSmall). `allowance` and `metrics` outlive the task.
/// Errors: those of RingTask::open_ring(). VIRTIO 1.3, 5.4.6.
[[nodiscard]] Result<std::unique_ptr<QueueTask>> make_rng_queue(const QueueContext& context,
                                                                RngAllowance& allowance,
                                                                RngMetrics& metrics);

}  // namespace airlock::device
