// SPDX-License-Identifier: Apache-2.0
//
// The three areas of a split queue in shared memory. Each has a Writer for the side that owns it
// and a Reader for the other; a Reader has nothing to write with, so neither half of a queue can
// touch what the other half owns. All are views, as SharedBytes is. VIRTIO 1.3, 2.7.
//
// Slots must be below the queue size and the memory of the layout's size and alignment: whoever
// makes a view checked that, and a view that finds otherwise stops the process (CHECK).
#pragma once

#include <cstddef>
#include <cstdint>

#include "ring/descriptor_bits.h"
#include "ring/queue_size.h"
#include "shm/shared_bytes.h"
#include "spec/virtio_ring.h"

namespace airlock::ring {

/// Descriptor table, for the device.
class DescriptorReader {
 public:
  explicit DescriptorReader(const shm::SharedBytes& bytes) : bytes_(bytes) {}

  /// A private copy of descriptor `index`: each of its two words is read once.
  [[nodiscard]] airlock_descriptor snapshot(std::uint32_t index) const {
    const std::uint64_t at = std::uint64_t{index} * sizeof(spec::VirtqDesc);
    const std::uint64_t address = bytes_.load_relaxed<Le64>(at).get();
    const std::uint64_t rest = bytes_.load_relaxed<Le64>(at + 8).get();
    return decode_descriptor(address, rest, Format::kSplit);
  }

 private:
  shm::SharedBytes bytes_;
};

/// Descriptor table, for the driver.
class DescriptorWriter {
 public:
  explicit DescriptorWriter(const shm::SharedBytes& bytes) : bytes_(bytes) {}

  void put(std::uint32_t index, const airlock_descriptor& descriptor) const {
    const std::uint64_t at = std::uint64_t{index} * sizeof(spec::VirtqDesc);
    bytes_.store_relaxed<Le64>(at, Le64(descriptor.address));
    bytes_.store_relaxed<Le64>(at + 8, Le64(encode_descriptor_rest(descriptor, Format::kSplit)));
  }

 private:
  shm::SharedBytes bytes_;
};

/// Where used_event or avail_event stands: the last two bytes of either ring, there whether
/// negotiated or not. VIRTIO 1.3, 2.7.6, 2.7.8.
inline std::uint64_t event_offset(const shm::SharedBytes& ring) {
  return ring.size() - sizeof(Le16);
}

/// Driver area (available ring), for the device.
class AvailReader {
 public:
  explicit AvailReader(const shm::SharedBytes& bytes) : bytes_(bytes) {}

  [[nodiscard]] std::uint16_t flags() const { return bytes_.load_relaxed<Le16>(0).get(); }
  /// Acquire: pairs with AvailWriter::publish_index().
  [[nodiscard]] RingIndex acquire_index() const {
    return RingIndex(bytes_.load_acquire<Le16>(offsetof(spec::VirtqAvailHeader, idx)).get());
  }
  [[nodiscard]] std::uint16_t head(std::uint16_t slot) const {
    return bytes_
        .load_relaxed<Le16>(sizeof(spec::VirtqAvailHeader) + std::uint64_t{slot} * sizeof(Le16))
        .get();
  }
  /// Which used entry the driver wants to hear of, with VIRTIO_F_EVENT_IDX.
  [[nodiscard]] RingIndex used_event() const {
    return RingIndex(bytes_.load_relaxed<Le16>(event_offset(bytes_)).get());
  }

 private:
  shm::SharedBytes bytes_;
};

/// Driver area (available ring), for the driver.
class AvailWriter {
 public:
  explicit AvailWriter(const shm::SharedBytes& bytes) : bytes_(bytes) {}

  void set_flags(std::uint16_t flags) const { bytes_.store_relaxed<Le16>(0, Le16(flags)); }
  /// Release: pairs with AvailReader::acquire_index(), which then sees the heads, the descriptors
  /// and the buffers written before.
  void publish_index(RingIndex index) const {
    bytes_.store_release<Le16>(offsetof(spec::VirtqAvailHeader, idx), Le16(index.value()));
  }
  void put(std::uint16_t slot, std::uint16_t head) const {
    bytes_.store_relaxed<Le16>(sizeof(spec::VirtqAvailHeader) + std::uint64_t{slot} * sizeof(Le16),
                               Le16(head));
  }
  void set_used_event(RingIndex index) const {
    bytes_.store_relaxed<Le16>(event_offset(bytes_), Le16(index.value()));
  }

 private:
  shm::SharedBytes bytes_;
};

/// A private copy of a used element.
struct UsedElement {
  std::uint32_t id = 0;
  std::uint32_t length = 0;  // bytes

  friend bool operator==(const UsedElement&, const UsedElement&) = default;
};

/// Device area (used ring), for the driver.
class UsedReader {
 public:
  explicit UsedReader(const shm::SharedBytes& bytes) : bytes_(bytes) {}

  [[nodiscard]] std::uint16_t flags() const { return bytes_.load_relaxed<Le16>(0).get(); }
  /// Acquire: pairs with UsedWriter::publish_index().
  [[nodiscard]] RingIndex acquire_index() const {
    return RingIndex(bytes_.load_acquire<Le16>(offsetof(spec::VirtqUsedHeader, idx)).get());
  }
  [[nodiscard]] UsedElement snapshot(std::uint16_t slot) const {
    const std::uint64_t at =
        sizeof(spec::VirtqUsedHeader) + std::uint64_t{slot} * sizeof(spec::VirtqUsedElem);
    return {.id = bytes_.load_relaxed<Le32>(at).get(),
            .length = bytes_.load_relaxed<Le32>(at + offsetof(spec::VirtqUsedElem, len)).get()};
  }
  /// Which available entry the device wants to hear of, with VIRTIO_F_EVENT_IDX.
  [[nodiscard]] RingIndex avail_event() const {
    return RingIndex(bytes_.load_relaxed<Le16>(event_offset(bytes_)).get());
  }

 private:
  shm::SharedBytes bytes_;
};

/// Device area (used ring), for the device.
class UsedWriter {
 public:
  explicit UsedWriter(const shm::SharedBytes& bytes) : bytes_(bytes) {}

  void set_flags(std::uint16_t flags) const { bytes_.store_relaxed<Le16>(0, Le16(flags)); }
  /// Release: pairs with UsedReader::acquire_index(), which then sees the elements and the bytes
  /// that the device wrote before.
  void publish_index(RingIndex index) const {
    bytes_.store_release<Le16>(offsetof(spec::VirtqUsedHeader, idx), Le16(index.value()));
  }
  /// What publish_index() of this process, or of one before it, stored last. The driver can write
  /// there too, to its own harm.
  [[nodiscard]] RingIndex index() const {
    return RingIndex(bytes_.load_relaxed<Le16>(offsetof(spec::VirtqUsedHeader, idx)).get());
  }
  void put(std::uint16_t slot, const UsedElement& element) const {
    const std::uint64_t at =
        sizeof(spec::VirtqUsedHeader) + std::uint64_t{slot} * sizeof(spec::VirtqUsedElem);
    bytes_.store_relaxed<Le32>(at, Le32(element.id));
    bytes_.store_relaxed<Le32>(at + offsetof(spec::VirtqUsedElem, len), Le32(element.length));
  }
  void set_avail_event(RingIndex index) const {
    bytes_.store_relaxed<Le16>(event_offset(bytes_), Le16(index.value()));
  }

 private:
  shm::SharedBytes bytes_;
};

}  // namespace airlock::ring
