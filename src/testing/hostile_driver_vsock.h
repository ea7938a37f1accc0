// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/fd.h"
#include "testing/hostile_driver.h"
#include "testing/vsock_say.h"

namespace airlock::testing {

/// The port of the host that somebody listens at.
inline constexpr std::uint32_t kVsockHostPort = 80;

/// Puts a packet into the tx ring. It will come back used.
void post_packet(HostileDriver& driver, const VsockSay& say);
/// The same, and takes it back; false after a wait in vain.
bool say_packet(HostileDriver& driver, const VsockSay& say);
/// Takes packets from the rx queue until one has this operation and these ports; false if none
/// comes. Its payload is left in `text` where that is not null.
bool hear_packet(HostileDriver& driver, std::uint16_t op, device::VsockPorts ports,
                 std::string* text = nullptr);
/// A connection from the guest to the host; the host's end of it, empty if there is none.
Fd connect_vsock(HostileDriver& driver, device::VsockPorts ports,
                 std::uint16_t type = spec::VIRTIO_VSOCK_TYPE_STREAM);

}  // namespace airlock::testing
