// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string_view>

#include "backend/open.h"
#include "backend/port_backend.h"

namespace airlock::backend {

/// Opens the host's end of a console's port that `spec` names:
///   stdio         this process's terminal, or what its input and output are instead
///   pty[:LINK]    a new pseudoterminal; LINK is made a symbolic link to it
///   file:PATH     output is appended to it
///   socket:PATH   listens there; one client at a time
[[nodiscard]] Opened<std::unique_ptr<PortBackend>> open_port(std::string_view spec);

}  // namespace airlock::backend
