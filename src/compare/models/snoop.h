// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "compare/models/relay_trusted.h"

namespace airlock::compare {

/// Virtqueue snooping: a trusted part parses the unmodified driver's ring in guest memory, with the
/// code of the guard's policy `snoop`; its device has a shadow ring in memory of the trusted part's
/// and, while a chain is in flight, the bytes that its descriptors invite. Indirect tables, event
/// indices, and queues that are reset and come back in another size, are followed; packed rings and
/// rings in order are not. SYS-7.
extern const Model kSnoop;

/// The trusted part's process. Errors: the guest's, the rings'.
Result<void> serve_snoop(const Fd& guest, const Controls& controls);

/// Its side towards the guest. Errors: kUnsupported (VIRTIO_F_RING_PACKED, VIRTIO_F_IN_ORDER, or
/// anything that is not known here); kBadQueueSize; kAddressOutside, kNotAligned (where an area
/// is).
Result<std::unique_ptr<RelayFront>> make_snoop_front(const QueueStart& queue,
                                                     const PrivateMemory& own,
                                                     const window::Window& window);

}  // namespace airlock::compare
