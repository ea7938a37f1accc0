// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/fifo.h"
#include "driver/deadline.h"
#include "driver/queue.h"
#include "driver/virtio_device.h"
#include "spec/virtio_vsock.h"

namespace airlock::driver {

/// Packets to and from a socket device, one at a time: its three queues and their memory. What a
/// device returns is copied once and checked: a packet that claims more than the device wrote is a
/// lie, which breaks the device (HD-3). VIRTIO 1.3, 5.10.6. One thread at a time.
class VsockLink {
 public:
  struct Limits {
    std::uint32_t queue_size = 64;       // slots at most
    std::uint32_t receive_bytes = 4096;  // of a packet, header included
    std::uint32_t send_bytes = 16384;    // the same
  };
  /// A packet of the device. The payload is private memory, valid until the next call.
  struct Packet {
    spec::VirtioVsockHdr header;
    std::span<const std::byte> payload;
  };

  /// `device` outlives it.
  VsockLink(VirtioDevice& device, const Limits& limits) : device_(device), limits_(limits) {}
  VsockLink(const VsockLink&) = delete;
  VsockLink& operator=(const VsockLink&) = delete;

  /// Makes the queues and fills them; VirtioDevice::start() is next, and then kick(). Errors: those
  /// of VirtioDevice::create_queue() and Pool::allocate_coherent().
  Result<void> attach();
  /// Shows the device what it was given.
  Result<void> kick();

  /// The most payload that a packet can have.
  [[nodiscard]] std::uint32_t payload_max() const {
    return limits_.send_bytes - static_cast<std::uint32_t>(sizeof(spec::VirtioVsockHdr));
  }
  /// Whether send() has room now.
  [[nodiscard]] bool has_room() const { return !free_frames_.empty(); }
  /// Gives the device a packet; there is room, and the payload is payload_max() at most (CHECK).
  /// Errors: the first of a broken device.
  Result<void> send(const spec::VirtioVsockHdr& header, std::span<const std::byte> payload);
  /// The next packet; nothing if there is none. Errors: as above; a lie breaks the device.
  Result<std::optional<Packet>> receive();
  /// Whether the device said, since the last call, that all connections are gone (5.10.6.7).
  /// Errors: as above.
  Result<bool> take_transport_reset();

  /// Returns what the device is done with; true if anything came. Errors: as above.
  Result<bool> reap();
  /// Waits until reap() may have something. Errors: kTimeout, and as above.
  Result<void> wait(const Deadline& deadline);

 private:
  struct Part {
    std::unique_ptr<Queue> queue;
    pool::CoherentBuffer memory;
    std::uint32_t stride = 0;  // bytes between two buffers in it
  };

  Result<Part> make_part(std::uint16_t index, std::uint32_t buffer_bytes);
  Result<void> post(Part& part, std::uint64_t buffer, std::uint32_t bytes);
  Result<bool> reap_part(Part& part, Fifo<ring::Completion>& target);
  Result<void> notify(Part& part);
  template <class T>
  Result<T> broken_by(Result<T> result) {
    if (result) return result;
    return device_.fail_device(result.error());
  }

  VirtioDevice& device_;
  Limits limits_;
  Part rx_;
  Part tx_;
  Part event_;
  Fifo<ring::Completion> received_;
  Fifo<ring::Completion> sent_;
  Fifo<ring::Completion> events_;
  std::vector<std::uint64_t> free_frames_;
  std::vector<std::byte> payload_;  // of the last packet
  unsigned rounds_ = 0;             // of waits without an interrupt
};

}  // namespace airlock::driver
