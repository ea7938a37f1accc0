// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

#include "base/fd.h"

namespace airlock::backend {

/// An open image as the engines see it. Shared by all channels; only the atomics change.
struct FileTarget {
  std::string name;  // for the log
  Fd buffered;
  Fd direct;                                  // the same file with O_DIRECT; empty unless asked for
  std::uint32_t direct_memory_alignment = 0;  // bytes; what O_DIRECT wants of a buffer
  std::uint32_t direct_offset_alignment = 0;  // bytes; of offset and length
  bool is_block_device = false;
  /// A file of tmpfs or ramfs: a transfer is a copy and waits for no disk.
  bool in_memory = false;

  // What the file system turned out not to do, learnt at its first refusal.
  std::atomic<bool> discard_refused = false;  // of a block device
  std::atomic<bool> punch_refused = false;
  std::atomic<bool> zero_range_refused = false;
  std::atomic<bool> nowait_read_refused = false;
  std::atomic<bool> nowait_write_refused = false;

  /// The first errno of an fdatasync or a durable write; 0 while there was none. The kernel tells
  /// once that written data was lost, and then takes the pages for clean: a later fdatasync
  /// succeeds. So from the first failure on nothing of this image is called stable again.
  std::atomic<int> sync_error = 0;
  /// That memory can't be registered: said once, not by every queue of every guest.
  std::atomic<bool> told_unregistered = false;
};

}  // namespace airlock::backend
