// SPDX-License-Identifier: Apache-2.0
#include "pci/virtio_pci_device.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/check.h"
#include "base/checked.h"
#include "core/range.h"
#include "pci/queue_areas.h"
#include "pci/violation.h"
#include "spec/virtio.h"

namespace airlock::pci {

namespace {

constexpr const char* kNoKey = "no algorithm or no whole key to encrypt it with";

/// The part of an access that falls on one structure.
struct Overlap {
  std::uint32_t inside = 0;  // offset in the structure
  std::size_t skip = 0;      // bytes of the access before it
  std::size_t length = 0;    // 0: none

  explicit operator bool() const { return length != 0; }
};

// Both ranges are inside a BAR of ours, so the sums are small.
Overlap overlap(std::uint64_t offset, std::size_t size, std::uint32_t start, std::uint32_t bytes) {
  const std::uint64_t first = std::max<std::uint64_t>(offset, start);
  const std::uint64_t last = std::min(offset + size, std::uint64_t{start} + bytes);
  if (first >= last) return {};
  return {.inside = static_cast<std::uint32_t>(first - start),
          .skip = first - offset,
          .length = last - first};
}

}  // namespace

VirtioPciDevice::~VirtioPciDevice() = default;

// --- accesses ---

Result<void> VirtioPciDevice::read(unsigned region, std::uint64_t offset,
                                   std::span<std::byte> target) {
  if (!airlock_range_within(offset, target.size(), region_info(region).size)) {
    return fail({.code = Errc::kOutOfRange,
                 .detail = saturate<std::uint32_t>(target.size()),
                 .address = offset});
  }
  if (region == kConfigRegion) {
    read_config_region(static_cast<std::uint16_t>(offset), target);
  } else {
    read_bar(region, offset, target);
  }
  return {};
}

Result<void> VirtioPciDevice::write(unsigned region, std::uint64_t offset,
                                    std::span<const std::byte> source) {
  if (!airlock_range_within(offset, source.size(), region_info(region).size)) {
    return fail({.code = Errc::kOutOfRange,
                 .detail = saturate<std::uint32_t>(source.size()),
                 .address = offset});
  }
  if (region == kConfigRegion) {
    write_config_region(static_cast<std::uint16_t>(offset), source);
  } else {
    write_bar(region, offset, source);
  }
  return {};
}

void VirtioPciDevice::read_bar(unsigned bar, std::uint64_t offset, std::span<std::byte> target) {
  switch (bar) {
    case kRegistersBar:
      return read_registers(offset, target);
    case kMsixBar:
      return msix_table_.read(offset, target);
    case kRegionBar:
      return window_.region().copy_out(offset, target);
    default:
      return;  // size 0: nothing was asked for
  }
}

void VirtioPciDevice::write_bar(unsigned bar, std::uint64_t offset,
                                std::span<const std::byte> source) {
  switch (bar) {
    case kRegistersBar:
      return write_registers(offset, source);
    case kMsixBar:
      return msix_table_.write(offset, source);
    case kRegionBar:
      return window_.region().copy_in(offset, source);
    default:
      return;
  }
}

void VirtioPciDevice::read_config_region(std::uint16_t offset, std::span<std::byte> target) {
  constexpr std::uint32_t kData = offsetof(spec::VirtioPciCfgCap, pci_cfg_data);
  if (overlap(offset, target.size(), window_capability_ + kData, 4)) access_window(false);
  config_.read(offset, target);
}

void VirtioPciDevice::write_config_region(std::uint16_t offset, std::span<const std::byte> source) {
  constexpr std::uint32_t kData = offsetof(spec::VirtioPciCfgCap, pci_cfg_data);
  config_.write(offset, source);
  follow_region_bar();
  if (overlap(offset, source.size(), window_capability_ + kData, 4)) access_window(true);
}

// The window through configuration space. VIRTIO 1.3, 4.1.4.9.1: an access to pci_cfg_data is one
// of cap.length bytes at cap.offset in cap.bar. What the driver may not ask for reads 0, and is not
// written.
void VirtioPciDevice::access_window(bool write) {
  spec::VirtioPciCfgCap access{};
  config_.read(window_capability_, std::as_writable_bytes(std::span(&access, 1)));
  const std::uint32_t offset = access.cap.offset.get();
  const std::uint32_t length = access.cap.length.get();
  const unsigned bar = access.cap.bar;
  const bool sized = length == 1 || length == 2 || length == 4;
  const bool valid = sized && airlock_is_aligned(offset, length) &&
                     airlock_range_within(offset, length, config_.bar_size(bar));
  if (write) {
    const auto data = std::as_bytes(std::span(access.pci_cfg_data));
    if (valid) write_bar(bar, offset, data.first(length));
    return;
  }
  std::array<std::byte, sizeof access.pci_cfg_data> data{};
  if (valid) read_bar(bar, offset, std::span(data).first(length));
  config_.set(static_cast<std::uint16_t>(window_capability_ +
                                         offsetof(spec::VirtioPciCfgCap, pci_cfg_data)),
              data);
}

// SYS-2, DMB-D10: the bus address that descriptors are measured against is where the BAR is now.
void VirtioPciDevice::follow_region_bar() {
  const auto address = config_.bar_address(kRegionBar);
  const window::BusAddress now = address ? window::BusAddress{*address} : window::Window::kUnplaced;
  if (now == window_.region_bus_base()) return;
  window_.set_region_bus_base(now);
  model_.region_moved();
}

void VirtioPciDevice::read_registers(std::uint64_t offset, std::span<std::byte> target) {
  std::ranges::fill(target, std::byte{0});
  if (const auto part = overlap(offset, target.size(), kCommonOffset, common_.length())) {
    common_.read(part.inside, target.subspan(part.skip, part.length));
  }
  if (const auto part = overlap(offset, target.size(), kIsrOffset, 1)) {
    target[part.skip] = std::byte{isr_.exchange(0)};  // VIRTIO 1.3, 4.1.4.5.1: reading clears it
  }
  if (const auto part = overlap(offset, target.size(), kDeviceConfigOffset, model_.config_size())) {
    model_.read_config(part.inside, target.subspan(part.skip, part.length));
  }
  if (!encryption_) return;
  if (const auto part =
          overlap(offset, target.size(), kEncryptionOffset, EncryptionConfig::kLength)) {
    encryption_->read(part.inside, target.subspan(part.skip, part.length));
  }
}

void VirtioPciDevice::write_registers(std::uint64_t offset, std::span<const std::byte> source) {
  if (const auto part = overlap(offset, source.size(), kCommonOffset, common_.length())) {
    common_.write(part.inside, source.subspan(part.skip, part.length));
    constexpr std::uint32_t kVector = offsetof(spec::VirtioPciCommonCfg, queue_msix_vector);
    if (overlap(part.inside, part.length, kVector, sizeof(Le16))) model_.vectors_changed();
  }
  if (const auto part = overlap(offset, source.size(), kDeviceConfigOffset, model_.config_size())) {
    model_.write_config(part.inside, source.subspan(part.skip, part.length));
  }
  if (offset >= kNotifyOffset && offset < kRegistersSize && !source.empty()) {
    notify(offset - kNotifyOffset);
  }
  if (!encryption_) return;
  if (const auto part =
          overlap(offset, source.size(), kEncryptionOffset, EncryptionConfig::kLength)) {
    encryption_->write(part.inside, source.subspan(part.skip, part.length));
  }
}

// Each queue has an address of its own, so the address says which one. The value is not looked at,
// also where it is notification data (VIRTIO 1.3, 2.9, 4.1.5.2): what is available, the ring says,
// and is checked there. A number that is another queue's, or an index that is not the ring's, can
// thus neither be believed nor has it to be punished: at worst a worker looks in vain.
void VirtioPciDevice::notify(std::uint64_t offset) {
  if (!running_ || !airlock_is_aligned(offset, kNotifyMultiplier)) return;
  const auto queue = static_cast<std::uint16_t>(offset / kNotifyMultiplier);
  if (common_.queue_enabled(queue) && !common_.queue_resetting(queue)) model_.notify(queue);
}

// --- the life of the device: VIRTIO 1.3, 2.1 and 3.1 ---

void VirtioPciDevice::write_status(std::uint8_t value) {
  if (value == 0) return begin_reset();
  if (resetting_) return;
  const std::uint8_t before = status_.load();
  // A driver takes no bit away but by a reset, and DEVICE_NEEDS_RESET is not its to set (2.1.1).
  const auto added = static_cast<std::uint8_t>(value & ~before);
  constexpr std::uint8_t kDrivers = spec::VIRTIO_CONFIG_S_ACKNOWLEDGE |
                                    spec::VIRTIO_CONFIG_S_DRIVER | spec::VIRTIO_CONFIG_S_FAILED;
  status_.fetch_or(added & kDrivers);
  if ((added & spec::VIRTIO_CONFIG_S_FEATURES_OK) != 0) negotiate();
  // Not in the same write: a driver has to read FEATURES_OK back first (3.1.1, step 6).
  if ((added & spec::VIRTIO_CONFIG_S_DRIVER_OK) != 0 &&
      (before & spec::VIRTIO_CONFIG_S_FEATURES_OK) != 0) {
    status_.fetch_or(spec::VIRTIO_CONFIG_S_DRIVER_OK);
    start_model();
  }
}

void VirtioPciDevice::negotiate() {
  constexpr std::uint8_t kFirst = spec::VIRTIO_CONFIG_S_ACKNOWLEDGE | spec::VIRTIO_CONFIG_S_DRIVER;
  if ((status_.load() & kFirst) != kFirst) return;
  const std::uint64_t accepted = common_.accepted();
  const auto refused = [](Refusal why) {
    return fail({.code = Errc::kFeaturesRefused, .detail = std::to_underlying(why)});
  };
  auto judged = negotiation_.judge(accepted, common_.offered());
  if (common_.accepted_beyond()) judged = refused(Refusal::kNotOffered);
  if (judged && !model_.accepts(accepted)) judged = refused(Refusal::kByModel);
  if (!judged) {
    ++refusals_;
    if (log_limit_->allow()) {
      log(LogLevel::kWarning, "{}: {}", name_,
          describe_refusal(judged.error(), accepted, common_.offered(), negotiation_));
    }
    return;
  }
  negotiated_ = *judged;
  window_.configure(negotiated_.mode, negotiated_.reach);
  status_.fetch_or(spec::VIRTIO_CONFIG_S_FEATURES_OK);
}

void VirtioPciDevice::write_queue_enable(std::uint16_t queue) {
  const std::uint8_t now = status_.load();
  if (resetting_ || (now & spec::VIRTIO_CONFIG_S_NEEDS_RESET) != 0) return;
  if ((now & spec::VIRTIO_CONFIG_S_FEATURES_OK) == 0) {
    return violate({.code = Errc::kWrongState, .queue = queue}, "queue_enable");
  }
  // Queues are set up before DRIVER_OK (3.1.1, step 7), or after they were reset (2.6.1.2). It
  // reads back as what it is, not enabled.
  const bool late = (now & spec::VIRTIO_CONFIG_S_DRIVER_OK) != 0;
  if (late && !(running_ && common_.queue_was_reset(queue))) return;
  const auto fault =
      check_queue(common_.queue(queue), common_.queue_size_max(queue), negotiated_, window_);
  if (fault) return violate(fault->error, fault->what);
  if (late) {
    const auto setup = setup_of(queue);
    if (!setup) return violate(setup.error(), kNoKey);
    const auto started = model_.start_queue(negotiated_, *setup);
    if (!started) return violate(started.error(), "");
  }
  common_.set_queue_enabled(queue);
}

// VIRTIO 1.3, 2.6.1.1.1, 4.1.4.3.1. Also of a device that needs a reset: a driver that waits for
// queue_reset to read 0 takes its buffers back then, so nobody may be using them.
void VirtioPciDevice::write_queue_reset(std::uint16_t queue) {
  if (resetting_ || !negotiated_.has(spec::VIRTIO_F_RING_RESET)) return;
  if (!common_.queue_enabled(queue) || common_.queue_resetting(queue)) return;
  common_.begin_queue_reset(queue);
  model_.forget_queue(queue);
  if (!running_) return finish_queue_reset(queue);
  // A reset of the device that follows ends after this: the registers are still the ones meant.
  model_.reset_queue(queue, [this, queue, alive = std::weak_ptr<bool>(alive_)] {
    if (!alive.expired()) finish_queue_reset(queue);
  });
}

void VirtioPciDevice::finish_queue_reset(std::uint16_t queue) {
  common_.finish_queue_reset(queue);
  if (encryption_) encryption_->reset_queue(queue);  // ENC-4
}

// ENC-3: with features agreed upon, before DRIVER_OK; later only of a queue that was reset by
// itself, until it is enabled.
bool VirtioPciDevice::encryption_open(std::uint16_t queue) const {
  const std::uint8_t now = status_.load();
  if (resetting_ || (now & spec::VIRTIO_CONFIG_S_FEATURES_OK) == 0) return false;
  if ((now & spec::VIRTIO_CONFIG_S_DRIVER_OK) == 0) return true;
  return common_.queue_was_reset(queue);
}

/// What a queue is started with.
Result<QueueSetup> VirtioPciDevice::setup_of(std::uint16_t queue) {
  QueueSetup setup = common_.queue(queue);
  if (encryption_) setup.secret = TRY(encryption_->take(queue));
  return setup;
}

void VirtioPciDevice::start_model() {
  const std::uint8_t now = status_.load();
  if ((now & spec::VIRTIO_CONFIG_S_NEEDS_RESET) != 0) {
    return signal_config();  // once more: from DRIVER_OK on the driver has to listen (2.1.2)
  }
  if ((now & spec::VIRTIO_CONFIG_S_FAILED) != 0) return;
  std::vector<QueueSetup> queues;
  for (std::uint16_t queue = 0; queue < common_.queue_count(); ++queue) {
    if (!common_.queue_enabled(queue)) continue;
    auto setup = setup_of(queue);
    if (!setup) return violate(setup.error(), kNoKey);
    queues.push_back(std::move(*setup));
  }
  const auto started = model_.start(negotiated_, queues);
  if (!started) return violate(started.error(), "");
  running_ = true;
}

void VirtioPciDevice::reset(std::function<void()> done) {
  config_.reset();
  msix_table_.reset();
  if (done) when_reset_.push_back(std::move(done));
  begin_reset();
}

// Until the model has stopped, device_status keeps what it had, which is not 0: that is what a
// driver waits for. VIRTIO 1.3, 2.4.1, 4.1.4.3.1.
void VirtioPciDevice::begin_reset() {
  if (resetting_) return;
  resetting_ = true;
  for (std::uint16_t queue = 0; queue < common_.queue_count(); ++queue)
    model_.forget_queue(queue);
  if (!running_) return finish_reset();
  running_ = false;
  model_.stop([this, alive = std::weak_ptr<bool>(alive_)] {
    if (!alive.expired()) finish_reset();
  });
}

// The device forgets all addresses (DEF-7). The region keeps its bytes.
void VirtioPciDevice::finish_reset() {
  CHECK(resetting_);
  resetting_ = false;
  common_.reset();
  if (encryption_) encryption_->reset();
  negotiated_ = {};
  window_.configure(window::AddressMode::kBus, window::Reach::kNothing);
  follow_region_bar();
  isr_.store(0);
  vectors_.clear_pending();
  status_.store(0);
  for (const auto& done : std::exchange(when_reset_, {})) {
    done();
  }
}

// --- from any thread ---

void VirtioPciDevice::interrupt_queue(std::uint16_t queue) {
  isr_.fetch_or(spec::VIRTIO_PCI_ISR_QUEUE);
  vectors_.fire(common_.queue_vector(queue));
}

Result<Fd> VirtioPciDevice::queue_eventfd(std::uint16_t queue) {
  return vectors_.eventfd(common_.queue_vector(queue));
}

void VirtioPciDevice::interrupt_config() {
  generation_.fetch_add(1);
  if ((status_.load() & spec::VIRTIO_CONFIG_S_DRIVER_OK) != 0) signal_config();
}

void VirtioPciDevice::signal_config() {
  isr_.fetch_or(spec::VIRTIO_PCI_ISR_CONFIG);
  vectors_.fire(common_.config_vector());
}

void VirtioPciDevice::report_violation(const Error& error) {
  violate(error, "");
}

void VirtioPciDevice::violate(const Error& error, const char* what) {
  ++violations_;
  const std::uint8_t before = status_.fetch_or(spec::VIRTIO_CONFIG_S_NEEDS_RESET);
  // The first says it all; what follows until the reset follows from it.
  if ((before & spec::VIRTIO_CONFIG_S_NEEDS_RESET) != 0) return;
  if (log_limit_->allow()) {
    log(LogLevel::kWarning, "{}: {}", name_,
        describe_violation(
            error, what,
            {.negotiation = negotiation_, .negotiated = negotiated_, .window = window_}));
  }
  signal_config();
}

}  // namespace airlock::pci
