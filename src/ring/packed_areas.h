// SPDX-License-Identifier: Apache-2.0
//
// The three areas of a packed queue in shared memory. Both sides write the descriptor ring, so each
// has a view of its own, with the operations that its side needs: the driver can't mark anything as
// used, the device can't make anything available. An event suppression structure has a Writer for
// the side that owns it and a Reader for the other. All are views, as SharedBytes is.
// VIRTIO 1.3, 2.8.
//
// Slots must be below the queue size and the memory of the layout's size and alignment: whoever
// makes a view checked that, and a view that finds otherwise stops the process (CHECK).
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/packed.h"
#include "ring/descriptor_bits.h"
#include "ring/packed_event.h"
#include "ring/packed_position.h"
#include "shm/shared_bytes.h"
#include "spec/virtio_ring.h"

namespace airlock::ring {

/// What a used descriptor says, beside its flags.
struct PackedUsed {
  std::uint16_t id = 0;
  std::uint32_t length = 0;  // bytes

  friend bool operator==(const PackedUsed&, const PackedUsed&) = default;
};

/// Descriptor ring, for the device.
class PackedDeviceRing {
 public:
  explicit PackedDeviceRing(const shm::SharedBytes& bytes) : bytes_(bytes) {}

  /// Acquire: pairs with PackedDriverRing::publish_flags().
  [[nodiscard]] std::uint16_t acquire_flags(std::uint32_t slot) const {
    return bytes_.load_acquire<Le16>(at(slot) + offsetof(spec::PvirtqDesc, flags)).get();
  }
  /// A private copy of the descriptor whose flags are `flags`, as read: the rest, each field once.
  [[nodiscard]] airlock_descriptor snapshot(std::uint32_t slot, std::uint16_t flags) const {
    return {.address = bytes_.load_relaxed<Le64>(at(slot)).get(),
            .length = bytes_.load_relaxed<Le32>(at(slot) + offsetof(spec::PvirtqDesc, len)).get(),
            .flags = flags,
            .next = bytes_.load_relaxed<Le16>(at(slot) + offsetof(spec::PvirtqDesc, id)).get()};
  }
  /// A private copy of a descriptor that follows a head: each of its two words is read once.
  [[nodiscard]] airlock_descriptor snapshot(std::uint32_t slot) const {
    const std::uint64_t address = bytes_.load_relaxed<Le64>(at(slot)).get();
    const std::uint64_t rest =
        bytes_.load_relaxed<Le64>(at(slot) + offsetof(spec::PvirtqDesc, len)).get();
    return decode_descriptor(address, rest, Format::kPacked);
  }

  /// Everything of a used descriptor but its flags.
  void put_used(std::uint16_t slot, const PackedUsed& used) const {
    bytes_.store_relaxed<Le32>(at(slot) + offsetof(spec::PvirtqDesc, len), Le32(used.length));
    bytes_.store_relaxed<Le16>(at(slot) + offsetof(spec::PvirtqDesc, id), Le16(used.id));
  }
  /// The flags of a used descriptor, of the lap of `wrap`. WRITE is in them if the device wrote
  /// anything. The driver gets there by way of one that publish_used() showed it.
  void mark_used(std::uint16_t slot, bool wrap, bool wrote) const {
    bytes_.store_relaxed<Le16>(at(slot) + offsetof(spec::PvirtqDesc, flags),
                               Le16(used_flags(wrap, wrote)));
  }
  /// The same for the first descriptor that the driver looks at. Release: pairs with
  /// PackedDriverRing::acquire_flags(), which then sees the used descriptors and the bytes that the
  /// device wrote before.
  void publish_used(std::uint16_t slot, bool wrap, bool wrote) const {
    bytes_.store_release<Le16>(at(slot) + offsetof(spec::PvirtqDesc, flags),
                               Le16(used_flags(wrap, wrote)));
  }
  /// All of a used descriptor by one store, so that it is either there or what it was, whenever the
  /// process ends. Release, as publish_used().
  void publish_whole(std::uint16_t slot, const PackedUsed& used, bool wrap) const {
    const std::uint64_t rest = used.length | std::uint64_t{used.id} << 32 |
                               std::uint64_t{used_flags(wrap, used.length != 0)} << 48;
    bytes_.store_release<Le64>(at(slot) + offsetof(spec::PvirtqDesc, len), Le64(rest));
  }

 private:
  static std::uint64_t at(std::uint32_t slot) {
    return std::uint64_t{slot} * sizeof(spec::PvirtqDesc);
  }
  static std::uint16_t used_flags(bool wrap, bool wrote) {
    const std::uint16_t flags = airlock_packed_used_flags(wrap);
    return wrote ? static_cast<std::uint16_t>(flags | spec::VIRTQ_DESC_F_WRITE) : flags;
  }

