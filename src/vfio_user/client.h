// SPDX-License-Identifier: Apache-2.0
//
// A blocking vfio-user client for drivers and tests. The server is not trusted: every reply's size,
// id, fields and fds are checked, every wait ends, and nothing it sends can make the client touch
// memory that it did not mean to.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/fd.h"
#include "wire/types.h"

namespace airlock::vfio_user {

/// A connection to one device. Movable; one thread at a time.
///
/// Errors of every call: kSystem with the errno that the server answered (the connection is fine),
/// kTimeout, kPeerClosed and kMalformed (the connection is not: every later call fails with
/// kPeerClosed at once).
class Client {
 public:
  struct Options {
    std::chrono::milliseconds timeout{5000};  // for connecting, and for each answer
  };

  /// What VERSION agreed on.
  struct Version {
    std::uint16_t major = 0;
    std::uint16_t minor = 0;
    std::uint32_t max_msg_fds = 0;         // that the server takes in one message
    std::uint32_t max_data_xfer_size = 0;  // bytes in one access
  };

  struct DeviceInfo {
    std::uint32_t flags = 0;  // VFIO_DEVICE_FLAGS_*
    std::uint32_t num_regions = 0;
    std::uint32_t num_irqs = 0;
  };

  /// One region. `fd` and `areas` are there iff it can be mapped: area.offset in the region stands
  /// at file_offset + area.offset in the fd. Every area is page aligned and inside the region, the
  /// sum does not wrap; how big the file is and whether it is sealed is the caller's to check
  /// (SealedMemfd::adopt).
  struct Region {
    std::uint64_t size = 0;  // bytes; 0: no such region
    bool readable = false;
    bool writable = false;
    std::uint64_t file_offset = 0;
    std::vector<MappableArea> areas;
    Fd fd;
  };

  /// What may be signalled instead of writing to registers of a region: eventfds[i].fd_index is in
  /// `fds`, each an anonymous inode (EventFd::adopt() takes it). Each register is aligned, inside
  /// the region, and on no other. Both empty: nothing may.
  struct Doorbells {
    std::vector<IoEventFd> eventfds;
    std::vector<Fd> fds;
  };

  struct IrqInfo {
    std::uint32_t flags = 0;  // VFIO_IRQ_INFO_*
    std::uint32_t count = 0;
  };

  /// kYes: ask for no reply. The call returns once the message is sent; an error goes unseen.
  enum class Posted : std::uint8_t { kNo, kYes };

  /// Connects to the server at `path` and agrees on the version.
  static Result<Client> connect(const std::string& path, const Options& options);
  /// The same over a connected stream socket.
  static Result<Client> adopt(Fd socket, const Options& options);

  Client(Client&&) noexcept;
  Client& operator=(Client&&) noexcept;
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;
  ~Client();

  [[nodiscard]] const Version& version() const;
  /// The process at the other end as the kernel knew it when it began to listen, 0 if unknown. For
  /// reports (its CPU time), nothing else.
  [[nodiscard]] std::int64_t server_pid() const;
  /// Commands by which the server asked for our memory, all refused. A device that keeps to the
  /// rule of this project never does.
  [[nodiscard]] std::uint64_t refused_commands() const;

  Result<DeviceInfo> device_info();
  Result<Region> region(std::uint32_t index);
  /// Of a region of `region_bytes`. A server that knows nothing of them answers an error.
  /// VFIO_USER 1.8.
  Result<Doorbells> doorbells(std::uint32_t index, std::uint64_t region_bytes);
  Result<IrqInfo> irq_info(std::uint32_t index);

  /// Reads `target.size()` bytes, at most version().max_data_xfer_size (else kTooLarge).
  Result<void> read(std::uint32_t region, std::uint64_t offset, std::span<std::byte> target);
  Result<void> write(std::uint32_t region, std::uint64_t offset, std::span<const std::byte> source,
                     Posted posted = Posted::kNo);

  /// Has `eventfds` (borrowed) signalled for interrupts start, start + 1, ... of `index`. Sent in
  /// as many messages as the server's max_msg_fds asks for; on an error some may be installed.
  Result<void> set_irq_eventfds(std::uint32_t index, std::uint32_t start,
                                std::span<const int> eventfds);
  /// Enabled, but signalled to nobody.
  Result<void> deassign_irqs(std::uint32_t index, std::uint32_t start, std::uint32_t count);
  Result<void> disable_irqs(std::uint32_t index);
  /// Asks the device to fire them, to test the path.
  Result<void> trigger_irq(std::uint32_t index, std::uint32_t start, std::uint32_t count);

  /// Offers memory to the device, with the borrowed `fd` that holds it, or -1 for none. A driver of
  /// Airlock never calls it with an fd: this is for tests, and for devices of another kind.
  Result<void> dma_map(const DmaRange& range, int fd);
  Result<void> dma_unmap(std::uint64_t address, std::uint64_t size);
  Result<void> dma_unmap_all();
  Result<void> reset();

 private:
  class Impl;
  explicit Client(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace airlock::vfio_user
