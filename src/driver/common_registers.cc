// SPDX-License-Identifier: Apache-2.0
#include "driver/common_registers.h"

#include <cstddef>
#include <utility>

namespace airlock::driver {

using Cfg = spec::VirtioPciCommonCfg;

template <class T>
Result<T> CommonRegisters::read(std::size_t offset) {
  const std::uint64_t value = TRY(transport_->read(
      {.bar = place_.bar, .offset = place_.offset + offset, .width = Width{sizeof(T)}}));
  return static_cast<T>(value);
}

template <class T>
Result<void> CommonRegisters::write(std::size_t offset, T value) {
  return transport_->write(
      {.bar = place_.bar, .offset = place_.offset + offset, .width = Width{sizeof(T)}}, value);
}

Result<std::uint64_t> CommonRegisters::offered_features() {
  std::uint64_t features = 0;
  for (std::uint32_t word = 0; word < 2; word++) {
    TRY(write<std::uint32_t>(offsetof(Cfg, device_feature_select), word));
    const std::uint64_t bits = TRY(read<std::uint32_t>(offsetof(Cfg, device_feature)));
    features |= bits << (32 * word);
  }
  return features;
}

Result<void> CommonRegisters::write_accepted_features(std::uint64_t features) {
  for (std::uint32_t word = 0; word < 2; word++) {
    TRY(write<std::uint32_t>(offsetof(Cfg, driver_feature_select), word));
    TRY(write(offsetof(Cfg, driver_feature), static_cast<std::uint32_t>(features >> (32 * word))));
  }
  return {};
}

Result<std::uint8_t> CommonRegisters::status() {
  return read<std::uint8_t>(offsetof(Cfg, device_status));
}

Result<void> CommonRegisters::write_status(std::uint8_t status) {
  return write(offsetof(Cfg, device_status), status);
}

Result<std::uint8_t> CommonRegisters::config_generation() {
  return read<std::uint8_t>(offsetof(Cfg, config_generation));
}

Result<std::uint16_t> CommonRegisters::queue_count() {
  return read<std::uint16_t>(offsetof(Cfg, num_queues));
}

Result<std::uint16_t> CommonRegisters::set_config_vector(std::uint16_t vector) {
  TRY(write(offsetof(Cfg, config_msix_vector), vector));
  return read<std::uint16_t>(offsetof(Cfg, config_msix_vector));
}

Result<void> CommonRegisters::select_queue(std::uint16_t queue) {
  return write(offsetof(Cfg, queue_select), queue);
}

Result<std::uint16_t> CommonRegisters::queue_size() {
  return read<std::uint16_t>(offsetof(Cfg, queue_size));
}

Result<void> CommonRegisters::write_queue_size(std::uint16_t size) {
  return write(offsetof(Cfg, queue_size), size);
}

Result<std::uint16_t> CommonRegisters::queue_notify_off() {
  return read<std::uint16_t>(offsetof(Cfg, queue_notify_off));
}

Result<std::uint16_t> CommonRegisters::set_queue_vector(std::uint16_t vector) {
  TRY(write(offsetof(Cfg, queue_msix_vector), vector));
  return read<std::uint16_t>(offsetof(Cfg, queue_msix_vector));
}

Result<void> CommonRegisters::write_queue_areas(const ring::QueueAreas& areas) {
  const auto put = [&](std::size_t offset, window::DriverAddress address) -> Result<void> {
    const std::uint64_t value = std::to_underlying(address);
    TRY(write(offset, static_cast<std::uint32_t>(value)));
    return write(offset + 4, static_cast<std::uint32_t>(value >> 32));
  };
  TRY(put(offsetof(Cfg, queue_desc), areas.descriptors));
  TRY(put(offsetof(Cfg, queue_driver), areas.driver));
  return put(offsetof(Cfg, queue_device), areas.device);
}

Result<std::uint16_t> CommonRegisters::queue_enable() {
  return read<std::uint16_t>(offsetof(Cfg, queue_enable));
}

Result<void> CommonRegisters::write_queue_enable() {
  return write<std::uint16_t>(offsetof(Cfg, queue_enable), 1);
}

Result<std::uint16_t> CommonRegisters::queue_reset() {
  return read<std::uint16_t>(offsetof(Cfg, queue_reset));
}

Result<void> CommonRegisters::write_queue_reset() {
  return write<std::uint16_t>(offsetof(Cfg, queue_reset), 1);
}

bool CommonRegisters::has_queue_reset() const {
  constexpr std::uint64_t kEnd = offsetof(Cfg, queue_reset) + sizeof(Le16);
  return place_.length >= kEnd;
}

bool CommonRegisters::has_dmb_shm_id() const {
  constexpr std::uint64_t kEnd = offsetof(spec::VirtioPciCommonCfgDmb, dmb_shm_id) + sizeof(Le16);
  return place_.length >= kEnd;
}

Result<std::uint16_t> CommonRegisters::dmb_shm_id() {
  return read<std::uint16_t>(offsetof(spec::VirtioPciCommonCfgDmb, dmb_shm_id));
}

}  // namespace airlock::driver
