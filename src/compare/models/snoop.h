// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "compare/models/relay_trusted.h"

namespace airlock::compare {

/// Virtqueue snooping: a trusted part parses the unmodified driver's ring in guest memory, with the
/// code of the guard's policy `snoop`; its device has a shadow ring in memory of the trusted part's
/// and, while a chain is in flight, the bytes that its descriptors invite. SYS-7.
extern const Model kSnoop;

/// The trusted part's process. Errors: the guest's, the rings'.
Result<void> serve_snoop(const Fd& guest, const Controls& controls);

/// Its side towards the guest. Errors: kUnsupported (a feature that changes the ring, which is not
/// followed); kBadQueueSize; kAddressOutside, kNotAligned (where an area is).
Result<std::unique_ptr<RelayFront>> make_snoop_front(const QueueStart& queue,
                                                     const PrivateMemory& own,
                                                     const window::Window& window);

}  // namespace airlock::compare
