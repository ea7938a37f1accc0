// SPDX-License-Identifier: Apache-2.0
#include "pci/common_config.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "core/range.h"
#include "spec/virtio.h"

namespace airlock::pci {

namespace {

using Common = spec::VirtioPciCommonCfg;
using Image = spec::VirtioPciCommonCfgDmb;

struct Register {
  std::uint8_t offset;
  std::uint8_t bytes;
};

#define AIRLOCK_REGISTER(field)                    \
  Register {                                       \
    offsetof(Common, field), sizeof(Common::field) \
  }

// What a driver may write, in the order of the offsets.
constexpr Register kWritable[] = {
    AIRLOCK_REGISTER(device_feature_select),
    AIRLOCK_REGISTER(driver_feature_select),
    AIRLOCK_REGISTER(driver_feature),
    AIRLOCK_REGISTER(config_msix_vector),
    AIRLOCK_REGISTER(device_status),
    AIRLOCK_REGISTER(queue_select),
    AIRLOCK_REGISTER(queue_size),
    AIRLOCK_REGISTER(queue_msix_vector),
    AIRLOCK_REGISTER(queue_enable),
    AIRLOCK_REGISTER(queue_desc),
    AIRLOCK_REGISTER(queue_driver),
    AIRLOCK_REGISTER(queue_device),
    AIRLOCK_REGISTER(queue_reset),
};

#undef AIRLOCK_REGISTER

std::uint64_t little_endian(std::span<const std::byte> bytes) {
  std::uint64_t value = 0;
  for (std::size_t i = bytes.size(); i > 0; --i) {
    value = value << 8 | std::to_integer<std::uint64_t>(bytes[i - 1]);
  }
  return value;
}

std::uint32_t word_of(std::uint64_t features, std::uint32_t select) {
  return select < 2 ? static_cast<std::uint32_t>(features >> (32 * select)) : 0;
}

}  // namespace

CommonConfig::CommonConfig(Options options, CommonConfigOwner& owner)
    : options_(std::move(options)), owner_(owner), queues_(options_.queue_sizes.size()) {
  CHECK(options_.length <= sizeof(Image));
  reset();
}

void CommonConfig::reset() {
  device_feature_select_ = 0;
  driver_feature_select_ = 0;
  driver_features_ = {};
  config_vector_.store(spec::VIRTIO_MSI_NO_VECTOR);
  queue_select_ = 0;
  for (std::uint16_t queue = 0; queue < queue_count(); ++queue) {
    reset_registers(queue);
    queues_[queue].was_reset = false;
  }
}

void CommonConfig::reset_registers(std::uint16_t queue) {
  Queue& registers = queues_[queue];
  registers.size = options_.queue_sizes[queue];
  registers.enabled = false;
  registers.resetting = false;
  registers.vector.store(spec::VIRTIO_MSI_NO_VECTOR);
  registers.descriptor_area = 0;
  registers.driver_area = 0;
  registers.device_area = 0;
}

void CommonConfig::read(std::uint32_t offset, std::span<std::byte> target) const {
  CHECK(airlock_range_within(offset, target.size(), options_.length));
  const Image now = image();
  std::ranges::copy(std::as_bytes(std::span(&now, 1)).subspan(offset, target.size()),
                    target.begin());
}

void CommonConfig::write(std::uint32_t offset, std::span<const std::byte> source) {
  CHECK(airlock_range_within(offset, source.size(), options_.length));
  const std::uint32_t end = offset + static_cast<std::uint32_t>(source.size());
  for (const Register& reg : kWritable) {
    const std::uint32_t reg_end = std::uint32_t{reg.offset} + reg.bytes;
    const std::uint32_t first = std::max<std::uint32_t>(offset, reg.offset);
    const std::uint32_t last = std::min(end, reg_end);
    if (first >= last) continue;
    // A fresh image each time: a write that also moved queue_select merges with the new queue.
    Image now = image();
    const auto bytes = std::as_writable_bytes(std::span(&now, 1));
    std::ranges::copy(source.subspan(first - offset, last - first), bytes.begin() + first);
    set_register(reg.offset, little_endian(bytes.subspan(reg.offset, reg.bytes)));
  }
}

Image CommonConfig::image() const {
  Image all{};
  Common& common = all.common;
  common.device_feature_select.set(device_feature_select_);
  common.device_feature.set(word_of(options_.offered, device_feature_select_));
  common.driver_feature_select.set(driver_feature_select_);
  if (driver_feature_select_ < kFeatureWords) {
    common.driver_feature.set(driver_features_[driver_feature_select_]);
  }
  common.config_msix_vector.set(config_vector_.load());
  common.num_queues.set(queue_count());
  common.device_status = owner_.device_status();
  common.config_generation = owner_.config_generation();
  common.queue_select.set(queue_select_);
  image_of_queue(common);
  all.dmb_shm_id.set(options_.dmb_shm_id);
  return all;
}

// A queue that does not exist reads as size 0, without a vector. VIRTIO 1.3, 4.1.4.3.1.
void CommonConfig::image_of_queue(Common& common) const {
  common.queue_msix_vector.set(spec::VIRTIO_MSI_NO_VECTOR);
  if (queue_size_max(queue_select_) == 0) return;
  const Queue& queue = queues_[queue_select_];
  common.queue_size.set(queue.size);
  common.queue_msix_vector.set(queue.vector.load());
  common.queue_enable.set(queue.enabled ? 1 : 0);
  common.queue_notify_off.set(queue_select_);
  common.queue_desc.set(queue.descriptor_area);
  common.queue_driver.set(queue.driver_area);
  common.queue_device.set(queue.device_area);
  common.queue_reset.set(queue.resetting ? 1 : 0);
}

void CommonConfig::set_register(std::uint32_t offset, std::uint64_t value) {
  switch (offset) {
    case offsetof(Common, device_feature_select):
      device_feature_select_ = static_cast<std::uint32_t>(value);
      return;
    case offsetof(Common, driver_feature_select):
      driver_feature_select_ = static_cast<std::uint32_t>(value);
      return;
    case offsetof(Common, driver_feature):
      set_driver_feature(static_cast<std::uint32_t>(value));
      return;
    case offsetof(Common, config_msix_vector):
      config_vector_.store(checked_vector(value));
      return;
    case offsetof(Common, device_status):
      owner_.write_status(static_cast<std::uint8_t>(value));
      return;
    case offsetof(Common, queue_select):
      queue_select_ = static_cast<std::uint16_t>(value);
      return;
    default:
      if (queue_size_max(queue_select_) != 0) set_queue_register(offset, value);
  }
}

void CommonConfig::set_queue_register(std::uint32_t offset, std::uint64_t value) {
  Queue& queue = queues_[queue_select_];
  // The vector alone may change while the queue runs.
  if (offset == offsetof(Common, queue_msix_vector)) {
    queue.vector.store(checked_vector(value));
    return;
  }
  if (offset == offsetof(Common, queue_reset)) {
    if (value == 1) owner_.write_queue_reset(queue_select_);
    return;
  }
  if (queue.enabled) return;
  switch (offset) {
    case offsetof(Common, queue_size):
      queue.size = static_cast<std::uint16_t>(value);
      return;
    case offsetof(Common, queue_enable):
      if (value == 1) owner_.write_queue_enable(queue_select_);
      return;
    case offsetof(Common, queue_desc):
      queue.descriptor_area = value;
      return;
    case offsetof(Common, queue_driver):
      queue.driver_area = value;
      return;
    case offsetof(Common, queue_device):
      queue.device_area = value;
      return;
    default:
      return;
  }
}

// What was agreed stays agreed. VIRTIO 1.3, 3.1.1: no new feature bits after FEATURES_OK.
void CommonConfig::set_driver_feature(std::uint32_t value) {
  if ((owner_.device_status() & spec::VIRTIO_CONFIG_S_FEATURES_OK) != 0) return;
  if (driver_feature_select_ < kFeatureWords) driver_features_[driver_feature_select_] = value;
}

std::uint16_t CommonConfig::checked_vector(std::uint64_t value) const {
  // A vector that can't be had reads back as none. VIRTIO 1.3, 4.1.5.1.2.1.
  return value < options_.vectors ? static_cast<std::uint16_t>(value) : spec::VIRTIO_MSI_NO_VECTOR;
}

std::uint64_t CommonConfig::accepted() const {
  return std::uint64_t{driver_features_[1]} << 32 | driver_features_[0];
}

bool CommonConfig::accepted_beyond() const {
  return (driver_features_[2] | driver_features_[3]) != 0;
}

std::uint16_t CommonConfig::queue_count() const {
  return static_cast<std::uint16_t>(queues_.size());
}

std::uint16_t CommonConfig::queue_size_max(std::uint16_t queue) const {
  return queue < queues_.size() ? options_.queue_sizes[queue] : 0;
}

QueueSetup CommonConfig::queue(std::uint16_t queue) const {
  CHECK(queue < queues_.size());
  const Queue& registers = queues_[queue];
  return {.index = queue,
          .size = registers.size,
          .descriptor_area = window::DriverAddress{registers.descriptor_area},
          .driver_area = window::DriverAddress{registers.driver_area},
          .device_area = window::DriverAddress{registers.device_area}};
}

bool CommonConfig::queue_enabled(std::uint16_t queue) const {
  return queue < queues_.size() && queues_[queue].enabled;
}

void CommonConfig::set_queue_enabled(std::uint16_t queue) {
  CHECK(queue < queues_.size());
  queues_[queue].enabled = true;
  queues_[queue].was_reset = false;
}

void CommonConfig::begin_queue_reset(std::uint16_t queue) {
  CHECK(queue_enabled(queue));
  queues_[queue].resetting = true;
}

void CommonConfig::finish_queue_reset(std::uint16_t queue) {
  CHECK(queue_resetting(queue));
  reset_registers(queue);
  queues_[queue].was_reset = true;
}

bool CommonConfig::queue_resetting(std::uint16_t queue) const {
  return queue < queues_.size() && queues_[queue].resetting;
}

bool CommonConfig::queue_was_reset(std::uint16_t queue) const {
  return queue < queues_.size() && queues_[queue].was_reset;
}

std::uint16_t CommonConfig::queue_vector(std::uint16_t queue) const {
  CHECK(queue < queues_.size());
  return queues_[queue].vector.load();
}

}  // namespace airlock::pci