  shm::SharedBytes bytes_;
};

/// Descriptor ring, for the driver.
class PackedDriverRing {
 public:
  explicit PackedDriverRing(const shm::SharedBytes& bytes) : bytes_(bytes) {}

  /// The flags of `descriptor`, made available in the lap of `wrap`.
  static std::uint16_t available_flags(const airlock_descriptor& descriptor, bool wrap) {
    return static_cast<std::uint16_t>(descriptor.flags | airlock_packed_available_flags(wrap));
  }
  /// A whole descriptor, made available in the lap of `wrap`. The device gets there by way of one
  /// that publish_flags() showed it.
  void put(std::uint16_t slot, const airlock_descriptor& descriptor, bool wrap) const {
    const std::uint64_t lap = std::uint64_t{airlock_packed_available_flags(wrap)} << 48;
    bytes_.store_relaxed<Le64>(at(slot), Le64(descriptor.address));
    bytes_.store_relaxed<Le64>(at(slot) + offsetof(spec::PvirtqDesc, len),
                               Le64(encode_descriptor_rest(descriptor, Format::kPacked) | lap));
  }
  /// Everything of a descriptor but its flags: it is not available yet.
  void put_body(std::uint16_t slot, const airlock_descriptor& descriptor) const {
    bytes_.store_relaxed<Le64>(at(slot), Le64(descriptor.address));
    bytes_.store_relaxed<Le32>(at(slot) + offsetof(spec::PvirtqDesc, len), Le32(descriptor.length));
    bytes_.store_relaxed<Le16>(at(slot) + offsetof(spec::PvirtqDesc, id), Le16(descriptor.next));
  }
  /// Release: pairs with PackedDeviceRing::acquire_flags(), which then sees the descriptors and the
  /// buffers written before.
  void publish_flags(std::uint16_t slot, std::uint16_t flags) const {
    bytes_.store_release<Le16>(at(slot) + offsetof(spec::PvirtqDesc, flags), Le16(flags));
  }

  /// Acquire: pairs with PackedDeviceRing::publish_used().
  [[nodiscard]] std::uint16_t acquire_flags(std::uint16_t slot) const {
    return bytes_.load_acquire<Le16>(at(slot) + offsetof(spec::PvirtqDesc, flags)).get();
  }
  /// A private copy of what a used descriptor says.
  [[nodiscard]] PackedUsed used(std::uint16_t slot) const {
    return {.id = bytes_.load_relaxed<Le16>(at(slot) + offsetof(spec::PvirtqDesc, id)).get(),
            .length = bytes_.load_relaxed<Le32>(at(slot) + offsetof(spec::PvirtqDesc, len)).get()};
  }

 private:
  static std::uint64_t at(std::uint32_t slot) {
    return std::uint64_t{slot} * sizeof(spec::PvirtqDesc);
  }

  shm::SharedBytes bytes_;
};

/// Indirect tables, for the driver. Of a descriptor in them the device knows address, length and
/// WRITE; the rest is reserved, and zero. VIRTIO 1.3, 2.8.7.
class PackedTableWriter {
 public:
  explicit PackedTableWriter(const shm::SharedBytes& bytes) : bytes_(bytes) {}

  /// `index` counts through all tables.
  void put(std::uint32_t index, const airlock_descriptor& descriptor) const {
    const std::uint64_t at = std::uint64_t{index} * sizeof(spec::PvirtqDesc);
    bytes_.store_relaxed<Le64>(at, Le64(descriptor.address));
    bytes_.store_relaxed<Le64>(at + offsetof(spec::PvirtqDesc, len),
                               Le64(encode_descriptor_rest(descriptor, Format::kPacked)));
  }

 private:
  shm::SharedBytes bytes_;
};

/// Event suppression structure, for the side that reads it.
class PackedEventReader {
 public:
  explicit PackedEventReader(const shm::SharedBytes& bytes) : bytes_(bytes) {}

  /// A private copy: both fields in one read.
  [[nodiscard]] PackedEvent snapshot() const {
    const std::uint32_t both = bytes_.load_relaxed<Le32>(0).get();
    return {.off_wrap = static_cast<std::uint16_t>(both),
            .flags = static_cast<std::uint16_t>(both >> 16)};
  }

 private:
  shm::SharedBytes bytes_;
};

/// Event suppression structure, for its owner.
class PackedEventWriter {
 public:
  explicit PackedEventWriter(const shm::SharedBytes& bytes) : bytes_(bytes) {}

  /// Both fields in one write: the peer never sees the flags of one event with the slot of another.
  void put(const PackedEvent& event) const {
    bytes_.store_relaxed<Le32>(0, Le32(event.off_wrap | std::uint32_t{event.flags} << 16));
  }

 private:
  shm::SharedBytes bytes_;
};

}  // namespace airlock::ring
