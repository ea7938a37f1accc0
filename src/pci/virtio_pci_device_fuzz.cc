// SPDX-License-Identifier: Apache-2.0
//
// A driver that makes accesses of its own choice: raw ones, and the steps of a real initialisation
// in any order with any numbers. After each, what must always hold does:
//   - the model runs only between DRIVER_OK and a reset, and only what was checked at queue enable;
//   - FEATURES_OK means that the rules of the policy were kept, and the window is no wider;
//   - a queue that is enabled had areas inside the window; enabled registers do not change;
//   - a queue that the driver reset is the model's until queue_reset reads 0, and no longer;
//   - DEVICE_NEEDS_RESET stays until a reset, and status reads 0 only when nothing runs.
#include <fuzzer/FuzzedDataProvider.h>

#include <algorithm>
#include <array>

#include "base/check.h"
#include "base/log.h"
#include "pci/test_device.h"

namespace airlock::pci {
namespace {

class Session {
 public:
  explicit Session(FuzzedDataProvider& input)
      : input_(input), options_(choose(input)), device_(options_, model(input)) {
    device_.model.stop_later = input.ConsumeBool();
    if (input.ConsumeBool()) device_.place_region(TestDevice::kBusBase);
  }

  void run() {
    for (int i = 0; i < 400 && input_.remaining_bytes() > 0; ++i) {
      step();
      check();
    }
    if (device_.model.stopping()) device_.model.finish_stop();
    check();
  }

 private:
  static VirtioPciDevice::Options choose(FuzzedDataProvider& input) {
    VirtioPciDevice::Options options;
    options.negotiation.policy =
        input.PickValueInArray({DmaPolicy::kRequire, DmaPolicy::kPrefer, DmaPolicy::kOpen});
    options.negotiation.offer = input.PickValueInArray({AddressOffer::kBus, AddressOffer::kOffset});
    return options;
  }
  static std::unique_ptr<RecordingModel> model(FuzzedDataProvider& input) {
    auto made = std::make_unique<RecordingModel>();
    made->own_features = input.ConsumeIntegral<std::uint64_t>();
    made->config.resize(input.ConsumeIntegralInRange<std::size_t>(0, 4096));
    if (input.ConsumeIntegralInRange<int>(0, 15) == 0) {
      made->start_error = Error{.code = Errc::kAddressOutside, .queue = 0};
    }
    return made;
  }

  void step() {
    switch (input_.ConsumeIntegralInRange<int>(0, 12)) {
      case 0:
        return raw_access();
      case 1:
        return device_.set_status(input_.ConsumeIntegral<std::uint8_t>());
      case 2:
        return static_cast<void>(device_.negotiate(
            input_.ConsumeBool() ? device_.offered() : input_.ConsumeIntegral<std::uint64_t>()));
      case 3:
        return enable();
      case 4:
        return device_.driver_ok();
      case 5:
        return device_.place_region(input_.ConsumeBool() ? TestDevice::kBusBase
                                                         : input_.ConsumeIntegral<std::uint64_t>());
      case 6:
        return device_.write<std::uint16_t>(kRegistersBar,
                                            kNotifyOffset + kNotifyMultiplier * small(), 0);
      case 7:
        if (device_.model.stopping()) return device_.model.finish_stop();
        return device_.model.finish_queue_resets();
      case 8:
        return device_.device->reset();
      case 9:
        return use_window();
      case 10:
        return device_.reset_queue(static_cast<std::uint16_t>(small() % 2));
      case 11:
        if (device_.device->running()) {
          device_.device->report_violation({.code = Errc::kBadIndex, .queue = 0});
          CHECK((device_.status() & spec::VIRTIO_CONFIG_S_NEEDS_RESET) != 0);
        }
        return;
      default:
        device_.device->interrupt_queue(static_cast<std::uint16_t>(small() % 2));
        return device_.device->interrupt_config();
    }
  }

  std::uint32_t small() { return input_.ConsumeIntegralInRange<std::uint32_t>(0, 3); }

  void raw_access() {
    const auto region = input_.ConsumeIntegralInRange<unsigned>(0, 9);
    const std::uint64_t offset = input_.ConsumeBool()
                                     ? input_.ConsumeIntegralInRange<std::uint64_t>(0, 0x3fff)
                                     : input_.ConsumeIntegral<std::uint64_t>();
    std::vector<std::byte> bytes(input_.ConsumeIntegralInRange<std::size_t>(0, 64));
    const std::uint64_t size = device_.device->region_info(region).size;
    const bool inside = airlock_range_within(offset, bytes.size(), size);
    if (input_.ConsumeBool()) {
      CHECK(device_.device->read(region, offset, bytes).has_value() == inside);
      return;
    }
    const auto content = input_.ConsumeBytes<std::uint8_t>(bytes.size());
    std::ranges::transform(content, bytes.begin(), [](std::uint8_t b) { return std::byte{b}; });
    CHECK(device_.device->write(region, offset, bytes).has_value() == inside);
  }

