// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <expected>
#include <memory>
#include <string>
#include <string_view>

#include "backend/block_backend.h"

namespace airlock::backend {

/// Why something that a person asked for can't be opened.
struct OpenError {
  std::string what;    // "open disk.img"
  std::string why;     // "Permission denied"
  std::string advice;  // "give the server's user the right to read and write it"

  /// "WHAT: WHY: WHAT TO DO", for stderr after "airlock: ".
  [[nodiscard]] std::string text() const { return what + ": " + why + ": " + advice; }
};

template <class T>
using Opened = std::expected<T, OpenError>;

struct OpenOptions {
  bool read_only = false;
  /// Channels that can be opened once the process is in a sandbox, and their largest depth.
  std::uint32_t channels = 0;
  std::uint32_t depth = 1;
  bool wait = false;   // as FileOptions::wait
  int keep_open = -1;  // as FileOptions::keep_open
};

/// Opens the backend that `spec` names:
///   file:PATH[,direct=on|off][,engine=auto|io_uring|threads]   a raw image or a block device
///   nbd:URI                                                    an export of an NBD server
///   rbd:POOL/IMAGE[@SNAP][,conf=FILE][,id=USER]                an image of a Ceph cluster
///   memory:SIZE                                                zeros at first, gone at the end
///   null:SIZE                                                  keeps nothing: for measurements
/// A comma in PATH is part of it, unless one of the options above follows.
[[nodiscard]] Opened<std::unique_ptr<BlockBackend>> open_backend(std::string_view spec,
                                                                 const OpenOptions& options);

}  // namespace airlock::backend
