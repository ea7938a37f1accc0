// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "backend/block_backend.h"
#include "backend/open.h"

namespace airlock::backend {

/// Opens an image of a Ceph cluster (see parse_rbd_name()). librbd is large and has threads of its
/// own: it runs in a process of its own, nbdkit with our plugin, which serves us the image as an
/// NBD server would, and is started again if it ends. Everything that open_nbd_source() says holds.
[[nodiscard]] Opened<std::unique_ptr<BlockBackend>> open_rbd(const std::string& name,
                                                             const OpenOptions& options);

}  // namespace airlock::backend