  void enable() {
    QueueSetup queue = device_.good_queue(static_cast<std::uint16_t>(small() % 2));
    if (input_.ConsumeBool()) {
      queue.size = input_.ConsumeIntegral<std::uint16_t>();
      queue.descriptor_area = window::DriverAddress{input_.ConsumeIntegral<std::uint64_t>()};
      queue.device_area = window::DriverAddress{input_.ConsumeIntegral<std::uint64_t>()};
    }
    static_cast<void>(device_.enable_queue(queue));
  }

  void use_window() {
    std::uint8_t at = device_.read<std::uint8_t>(kConfigRegion, spec::PCI_CAPABILITY_LIST);
    while (at != 0 &&
           device_.read<std::uint8_t>(kConfigRegion, at + 3U) != spec::VIRTIO_PCI_CAP_PCI_CFG) {
      at = device_.read<std::uint8_t>(kConfigRegion, at + 1U);
    }
    CHECK(at != 0);
    device_.write<std::uint8_t>(kConfigRegion, at + 4U, input_.ConsumeIntegral<std::uint8_t>());
    device_.write<std::uint32_t>(kConfigRegion, at + 8U, input_.ConsumeIntegral<std::uint32_t>());
    device_.write<std::uint32_t>(kConfigRegion, at + 12U,
                                 input_.ConsumeIntegralInRange<std::uint32_t>(0, 8));
    if (input_.ConsumeBool()) {
      device_.write<std::uint32_t>(kConfigRegion, at + 16U,
                                   input_.ConsumeIntegral<std::uint32_t>());
    } else {
      static_cast<void>(device_.read<std::uint32_t>(kConfigRegion, at + 16U));
    }
  }

  void check() {
    const std::uint8_t status = device_.status();
    const Negotiated& agreed = device_.device->negotiated();
    const RecordingModel& model = device_.model;
    CHECK(model.starts.size() - model.stops == (device_.device->running() ? 1U : 0U));
    if (device_.device->running()) CHECK((status & spec::VIRTIO_CONFIG_S_DRIVER_OK) != 0);
    if (status == 0) CHECK(!device_.device->running() && !model.stopping());
    if (model.stopping()) CHECK(status != 0);
    if ((status & spec::VIRTIO_CONFIG_S_DRIVER_OK) != 0)
      CHECK((status & spec::VIRTIO_CONFIG_S_FEATURES_OK) != 0);

    CHECK(device_.window.mode() == agreed.mode && device_.window.reach() == agreed.reach);
    if ((status & spec::VIRTIO_CONFIG_S_FEATURES_OK) == 0) {
      CHECK(agreed.reach == window::Reach::kNothing);
    } else {
      check_agreed(agreed);
    }
    if (model.notified.size() > 64) device_.model.notified.clear();
    CHECK(device_.device->region_info(kConfigRegion).size == ConfigSpace::kSize);
  }

  void check_agreed(const Negotiated& agreed) {
    const bool bus = options_.negotiation.offer == AddressOffer::kBus;
    const unsigned bit = bus ? spec::VIRTIO_F_SWIOTLB : spec::VIRTIO_F_DMB;
    CHECK(agreed.has(spec::VIRTIO_F_VERSION_1));
    if (agreed.reach == window::Reach::kRegion) {
      CHECK(agreed.has(bit));
      CHECK(options_.negotiation.policy != DmaPolicy::kOpen);
      CHECK((agreed.mode == window::AddressMode::kBus) == bus);
      if (!bus) CHECK(agreed.has(spec::VIRTIO_F_ACCESS_PLATFORM));
    } else {
      CHECK(options_.negotiation.policy != DmaPolicy::kRequire);
      CHECK(!agreed.has(bit));
      CHECK(agreed.mode == window::AddressMode::kBus);
    }
    if (!device_.device->running()) return;
    for (const std::uint16_t queue : {std::uint16_t{0}, std::uint16_t{1}}) {
      const bool runs = std::ranges::find(device_.model.queues, queue, &QueueSetup::index) !=
                        device_.model.queues.end();
      CHECK(device_.enabled(queue) == (runs || device_.resetting(queue)));
    }
    for (const QueueSetup& queue : device_.model.queues) {
      CHECK(queue.size != 0 && queue.size <= device_.model.queue_sizes[queue.index]);
      CHECK(device_.enabled(queue.index));
      if (agreed.mode == window::AddressMode::kOffset) {
        CHECK(
            device_.window.translate(queue.descriptor_area, queue.size * 16U, window::Access::kRead)
                .has_value());
      }
    }
  }

  FuzzedDataProvider& input_;
  VirtioPciDevice::Options options_;
  TestDevice device_;
};

}  // namespace
}  // namespace airlock::pci

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  airlock::set_log_level(airlock::LogLevel::kError);
  FuzzedDataProvider input(data, size);
  airlock::pci::Session(input).run();
  return 0;
}
