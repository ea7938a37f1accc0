// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "backend/block_backend.h"
#include "backend/open.h"

namespace airlock::backend {

/// How a file's requests reach the kernel, where they can't be done at once.
enum class FileEngine : std::uint8_t {
  kAuto,  // io_uring; threads where it is not allowed
  kIoUring,
  kThreads,
};

struct FileOptions {
  // NOLINTNEXTLINE(readability-redundant-member-init): GCC wants it, to be left out where not used
  std::string path = {};
  bool read_only = false;
  bool direct = false;  // O_DIRECT: past the page cache
  FileEngine engine = FileEngine::kAuto;
  /// Registers the region with io_uring, which pins all of it. Pays off with direct I/O only.
  bool register_memory = false;
  /// Channels that can be opened once the process is in a sandbox, and their largest depth: what
  /// they need is made at once.
  std::uint32_t channels = 0;
  std::uint32_t depth = 1;
  /// Where another process has the image open, waits until it has not, instead of refusing.
  bool wait = false;
  /// A descriptor that stays open, whatever becomes of this process, while the kernel works on its
  /// requests; -1: none. Outlives the backend.
  int keep_open = -1;
};

/// Opens a raw image, or a block device, whose size is the disk's. Two servers can't have one image
/// open unless both only read: it is locked (an open-file-description lock; a block device also
/// against mounting). Any thread.
Opened<std::unique_ptr<BlockBackend>> open_file(const FileOptions& options);

}  // namespace airlock::backend
