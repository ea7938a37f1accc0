// SPDX-License-Identifier: Apache-2.0
#include "pci/test_device.h"

#include <algorithm>

namespace airlock::pci {

namespace {
constexpr std::uint8_t kBegun = spec::VIRTIO_CONFIG_S_ACKNOWLEDGE | spec::VIRTIO_CONFIG_S_DRIVER;
}

void RecordingModel::read_config(std::uint32_t offset, std::span<std::byte> target) const {
  CHECK(airlock_range_within(offset, target.size(), config.size()));
  std::ranges::copy(std::span(config).subspan(offset, target.size()), target.begin());
}

void RecordingModel::write_config(std::uint32_t offset, std::span<const std::byte> source) {
  CHECK(airlock_range_within(offset, source.size(), config.size()));
  std::ranges::copy(source, config.begin() + offset);
}

Result<void> RecordingModel::start(const Negotiated& negotiated,
                                   std::span<const QueueSetup> setups) {
  if (start_error) return fail(*start_error);
  CHECK(starts.size() == stops);
  starts.push_back(negotiated);
  queues.assign(setups.begin(), setups.end());
  return {};
}

void RecordingModel::stop(std::function<void()> done) {
  CHECK(starts.size() == stops + 1);
  ++stops;
  if (stop_later) {
    stop_done_ = std::move(done);
  } else {
    done();
  }
}

void RecordingModel::reset_queue(std::uint16_t queue, std::function<void()> done) {
  CHECK(starts.size() == stops + 1);
  CHECK(std::erase_if(queues, [=](const QueueSetup& setup) { return setup.index == queue; }) == 1);
  queue_resets.push_back(queue);
  reset_done_.push_back(std::move(done));
  if (!stop_later) finish_queue_resets();
}

Result<void> RecordingModel::start_queue(const Negotiated& negotiated, const QueueSetup& setup) {
  if (start_error) return fail(*start_error);
  CHECK(starts.size() == stops + 1 && negotiated.features == starts.back().features);
  CHECK(std::ranges::find(queues, setup.index, &QueueSetup::index) == queues.end());
  queues.push_back(setup);
  return {};
}

void RecordingModel::finish_stop() {
  finish_queue_resets();
  std::exchange(stop_done_, nullptr)();
}

void RecordingModel::finish_queue_resets() {
  for (const auto& done : std::exchange(reset_done_, {}))
    done();
}

TestDevice::TestDevice(const VirtioPciDevice::Options& options,
                       std::unique_ptr<RecordingModel> with)
    : memfd(MUST(shm::SealedMemfd::create({.size = kRegionSize}))),
      mapping(MUST(memfd.map())),
      window(mapping.bytes()),
      model_owner(std::move(with)),
      model(*model_owner),
      device(MUST(VirtioPciDevice::create(options, model, window))) {}

std::uint8_t TestDevice::status() {
  return read<std::uint8_t>(kRegistersBar, offsetof(spec::VirtioPciCommonCfg, device_status));
}

void TestDevice::set_status(std::uint8_t status) {
  write<std::uint8_t>(kRegistersBar, offsetof(spec::VirtioPciCommonCfg, device_status), status);
}

std::uint64_t TestDevice::offered() {
  std::uint64_t features = 0;
  for (std::uint32_t word = 0; word < 2; ++word) {
    write<std::uint32_t>(kRegistersBar, offsetof(spec::VirtioPciCommonCfg, device_feature_select),
                         word);
    const std::uint64_t bits =
        read<std::uint32_t>(kRegistersBar, offsetof(spec::VirtioPciCommonCfg, device_feature));
    features |= bits << (32 * word);
  }
  return features;
}

void TestDevice::accept(std::uint64_t features) {
  for (std::uint32_t word = 0; word < 2; ++word) {
    write<std::uint32_t>(kRegistersBar, offsetof(spec::VirtioPciCommonCfg, driver_feature_select),
                         word);
    write<std::uint32_t>(kRegistersBar, offsetof(spec::VirtioPciCommonCfg, driver_feature),
                         static_cast<std::uint32_t>(features >> (32 * word)));
  }
}

void TestDevice::select(std::uint16_t queue) {
  write<std::uint16_t>(kRegistersBar, offsetof(spec::VirtioPciCommonCfg, queue_select), queue);
}

bool TestDevice::enabled(std::uint16_t queue) {
  select(queue);
  return read<std::uint16_t>(kRegistersBar, offsetof(spec::VirtioPciCommonCfg, queue_enable)) == 1;
}

void TestDevice::reset_queue(std::uint16_t queue) {
  select(queue);
  write<std::uint16_t>(kRegistersBar, offsetof(spec::VirtioPciCommonCfg, queue_reset), 1);
}

bool TestDevice::resetting(std::uint16_t queue) {
  select(queue);
  return read<std::uint16_t>(kRegistersBar, offsetof(spec::VirtioPciCommonCfg, queue_reset)) == 1;
}

bool TestDevice::negotiate(std::uint64_t features) {
  set_status(spec::VIRTIO_CONFIG_S_ACKNOWLEDGE);
  set_status(kBegun);
  accept(features);
  set_status(kBegun | spec::VIRTIO_CONFIG_S_FEATURES_OK);
  return (status() & spec::VIRTIO_CONFIG_S_FEATURES_OK) != 0;
}

bool TestDevice::enable_queue(const QueueSetup& queue) {
  const auto put_address = [&](std::uint64_t offset, window::DriverAddress address) {
    const std::uint64_t value = std::to_underlying(address);
    write<std::uint32_t>(kRegistersBar, offset, static_cast<std::uint32_t>(value));
    write<std::uint32_t>(kRegistersBar, offset + 4, static_cast<std::uint32_t>(value >> 32));
  };
  select(queue.index);
  write<std::uint16_t>(kRegistersBar, offsetof(spec::VirtioPciCommonCfg, queue_size), queue.size);
  put_address(offsetof(spec::VirtioPciCommonCfg, queue_desc), queue.descriptor_area);
  put_address(offsetof(spec::VirtioPciCommonCfg, queue_driver), queue.driver_area);
  put_address(offsetof(spec::VirtioPciCommonCfg, queue_device), queue.device_area);
  write<std::uint16_t>(kRegistersBar, offsetof(spec::VirtioPciCommonCfg, queue_enable), 1);
  return enabled(queue.index);
}

QueueSetup TestDevice::good_queue(std::uint16_t index) {
  const window::Publisher publisher{.mode = device->negotiated().mode,
                                    .region = window.region_bus_base()};
  const std::uint64_t start = 0x1000 + index * std::uint64_t{0x4000};
  return {.index = index,
          .size = model.queue_sizes[index],
          .descriptor_area = publisher.publish(window::RegionOffset{start}),
          .driver_area = publisher.publish(window::RegionOffset{start + 0x1000}),
          .device_area = publisher.publish(window::RegionOffset{start + 0x2000})};
}

void TestDevice::driver_ok() {
  set_status(kBegun | spec::VIRTIO_CONFIG_S_FEATURES_OK | spec::VIRTIO_CONFIG_S_DRIVER_OK);
}

void TestDevice::place_region(std::uint64_t address) {
  write<std::uint32_t>(kConfigRegion, spec::PCI_BASE_ADDRESS_0 + 4 * kRegionBar,
                       static_cast<std::uint32_t>(address));
  write<std::uint32_t>(kConfigRegion, spec::PCI_BASE_ADDRESS_0 + 4 * kRegionBar + 4,
                       static_cast<std::uint32_t>(address >> 32));
  write<std::uint16_t>(kConfigRegion, spec::PCI_COMMAND,
                       spec::PCI_COMMAND_MEMORY | spec::PCI_COMMAND_MASTER);
}

BarSizes TestDevice::bar_sizes() const {
  BarSizes sizes{};
  for (unsigned bar = 0; bar < sizes.size(); ++bar) {
    sizes[bar] = device->region_info(bar).size;
  }
  return sizes;
}

}  // namespace airlock::pci
