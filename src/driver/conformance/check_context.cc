// SPDX-License-Identifier: Apache-2.0
#include "driver/conformance/check_context.h"

#include <algorithm>
#include <bitset>
#include <utility>

#include "base/check.h"
#include "core/range.h"
#include "driver/wait.h"
#include "spec/virtio_blk.h"

namespace airlock::driver::conformance {

namespace {

constexpr std::uint16_t kConfigVector = 0;
constexpr std::uint16_t kQueueVector = 1;
constexpr std::uint64_t kRegionBytesMax = std::uint64_t{1} << 30;

// Transitional ids count up from here by another order. VIRTIO 1.3, 4.1.2.1.
constexpr std::uint16_t kTransitionalFirst = 0x1000;
constexpr std::array<std::uint16_t, 10> kTransitionalTypes{1, 2, 5, 3, 8, 4, 0, 0, 0, 9};

}  // namespace

Result<CheckContext> CheckContext::create(PciTransport& transport, const Options& options) {
  CheckContext context(transport, options);
  TRY(transport.read_config(0, context.config_));
  context.walk_capabilities();
  // A list that no driver can use is a finding of the checks, not an error of this.
  auto found = pci::find_capabilities(transport, transport.bar_sizes());
  if (found) context.capabilities_ = std::move(*found);
  const pci::VirtioPciCapabilities& found_ones = context.capabilities_;
  if (!found_ones.common || !found_ones.notify || !found_ones.isr) return context;
  context.common_place_ = *found_ones.common;
  context.notify_place_ = *found_ones.notify;
  context.isr_place_ = *found_ones.isr;
  context.common_ = std::make_unique<CommonRegisters>(transport, context.common_place_);
  context.offered_ = TRY(context.common_->offered_features());
  context.region_kind_ = context.find_region_kind();
  const auto& msix = context.capabilities_.msix;
  constexpr std::uint16_t kVectors = kQueueVector + 1;
  if (msix && msix->vectors >= kVectors && transport.interrupt_vectors() >= kVectors) {
    TRY(transport.enable_interrupts(*msix, kVectors));
    context.has_vectors_ = true;
  }
  return context;
}

std::uint32_t CheckContext::config_word(std::uint8_t offset, unsigned bytes) const {
  std::uint32_t value = 0;
  for (unsigned i = 0; i < bytes && i < config_.size() - offset; ++i) {
    value |= std::to_integer<std::uint32_t>(config_[offset + i]) << (8 * i);
  }
  return value;
}

// Like the driver's walk, but that nothing is passed over.
void CheckContext::walk_capabilities() {
  if ((config_word(spec::PCI_STATUS, 2) & spec::PCI_STATUS_CAP_LIST) == 0) return;
  std::bitset<spec::PCI_CFG_SPACE_SIZE / 4> seen;
  auto next = static_cast<std::uint8_t>(config_word(spec::PCI_CAPABILITY_LIST, 1));
  for (unsigned step = 0; next != 0 && step < pci::kCapabilitySteps; ++step) {
    const auto position = static_cast<std::uint8_t>(next & ~3U);
    if (position < spec::PCI_STD_HEADER_SIZEOF || seen.test(position / 4)) {
      list_is_sound_ = false;
      return;
    }
    seen.set(position / 4);
    take_capability(position);
    next = static_cast<std::uint8_t>(config_word(static_cast<std::uint8_t>(position + 1), 1));
  }
}

void CheckContext::take_capability(std::uint8_t position) {
  const auto field = [&](unsigned offset, unsigned bytes) -> std::uint32_t {
    const unsigned at = position + offset;
    return at < config_.size() ? config_word(static_cast<std::uint8_t>(at), bytes) : 0;
  };
  RawCapability one{.position = position, .id = static_cast<std::uint8_t>(field(0, 1))};
  if (one.id == spec::PCI_CAP_ID_VNDR) {
    using Cap = spec::VirtioPciCap;
    one.length = static_cast<std::uint8_t>(field(offsetof(Cap, cap_len), 1));
    one.type = static_cast<std::uint8_t>(field(offsetof(Cap, cfg_type), 1));
    one.bar = static_cast<std::uint8_t>(field(offsetof(Cap, bar), 1));
    one.shm_id = static_cast<std::uint8_t>(field(offsetof(Cap, id), 1));
    one.offset = field(offsetof(Cap, offset), 4);
    one.bytes = field(offsetof(Cap, length), 4);
    if (one.type == spec::VIRTIO_PCI_CAP_SHARED_MEMORY_CFG) {
      using Cap64 = spec::VirtioPciCap64;
      one.offset |= std::uint64_t{field(offsetof(Cap64, offset_hi), 4)} << 32;
      one.bytes |= std::uint64_t{field(offsetof(Cap64, length_hi), 4)} << 32;
    }
  }
  raw_.push_back(one);
}

std::uint16_t CheckContext::device_type() const {
  if (config_word(spec::PCI_VENDOR_ID, 2) != spec::VIRTIO_PCI_VENDOR_ID) return 0;
  const auto device = static_cast<std::uint16_t>(config_word(spec::PCI_DEVICE_ID, 2));
  if (device >= spec::VIRTIO_PCI_DEVICE_ID_BASE && device <= spec::VIRTIO_PCI_DEVICE_ID_LAST) {
    return static_cast<std::uint16_t>(device - spec::VIRTIO_PCI_DEVICE_ID_BASE);
  }
  const std::uint32_t index = std::uint32_t{device} - kTransitionalFirst;
  return index < kTransitionalTypes.size() ? kTransitionalTypes[index] : std::uint16_t{0};
}

// REQUIREMENTS 1.6, DEF-3.
RegionKind CheckContext::find_region_kind() const {
  if (capabilities_.swiotlb && offers(spec::VIRTIO_F_SWIOTLB)) return RegionKind::kSwiotlb;
  if (offers(spec::VIRTIO_F_DMB) && common_->has_dmb_shm_id() &&
      !capabilities_.shared_memory.empty()) {
    return RegionKind::kDmb;
  }
  return capabilities_.swiotlb ? RegionKind::kCapability : RegionKind::kNone;
}

Result<std::uint64_t> CheckContext::device_config(std::size_t offset, Width width) {
  const auto& place = capabilities_.device;
  if (!place || !airlock_range_within(offset, std::to_underlying(width), place->length)) {
    return std::uint64_t{0};
  }
  return transport_->read({.bar = place->bar, .offset = place->offset + offset, .width = width});
}

Result<std::uint8_t> CheckContext::read_isr() {
  return static_cast<std::uint8_t>(TRY(
      transport_->read({.bar = isr_place_.bar, .offset = isr_place_.offset, .width = Width::k1})));
}

// VIRTIO 1.3, 2.4.1, 4.1.4.3.1: reset is complete when the status reads 0.
Result<void> CheckContext::reset() {
  TRY(common_->write_status(0));
  const Deadline deadline = Deadline::after(options_.timeout);
  for (unsigned round = 0; TRY(common_->status()) != 0; ++round) {
    if (deadline.passed()) return fail(deadline.error());
    pause_between_polls(round);
  }
  return {};
}

Result<bool> CheckContext::negotiate(std::uint64_t features) {
  TRY(reset());
  drain_vectors();
  TRY(add_status(spec::VIRTIO_CONFIG_S_ACKNOWLEDGE));
  TRY(add_status(spec::VIRTIO_CONFIG_S_DRIVER));
  TRY(common_->write_accepted_features(features));
  TRY(add_status(spec::VIRTIO_CONFIG_S_FEATURES_OK));
  return (TRY(common_->status()) & spec::VIRTIO_CONFIG_S_FEATURES_OK) != 0;
}

std::uint64_t CheckContext::own_features() const {
  std::uint64_t wanted = spec::feature(spec::VIRTIO_F_VERSION_1) |
                         spec::feature(spec::VIRTIO_F_ACCESS_PLATFORM) |
                         spec::feature(spec::VIRTIO_F_ORDER_PLATFORM) | region_feature() | also_;
  if (device_type() == spec::VIRTIO_ID_BLOCK) {
    wanted |= spec::feature(spec::VIRTIO_BLK_F_RO) | spec::feature(spec::VIRTIO_BLK_F_FLUSH) |
              spec::feature(spec::VIRTIO_BLK_F_DISCARD) |
              spec::feature(spec::VIRTIO_BLK_F_WRITE_ZEROES);
  }
  return wanted & offered_;
}

std::uint64_t CheckContext::region_feature() const {
  switch (region_kind_) {
    case RegionKind::kSwiotlb:
      return spec::feature(spec::VIRTIO_F_SWIOTLB);
    case RegionKind::kDmb:
      return spec::feature(spec::VIRTIO_F_DMB);
    case RegionKind::kCapability:
    case RegionKind::kNone:
      return 0;
  }
  return 0;
}

Result<void> CheckContext::add_status(std::uint8_t bits) {
  // As a driver keeps it: what it set before, and these.
  const std::uint8_t before = TRY(common_->status());
  constexpr std::uint8_t kDevices = spec::VIRTIO_CONFIG_S_NEEDS_RESET;
  return common_->write_status(static_cast<std::uint8_t>((before & ~kDevices) | bits));
}

Result<bool> CheckContext::wait_status(std::uint8_t bits) {
  const Deadline deadline = Deadline::after(options_.timeout);
  for (unsigned round = 0; (TRY(common_->status()) & bits) == 0; ++round) {
    if (deadline.passed()) return false;
    pause_between_polls(round);
  }
  return true;
}

Result<pci::BarRange> CheckContext::locate_region() {
  if (region_kind_ == RegionKind::kNone) return fail(Errc::kNoRegion);
  if (region_kind_ != RegionKind::kDmb) {
    if (!capabilities_.swiotlb) return fail(Errc::kNoRegion);
    return *capabilities_.swiotlb;
  }
  const std::uint16_t id = TRY(common_->dmb_shm_id());
  const auto place =
      id > 255 ? std::nullopt : capabilities_.find_region(static_cast<std::uint8_t>(id));
  if (!place) return fail(Errc::kNoRegion);
  return *place;
}

Result<void> CheckContext::open_region() {
  if (queue_) return {};
  if (!TRY(negotiate(own_features()))) return fail(Errc::kFeaturesRefused);
  pci::BarRange place = TRY(locate_region());  // DMB-DR2: only now
  if (place.length < RawQueue::kRegionBytesMin) {
    return fail({.code = Errc::kTooSmall, .address = RawQueue::kRegionBytesMin});
  }
  region_bytes_ = place.length;
  place.length = std::min(place.length, kRegionBytesMax);
  region_ = TRY(transport_->map(place));
  if (!airlock_range_within(std::to_underlying(region_.bus_address), region_bytes_,
                            ~std::uint64_t{0})) {
    return fail({.code = Errc::kOutOfRange, .address = std::to_underlying(region_.bus_address)});
  }
  TRY(common_->select_queue(0));
  const std::uint16_t most = TRY(common_->queue_size());
  const auto size = TRY(ring::QueueSize::from(std::min<std::uint32_t>(most, RawQueue::kSlotsMax)));
  const bool offsets = region_kind_ == RegionKind::kDmb;
  const window::Publisher publisher{
      .mode = offsets ? window::AddressMode::kOffset : window::AddressMode::kBus,
      .region = region_.bus_address};
  const shm::SharedBytes all = region_.mapping.bytes();
  queue_ = std::make_unique<RawQueue>(all, size, publisher, 0);
  other_queue_ = std::make_unique<RawQueue>(all, size, publisher, RawQueue::kOtherStart);
  return {};
}

std::uint64_t CheckContext::region_start() const {
  return region_kind_ == RegionKind::kDmb ? 0 : std::to_underlying(region_.bus_address);
}

Result<void> CheckContext::prepare() {
  if (!TRY(negotiate(own_features()))) return fail(Errc::kFeaturesRefused);
  queue_->clear();
  if (other_index_) other_queue_->clear();
  TRY(common_->select_queue(index_));
  if (has_vectors_) {
    (void)TRY(common_->set_config_vector(kConfigVector));
    (void)TRY(common_->set_queue_vector(kQueueVector));
  }
  return {};
}

Result<void> CheckContext::enable(std::uint16_t index, ring::QueueSize size,
                                  const ring::QueueAreas& areas) {
  TRY(common_->select_queue(index));
  TRY(common_->write_queue_size(static_cast<std::uint16_t>(size.value())));
  TRY(common_->write_queue_areas(areas));
  return common_->write_queue_enable();
}

Result<void> CheckContext::enable_queue(const ring::QueueAreas& areas) {
  return enable(index_, queue_->size(), areas);
}

Result<void> CheckContext::bring_up() {
  TRY(prepare());
  TRY(enable_queue(queue_->areas()));
  if (other_index_) TRY(enable(*other_index_, other_queue_->size(), other_queue_->areas()));
  return add_status(spec::VIRTIO_CONFIG_S_DRIVER_OK);
}

Result<Register> CheckContext::notify_register(std::uint16_t index, Width width) {
  TRY(common_->select_queue(index));
  const std::uint64_t number = TRY(common_->queue_notify_off());
  const std::uint64_t offset = number * capabilities_.notify_off_multiplier;  // below 2^48
  if (!airlock_range_within(offset, std::to_underlying(width), notify_place_.length)) {
    return fail({.code = Errc::kOutOfRange,
                 .queue = index,
                 .detail = std::to_underlying(width),
                 .address = offset});
  }
  return Register{
      .bar = notify_place_.bar, .offset = notify_place_.offset + offset, .width = width};
}

Result<void> CheckContext::notify() {
  return transport_->write(TRY(notify_register(index_, Width::k2)), index_);
}

Result<void> CheckContext::notify_other() {
  CHECK(other_index_.has_value());
  return transport_->write(TRY(notify_register(*other_index_, Width::k2)), *other_index_);
}

Result<void> CheckContext::notify_with_data(std::uint32_t data) {
  return transport_->write(TRY(notify_register(index_, Width::k4)), data);
}

Result<void> CheckContext::wait_used(const RawQueue& queue, std::uint16_t index) {
  constexpr unsigned kLookAtStatus = 16;
  const Deadline deadline = Deadline::after(options_.timeout);
  for (unsigned round = 0;; ++round) {
    const bool last_look = deadline.passed();
    if (queue.used_index() == index) return {};
    if ((last_look || round >= kLookAtStatus) &&
        (TRY(common_->status()) & spec::VIRTIO_CONFIG_S_NEEDS_RESET) != 0) {
      return fail({.code = Errc::kNeedsReset, .queue = 0});
    }
    if (last_look) return fail(deadline.error());
    pause_between_polls(round);
  }
}

bool CheckContext::wait_vector_for(std::uint16_t vector, std::chrono::milliseconds time) {
  const std::array<int, 1> fds{transport_->interrupt_fd(vector)};
  return wait_readable(fds, Deadline::after(time)) && transport_->take_interrupt(vector);
}

bool CheckContext::wait_vector(std::uint16_t vector) {
  return wait_vector_for(vector, options_.timeout);
}

bool CheckContext::fires_in_quiet(std::uint16_t vector) {
  return wait_vector_for(vector, options_.quiet);
}

void CheckContext::drain_vectors() {
  if (!has_vectors_) return;
  (void)transport_->take_interrupt(kConfigVector);
  (void)transport_->take_interrupt(kQueueVector);
}

Result<bool> CheckContext::wait_config_signal() {
  if (has_vectors_) return wait_vector(kConfigVector);
  const Deadline deadline = Deadline::after(options_.timeout);
  for (unsigned round = 0; (TRY(read_isr()) & spec::VIRTIO_PCI_ISR_CONFIG) == 0; ++round) {
    if (deadline.passed()) return false;
    pause_between_polls(round);
  }
  return true;
}

void CheckContext::watch() const {
  (void)wait_readable({}, Deadline::after(options_.quiet));
}

}  // namespace airlock::driver::conformance
