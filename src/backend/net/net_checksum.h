// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>

#include "spec/virtio_net.h"

namespace airlock::backend {

/// Whether what `header` asks for can be done to a frame of `length` bytes: the checksum lies in it
/// behind where it starts to count, and segments have a size. VIRTIO 1.3, 5.1.6.2.
[[nodiscard]] bool header_fits(const spec::VirtioNetHdr& header, std::size_t length);

/// Puts the checksum into `frame` that `header`, which fits it, says is missing; nothing if it says
/// no such thing. VIRTIO 1.3, 5.1.6.2: the field holds the sum of the pseudo header.
void complete_checksum(const spec::VirtioNetHdr& header, std::span<std::byte> frame);

}  // namespace airlock::backend
