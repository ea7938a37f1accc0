// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "backend/block_backend.h"
#include "backend/nbd/nbd_connector.h"
#include "backend/open.h"

namespace airlock::backend {

/// Opens an export of an NBD server, which may come and go afterwards: requests wait for it.
/// Starts a process that connects, and so is called while this one has one thread. A channel has a
/// connection of its own. Errors: there is no such server now (unless OpenOptions::wait), it does
/// not serve what a disk needs, or it takes only one connection and there are to be more channels.
[[nodiscard]] Opened<std::unique_ptr<BlockBackend>> open_nbd(const std::string& uri,
                                                             const OpenOptions& options);

/// What serves an export, whatever connects to it.
struct NbdSource {
  std::string name;         // for people
  std::string export_name;  // empty: the default
  Connect connect;          // run in another process
  std::string advice;       // what to do where it can't be reached
};

/// The same, over anything that speaks NBD.
[[nodiscard]] Opened<std::unique_ptr<BlockBackend>> open_nbd_source(const NbdSource& source,
                                                                    const OpenOptions& options);

}  // namespace airlock::backend
