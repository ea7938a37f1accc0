// SPDX-License-Identifier: Apache-2.0
//
// What a device supplies so that a vfio-user server can present it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/fd.h"
#include "vfio_user/reply.h"
#include "wire/types.h"

namespace airlock::vfio_user {

/// The part of a region that a client maps instead of sending messages, and the file behind it.
struct RegionMapping {
  int fd = -1;                    // borrowed: stays open as long as the handler lives
  std::uint64_t file_offset = 0;  // position in the fd of the region's byte 0
  MappableArea area;              // inside the region
};

/// One region of the device. Size 0: there is none.
struct RegionInfo {
  std::uint64_t size = 0;  // bytes; of a BAR a power of two (QEMU aborts otherwise)
  bool readable = false;
  bool writable = false;
  std::optional<RegionMapping> mapping;
};

/// A register whose writes may arrive as signals of an eventfd instead, without their value.
struct Doorbell {
  std::uint64_t offset = 0;  // in the region; a multiple of `size`
  std::uint32_t size = 0;    // bytes of such a write: 1, 2, 4 or 8
  int fd = -1;               // borrowed: stays open as long as the client is there
};

/// A device, as its vfio-user server sees it. The server calls it from its own thread only, never
/// re-entrantly from inside a Reply, and with checked arguments only: what each function may rely
/// on stands beside it. An Error goes to the client as an errno (kSystem: its detail); the
/// connection stays.
class Handler {
 public:
  virtual ~Handler() = default;

  /// A client has come and agreed on the version. No state of an earlier client is left.
  virtual void connected() = 0;
  /// The client of connected() has gone: drop its DMA ranges and its interrupts' eventfds, keep the
  /// device's state. Replies may still be outstanding; no client is taken before they are given.
  virtual void disconnected() = 0;

  /// `index` < VFIO_PCI_NUM_REGIONS. Same answer at every call, while a client is there.
  virtual RegionInfo region(std::uint32_t index) = 0;
  /// The doorbells of region `index`, as above; each inside it, none on another. The client gets
  /// the first ones, as many as fds fit a message, and shares their counters and flags from then
  /// on: it may fill, empty and block them, and keep them as long as it likes.
  virtual std::vector<Doorbell> doorbells(std::uint32_t /*index*/) { return {}; }
  /// `index` < VFIO_PCI_NUM_IRQS. Same answer at every call, while a client is there.
  virtual std::uint32_t irq_count(std::uint32_t index) = 0;

  /// Reads a readable region: 0 < target.size(), and [offset, offset + target.size()) lies in it.
  /// All or nothing. `target` comes zeroed.
  virtual Result<void> read(std::uint32_t region, std::uint64_t offset,
                            std::span<std::byte> target) = 0;
  /// Writes a writable region, with the same promises as read().
  virtual Result<void> write(std::uint32_t region, std::uint64_t offset,
                             std::span<const std::byte> source) = 0;

  /// Installs `eventfds` for interrupts start, start + 1, ... of `index` in place of earlier ones.
  /// At least one, all inside irq_count(index); anonymous inodes, so no pipe or socket whose write
  /// raises a signal: EventFd::adopt() takes them.
  virtual Result<void> set_irq_eventfds(std::uint32_t index, std::uint32_t start,
                                        std::vector<Fd> eventfds) = 0;
  /// Forgets the eventfds of [start, start + count) of `index`: enabled, but nobody is signalled.
  /// 0 < count, all inside irq_count(index). Firing one afterwards is no error.
  virtual Result<void> deassign_irqs(std::uint32_t index, std::uint32_t start,
                                     std::uint32_t count) = 0;
  /// Turns off all of `index`, closing its eventfds. irq_count(index) is not 0.
  virtual Result<void> disable_irqs(std::uint32_t index) = 0;
  /// The client asks to have [start, start + count) of `index` fired, to test the path. 0 < count,
  /// all inside irq_count(index).
  virtual Result<void> trigger_irq(std::uint32_t index, std::uint32_t start,
                                   std::uint32_t count) = 0;

  /// The client offers memory. `fd` is empty if none came; a device that wants no guest memory
  /// drops it at once. `range.size` is not 0 and its last byte has an address; overlaps are the
  /// handler's to judge (EEXIST).
  virtual void dma_map(const DmaRange& range, Fd fd, Reply reply) = 0;
  /// The client takes memory back: [address, address + size), or everything it offered if `all`
  /// (then both are 0). Answer once nothing refers to it any more.
  virtual void dma_unmap(std::uint64_t address, std::uint64_t size, bool all, Reply reply) = 0;
  /// Resets the device. Answer once no I/O is in flight; QEMU gives up after 5 s.
  virtual void reset(Reply reply) = 0;
};

}  // namespace airlock::vfio_user
