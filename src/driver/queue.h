// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>

#include "crypt/queue_cipher.h"
#include "driver/transport.h"
#include "pool/buffer.h"
#include "ring/driver_queue.h"

namespace airlock::driver {

/// One enabled virtqueue: the hardened ring, its memory in the region, how to notify the device of
/// it, and its interrupt. One thread at a time; goes before its VirtioDevice.
class Queue {
 public:
  struct Parts {
    ring::DriverQueue ring;
    pool::CoherentBuffer memory;
    pool::CoherentBuffer tables;                 // of indirect descriptors, if there are any
    Register notify;                             // of 4 bytes for notification data, else of 2
    std::uint16_t vector = 0;                    // VIRTIO_MSI_NO_VECTOR: polled
    std::unique_ptr<crypt::QueueCipher> cipher;  // null: it is not encrypted
  };
  Queue(PciTransport& transport, Parts parts) : transport_(&transport), parts_(std::move(parts)) {}

  [[nodiscard]] ring::DriverQueue& ring() { return parts_.ring; }
  /// What every message is sealed and opened with; null where the queue is not encrypted.
  [[nodiscard]] crypt::QueueCipher* cipher() const { return parts_.cipher.get(); }
  /// Tells the device that there is something new. VIRTIO 1.3, 2.9, 4.1.5.2.
  Result<void> notify() {
    const bool with_data = parts_.notify.width == Width::k4;
    return transport_->post(parts_.notify,
                            with_data ? parts_.ring.notification_data() : parts_.ring.queue());
  }
  [[nodiscard]] std::uint16_t vector() const { return parts_.vector; }
  /// -1 where the queue is polled.
  [[nodiscard]] int interrupt_fd() const { return transport_->interrupt_fd(parts_.vector); }

 private:
  PciTransport* transport_;
  Parts parts_;
};

}  // namespace airlock::driver
