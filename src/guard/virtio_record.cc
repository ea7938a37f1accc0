// SPDX-License-Identifier: Apache-2.0
#include "guard/virtio_record.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "core/range.h"
#include "spec/virtio.h"
#include "spec/virtio_pci.h"
#include "wire/message.h"

namespace airlock::guard {

namespace {

using Common = spec::VirtioPciCommonCfg;

// What a driver may make the guard remember: it has 65536 queues and selects at its disposal.
constexpr std::size_t kMaxKept = 4096;
// Feature bits in words of 32; more than VIRTIO 1.3 has.
constexpr std::uint32_t kFeatureWords = 4;

bool inside(const VirtioPlace& place, std::uint32_t region, std::uint64_t offset,
            std::size_t size) {
  return region == place.bar && airlock_range_inside(offset, size, place.offset, place.size);
}

// A register write is 1, 2, 4 or 8 bytes, little-endian as the machine is.
std::uint64_t value_of(std::span<const std::byte> bytes) {
  Le64 value;
  std::memcpy(&value, bytes.data(), std::min(bytes.size(), sizeof value));
  return value.get();
}

void set_half(std::uint64_t& field, bool high, std::uint64_t value, std::size_t size) {
  constexpr std::uint64_t kLow = 0xffff'ffff;
  if (size == sizeof field) {
    field = value;
  } else if (high) {
    field = (field & kLow) | value << 32U;
  } else {
    field = (field & ~kLow) | (value & kLow);
  }
}

template <class Field>
void cover(std::span<std::byte> bytes, std::uint64_t offset, std::size_t field_offset,
           const Field& field) {
  const auto view = std::as_bytes(std::span(&field, 1));
  for (std::size_t i = 0; i < view.size(); ++i) {
    const std::uint64_t at = field_offset + i;
    if (at >= offset && at - offset < bytes.size()) bytes[at - offset] = view[i];
  }
}

template <class Map>
void keep(Map& map, const RegionWrite& write) {
  if (map.size() < kMaxKept || map.contains(write.offset)) map[write.offset] = write.bytes;
}

}  // namespace

void VirtioRecord::wrote(const RegionWrite& write) {
  const std::size_t size = write.bytes.size();
  if (inside(places_.common, write.region, write.offset, size)) {
    wrote_common(write.offset - places_.common.offset, write.bytes);
  } else if (inside(places_.notify, write.region, write.offset, size)) {
    keep(notified_, write);
  } else if (places_.device && inside(*places_.device, write.region, write.offset, size)) {
    keep(device_config_, write);
  }
}

void VirtioRecord::reset() {
  const bool gone = gone_;
  const std::uint32_t lives = lives_;
  *this = VirtioRecord(places_);
  gone_ = gone;
  lives_ = lives;
}

void VirtioRecord::wrote_common(std::uint64_t offset, std::span<const std::byte> bytes) {
  const std::uint64_t value = value_of(bytes);
  switch (offset) {
    case offsetof(Common, device_feature_select):
      device_feature_select_ = static_cast<std::uint32_t>(value);
      return;
    case offsetof(Common, driver_feature_select):
      driver_feature_select_ = static_cast<std::uint32_t>(value);
      return;
    case offsetof(Common, driver_feature):
      if (driver_feature_select_ < kFeatureWords) {
        features_[driver_feature_select_] = static_cast<std::uint32_t>(value);
      }
      return;
    case offsetof(Common, config_msix_vector):
      config_vector_ = static_cast<std::uint16_t>(value);
      return;
    case offsetof(Common, device_status):
      wrote_status(static_cast<std::uint8_t>(value));
      return;
    case offsetof(Common, queue_select):
      queue_select_ = static_cast<std::uint16_t>(value);
      return;
    default:
      if (queues_.size() < kMaxKept || queues_.contains(queue_select_)) {
        wrote_queue(offset, value, bytes.size());
      }
  }
}

void VirtioRecord::wrote_status(std::uint8_t status) {
  if (status == 0) {
    reset();
  } else {
    status_ = status;
  }
}

void VirtioRecord::wrote_enable(bool enabled) {
  Queue& queue = queues_[queue_select_];
  if (enabled && !queue.enabled) queue.life = ++lives_;
  queue.enabled = enabled;
}

void VirtioRecord::wrote_queue(std::uint64_t offset, std::uint64_t value, std::size_t size) {
  constexpr std::uint64_t kHalf = 4;
  Queue& queue = queues_[queue_select_];
  switch (offset) {
    case offsetof(Common, queue_size):
      queue.size = static_cast<std::uint16_t>(value);
      return;
    case offsetof(Common, queue_msix_vector):
      queue.vector = static_cast<std::uint16_t>(value);
      return;
    case offsetof(Common, queue_enable):
      return wrote_enable(value == 1);
    case offsetof(Common, queue_desc):
    case offsetof(Common, queue_desc) + kHalf:
      return set_half(queue.descriptors, offset != offsetof(Common, queue_desc), value, size);
    case offsetof(Common, queue_driver):
    case offsetof(Common, queue_driver) + kHalf:
      return set_half(queue.driver, offset != offsetof(Common, queue_driver), value, size);
    case offsetof(Common, queue_device):
    case offsetof(Common, queue_device) + kHalf:
      return set_half(queue.device, offset != offsetof(Common, queue_device), value, size);
    case offsetof(Common, queue_reset):
      if (value == 1) queues_.erase(queue_select_);
      return;
    default:
      return;
  }
}

void VirtioRecord::overlay(std::uint32_t region, std::uint64_t offset,
                           std::span<std::byte> bytes) const {
  if (!inside(places_.common, region, offset, bytes.size())) return;
  const std::uint64_t at = offset - places_.common.offset;
  std::uint8_t status = status_;
  if (needs_reset_) {
    status |= spec::VIRTIO_CONFIG_S_NEEDS_RESET;
  } else if (gone_) {
    status &= static_cast<std::uint8_t>(~spec::VIRTIO_CONFIG_S_FEATURES_OK);
  }
  const auto features = features_.find(driver_feature_select_);
  const auto found = queues_.find(queue_select_);
  const Queue queue = found == queues_.end() ? Queue{} : found->second;
  cover(bytes, at, offsetof(Common, device_feature_select), Le32(device_feature_select_));
  cover(bytes, at, offsetof(Common, driver_feature_select), Le32(driver_feature_select_));
  cover(bytes, at, offsetof(Common, driver_feature),
        Le32(features == features_.end() ? 0 : features->second));
  cover(bytes, at, offsetof(Common, config_msix_vector), Le16(config_vector_));
  cover(bytes, at, offsetof(Common, device_status), status);
  cover(bytes, at, offsetof(Common, queue_select), Le16(queue_select_));
  if (queue.size != 0) cover(bytes, at, offsetof(Common, queue_size), Le16(queue.size));
  cover(bytes, at, offsetof(Common, queue_msix_vector), Le16(queue.vector));
  cover(bytes, at, offsetof(Common, queue_enable),
        Le16(static_cast<std::uint16_t>(queue.enabled ? 1 : 0)));
  cover(bytes, at, offsetof(Common, queue_desc), Le64(queue.descriptors));
  cover(bytes, at, offsetof(Common, queue_driver), Le64(queue.driver));
  cover(bytes, at, offsetof(Common, queue_device), Le64(queue.device));
}

bool VirtioRecord::is_reset(const RegionWrite& write) const {
  const RegionWrite reset = reset_write();
  return write.region == reset.region && write.offset == reset.offset && value_of(write.bytes) == 0;
}

RegionWrite VirtioRecord::reset_write() const {
  return {.region = places_.common.bar,
          .offset = places_.common.offset + offsetof(Common, device_status),
          .bytes = {std::byte{0}}};
}

bool VirtioRecord::is_notification(std::uint32_t region, std::uint64_t offset) const {
  return inside(places_.notify, region, offset, 1);
}

bool VirtioRecord::driver_ok() const {
  return (status_ & spec::VIRTIO_CONFIG_S_DRIVER_OK) != 0;
}

std::map<std::uint16_t, VirtioRecord::QueueAreas> VirtioRecord::queue_areas() const {
  std::map<std::uint16_t, QueueAreas> areas;
  if (!driver_ok()) return areas;
  for (const auto& [index, queue] : queues_) {
    if (!queue.enabled) continue;
    areas[index] = {.size = queue.size,
                    .descriptors = queue.descriptors,
                    .driver = queue.driver,
                    .device = queue.device,
                    .life = queue.life};
  }
  return areas;
}

std::uint64_t VirtioRecord::features() const {
  const auto word = [this](std::uint32_t select) -> std::uint64_t {
    const auto found = features_.find(select);
    return found == features_.end() ? 0 : found->second;
  };
  return word(0) | word(1) << 32U;
}

spec::VfioUserRegionAccess VirtioRecord::status_access() const {
  return {.offset = places_.common.offset + offsetof(Common, device_status),
          .region = places_.common.bar,
          .count = 1};
}

std::vector<RegionWrite> VirtioRecord::setup() const {
  std::vector<RegionWrite> writes;
  const auto add = [&](std::size_t offset, const auto& value) {
    writes.push_back({.region = places_.common.bar,
                      .offset = places_.common.offset + offset,
                      .bytes = vfio_user::bytes_of(value)});
  };
  const auto add_halves = [&](std::size_t offset, std::uint64_t value) {
    add(offset, Le32(static_cast<std::uint32_t>(value)));
    add(offset + sizeof(Le32), Le32(static_cast<std::uint32_t>(value >> 32U)));
  };
  // In the order that a driver keeps to. VIRTIO 1.3, 3.1.1.
  constexpr std::uint8_t kBegun = spec::VIRTIO_CONFIG_S_ACKNOWLEDGE | spec::VIRTIO_CONFIG_S_DRIVER;
  if ((status_ & kBegun) == 0) return writes;
  add(offsetof(Common, device_status), static_cast<std::uint8_t>(status_ & kBegun));
  for (const auto& [select, word] : features_) {
    add(offsetof(Common, driver_feature_select), Le32(select));
    add(offsetof(Common, driver_feature), Le32(word));
  }
  const auto before_ok =
      static_cast<std::uint8_t>(status_ & ~std::uint8_t{spec::VIRTIO_CONFIG_S_DRIVER_OK});
  if ((status_ & spec::VIRTIO_CONFIG_S_FEATURES_OK) != 0) {
    add(offsetof(Common, device_status), before_ok);
  }
  if (config_vector_ != spec::VIRTIO_MSI_NO_VECTOR) {
    add(offsetof(Common, config_msix_vector), Le16(config_vector_));
  }
  const VirtioPlace device = places_.device.value_or(VirtioPlace{});
  for (const auto& [offset, bytes] : device_config_)
    writes.push_back({.region = device.bar, .offset = offset, .bytes = bytes});
  for (const auto& [index, queue] : queues_) {
    add(offsetof(Common, queue_select), Le16(index));
    if (queue.size != 0) add(offsetof(Common, queue_size), Le16(queue.size));
    add(offsetof(Common, queue_msix_vector), Le16(queue.vector));
    add_halves(offsetof(Common, queue_desc), queue.descriptors);
    add_halves(offsetof(Common, queue_driver), queue.driver);
    add_halves(offsetof(Common, queue_device), queue.device);
    if (queue.enabled) add(offsetof(Common, queue_enable), Le16(std::uint16_t{1}));
  }
  if (driver_ok()) add(offsetof(Common, device_status), status_);
  // The selectors as the driver left them: its next access counts on them.
  add(offsetof(Common, device_feature_select), Le32(device_feature_select_));
  add(offsetof(Common, driver_feature_select), Le32(driver_feature_select_));
  add(offsetof(Common, queue_select), Le16(queue_select_));
  return writes;
}

std::vector<RegionWrite> VirtioRecord::notifications() const {
  std::vector<RegionWrite> writes;
  writes.reserve(notified_.size());
  for (const auto& [offset, bytes] : notified_)
    writes.push_back({.region = places_.notify.bar, .offset = offset, .bytes = bytes});
  return writes;
}

}  // namespace airlock::guard
