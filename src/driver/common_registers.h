// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>

#include "driver/transport.h"
#include "ring/layout.h"
#include "spec/virtio_pci.h"

namespace airlock::driver {

/// The common configuration structure by names: each call is one access of the field's own width,
/// two for 64-bit ones. VIRTIO 1.3, 4.1.3.1, 4.1.4.3. Decides nothing; errors are the transport's.
class CommonRegisters {
 public:
  /// `place` was checked to hold VIRTIO_PCI_COMMON_CFG_MIN bytes. The transport outlives this.
  CommonRegisters(PciTransport& transport, const pci::BarRange& place)
      : transport_(&transport), place_(place) {}

  Result<std::uint64_t> offered_features();
  Result<void> write_accepted_features(std::uint64_t features);
  Result<std::uint8_t> status();
  Result<void> write_status(std::uint8_t status);
  Result<std::uint8_t> config_generation();
  Result<std::uint16_t> queue_count();
  /// The vector that the device then has: VIRTIO_MSI_NO_VECTOR if it could not.
  Result<std::uint16_t> set_config_vector(std::uint16_t vector);

  // Of the queue selected last.
  Result<void> select_queue(std::uint16_t queue);
  Result<std::uint16_t> queue_size();
  Result<void> write_queue_size(std::uint16_t size);
  Result<std::uint16_t> queue_notify_off();
  Result<std::uint16_t> set_queue_vector(std::uint16_t vector);
  Result<void> write_queue_areas(const ring::QueueAreas& areas);
  Result<std::uint16_t> queue_enable();
  Result<void> write_queue_enable();
  Result<std::uint16_t> queue_reset();
  Result<void> write_queue_reset();

  /// Whether the structure is long enough for queue_reset.
  [[nodiscard]] bool has_queue_reset() const;
  /// Whether the structure is long enough for dmb_shm_id (DMB-D4).
  [[nodiscard]] bool has_dmb_shm_id() const;
  Result<std::uint16_t> dmb_shm_id();

 private:
  template <class T>
  Result<T> read(std::size_t offset);
  template <class T>
  Result<void> write(std::size_t offset, T value);

  PciTransport* transport_;
  pci::BarRange place_;
};

}  // namespace airlock::driver
