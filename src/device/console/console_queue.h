// SPDX-License-Identifier: Apache-2.0
//
// The tasks of a console's four kinds of queues. VIRTIO 1.3, 5.3.2, 5.3.6.
//
// Each takes a chain from its ring only when there is something to do with it, so that a queue
// comes to rest at once whoever is slow. A buffer for the device to read in a receive queue, or one
// to write in a transmit queue, breaks the queue (kBadOrder): 5.3.6.1.
#pragma once

#include <functional>
#include <memory>

#include "device/console/console_messages.h"
#include "device/console/console_port.h"
#include "device/device_type.h"

namespace airlock::device {

/// Larger chains break a transmit queue: no driver's come near (Linux: 64 KiB).
inline constexpr std::uint64_t kConsoleChainBytesMost = std::uint64_t{1} << 20;

/// What the host sends to a port, in buffers of the driver's: each returned with what was there.
/// `port` outlives the task. Errors: those of RingTask::open_ring().
[[nodiscard]] Result<std::unique_ptr<QueueTask>> make_console_receive(const QueueContext& context,
                                                                      ConsolePort& port);

/// What the driver sends to a port. A chain of which there is room for a part is kept until the
/// rest has gone; when the queue comes to rest, the rest is kept without it.
/// `port` outlives the task. Errors: those of RingTask::open_ring().
[[nodiscard]] Result<std::unique_ptr<QueueTask>> make_console_transmit(const QueueContext& context,
                                                                       ConsolePort& port);

/// Control messages for the driver. A buffer that has no room for one breaks the queue
/// (kTooSmall); names are cut. `messages` outlives the task. Errors: those of
/// RingTask::open_ring().
[[nodiscard]] Result<std::unique_ptr<QueueTask>> make_console_control_receive(
    const QueueContext& context, ConsoleMessages& messages);

/// Control messages of the driver: the first bytes of each chain; a chain with fewer says nothing.
/// `opened` is called on the task's thread. `messages` outlives the task.
/// Errors: those of RingTask::open_ring().
[[nodiscard]] Result<std::unique_ptr<QueueTask>> make_console_control_transmit(
    const QueueContext& context, ConsoleMessages& messages,
    std::function<void(const ConsoleControl::Opened&)> opened);

}  // namespace airlock::device
