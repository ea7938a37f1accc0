// SPDX-License-Identifier: Apache-2.0
#include "driver/virtio_device.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>

#include "base/checked.h"
#include "core/range.h"
#include "driver/deadline.h"
#include "driver/encryption_registers.h"
#include "driver/wait.h"
#include "spec/pci.h"
#include "spec/virtio_pci.h"

namespace airlock::driver {

namespace {

using Cfg = spec::VirtioPciCommonCfg;

// Bits that belong to a device type. VIRTIO 1.3, 2.2. A type may ask for no others.
constexpr std::uint64_t kTypeFeatures = (spec::feature(24) - 1) | ~(spec::feature(50) - 1);
// How often a device may change its configuration under our eyes (HD-12).
constexpr int kConfigAttempts = 16;
constexpr std::uint64_t kLeastAreaBytes = std::uint64_t{8} << 20;  // of the pool, if it has several
constexpr std::uint8_t kGone = 0xff;  // what a device that is no longer there reads as

std::unexpected<Error> malformed(std::size_t offset, std::uint16_t queue = kNoQueue) {
  return fail(
      {.code = Errc::kMalformed, .queue = queue, .detail = static_cast<std::uint32_t>(offset)});
}

bool same_structures(const pci::VirtioPciCapabilities& a, const pci::VirtioPciCapabilities& b) {
  return a.common == b.common && a.notify == b.notify &&
         a.notify_off_multiplier == b.notify_off_multiplier && a.isr == b.isr &&
         a.device == b.device && a.swiotlb == b.swiotlb && a.encryption == b.encryption;
}

// The bytes of `value`, as the device stores them: in its order.
void put_little_endian(std::span<std::byte> target, std::uint64_t value) {
  const Le64 wire(value);
  std::memcpy(target.data(), &wire, target.size());
}

// A modern device of the wanted type: transitional ones have other ids (DEF-2).
Result<void> identify(PciTransport& transport, std::uint16_t device_type) {
  std::array<std::byte, 4> bytes{};
  TRY(transport.read_config(spec::PCI_VENDOR_ID, bytes));
  std::array<Le16, 2> ids{};
  std::memcpy(ids.data(), bytes.data(), bytes.size());
  const std::uint32_t expected = std::uint32_t{spec::VIRTIO_PCI_DEVICE_ID_BASE} + device_type;
  if (ids[0].get() != spec::VIRTIO_PCI_VENDOR_ID || ids[1].get() != expected) {
    const std::uint32_t found = std::uint32_t{ids[0].get()} << 16 | ids[1].get();
    return fail({.code = Errc::kNotVirtio, .detail = found});
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<VirtioDevice>> VirtioDevice::open(std::unique_ptr<PciTransport> transport,
                                                         const Options& options) {
  CHECK(options.swiotlb_bit < 64 && options.dmb_bit < 64);
  CHECK(options.swiotlb_bit != options.dmb_bit && options.encryption_bit < 64);
  CHECK(airlock_is_aligned(options.max_region_bytes, pool::kPageBytes));
  TRY(identify(*transport, options.device_type));
  auto capabilities = TRY(pci::find_capabilities(*transport, transport->bar_sizes()));
  if (!capabilities.common || !capabilities.notify || !capabilities.isr) {
    return malformed(spec::PCI_CAPABILITY_LIST);
  }
  TRY(transport->prepare_notifications(*capabilities.notify));
  const CommonRegisters common(*transport, *capabilities.common);
  const pci::BarRange notify = *capabilities.notify;
  EventFd broken_event = TRY(EventFd::create());
  std::unique_ptr<VirtioDevice> device(new VirtioDevice(std::move(transport), options,
                                                        std::move(capabilities), common, notify,
                                                        std::move(broken_event)));
  const auto negotiated = device->negotiate();
  if (!negotiated) return device->fail_device(negotiated.error());
  device->negotiation_ = *negotiated;
  const auto mapped = device->map_region();
  if (!mapped) return device->fail_device(mapped.error());
  return device;
}

VirtioDevice::~VirtioDevice() {
  // A device that was given up before it ran keeps FAILED, for whoever looks at it next.
  if (started_ || !is_broken_) (void)reset_status();
}

Result<std::size_t> VirtioDevice::read_device_config(std::span<std::byte> target,
                                                     std::span<const std::uint8_t> widths) {
  std::ranges::fill(target, std::byte{0});
  const auto place = capabilities_.device;
  if (!place) return std::size_t{0};
  std::size_t available = 0;  // whole fields that both sides have
  for (const std::uint8_t width : widths) {
    CHECK(width == 1 || width == 2 || width == 4);
    const std::size_t end = available + width;
    if (end > target.size() || end > place->length) break;
    available = end;
  }
  const Deadline deadline = Deadline::after(options_.timeout);
  for (int attempt = 0; attempt < kConfigAttempts && !deadline.passed(); attempt++) {
    if (TRY(try_read_config(*place, target.first(available), widths))) return available;
  }
  return fail_device(deadline.error());
}

// True if nothing changed meanwhile.
Result<bool> VirtioDevice::try_read_config(const pci::BarRange& place, std::span<std::byte> target,
                                           std::span<const std::uint8_t> widths) {
  const std::uint8_t before = TRY(common_.config_generation());
  std::size_t offset = 0;
  for (const std::uint8_t width : widths) {
    if (offset == target.size()) break;
    const std::uint64_t value = TRY(transport_->read(
        {.bar = place.bar, .offset = place.offset + offset, .width = Width{width}}));
    put_little_endian(target.subspan(offset, width), value);
    offset += width;
  }
  return TRY(common_.config_generation())
  == before;
}

Result<void> VirtioDevice::write_device_config(std::uint32_t offset, Width width,
                                               std::uint64_t value) {
  const auto place = capabilities_.device;
  const std::uint32_t bytes = std::to_underlying(width);
  if (!place || !airlock_range_within(offset, bytes, place->length)) {
    return fail({.code = Errc::kOutOfRange, .detail = bytes, .address = offset});
  }
  return transport_->write({.bar = place->bar, .offset = place->offset + offset, .width = width},
                           value);
}

Result<void> VirtioDevice::enable_interrupts(std::uint16_t queues) {
  vectors_ = 0;
  const std::uint32_t wanted = std::uint32_t{queues} + 1;
  if (!capabilities_.msix || capabilities_.msix->vectors < wanted ||
      transport_->interrupt_vectors() < wanted) {
    return {};
  }
  TRY(transport_->enable_interrupts(*capabilities_.msix, static_cast<std::uint16_t>(wanted)));
  // Without a vector for the configuration, a device in need is noticed at the next timeout.
  (void)TRY(common_.set_config_vector(0));
  vectors_ = static_cast<std::uint16_t>(wanted);
  return {};
}

Result<std::unique_ptr<Queue>> VirtioDevice::create_queue(std::uint16_t index,
                                                          const QueueShape& shape) {
  if (const auto why = broken()) return fail(*why);
  if (index >= queue_count()) {
    return fail({.code = Errc::kBadIndex, .queue = index, .detail = index});
  }
  auto queue = set_up_queue(index, shape);
  if (!queue && queue.error().code != Errc::kPoolFull) return fail_device(queue.error());
  return queue;
}

Result<std::unique_ptr<Queue>> VirtioDevice::set_up_queue(std::uint16_t index,
                                                          const QueueShape& shape) {
  TRY(common_.select_queue(index));
  if (TRY(common_.queue_enable()) != 0) return malformed(offsetof(Cfg, queue_enable), index);
  const ring::Features features = ring::Features::from(negotiation_.accepted);
  const ring::QueueSize size = TRY(agree_on_size(index, shape.size_max));
  const Register notify = TRY(notify_register(index));
  const ring::Layout layout(size, features.format);
  auto memory = TRY(pool_->allocate_coherent(layout.block_bytes(), pool::kPageBytes));
  ring::IndirectTables tables;
  pool::CoherentBuffer table_memory;
  if (features.indirect && shape.table_entries > 0) {
    table_memory = TRY(pool_->allocate_coherent(
        ring::IndirectTables::bytes(size, shape.table_entries), pool::kPageBytes));
    tables = {.start = table_memory.offset(),
              .entries = shape.table_entries,
              .spare = options_.always_tables ? ring::IndirectTables::kNever : size.value() / 2};
  }
  auto ring = TRY(ring::DriverQueue::create({.queue = index,
                                             .size = size,
                                             .areas = layout.block_at(memory.offset()),
                                             .publisher = publisher(),
                                             .features = features,
                                             .tables = tables},
                                            pool_->region()));
  const std::uint16_t vector = TRY(agree_on_vector(index));
  auto cipher = TRY(encrypt_queue(index));
  TRY(common_.write_queue_areas(ring.published_areas()));
  auto queue = std::make_unique<Queue>(*transport_, Queue::Parts{.ring = std::move(ring),
                                                                 .memory = std::move(memory),
                                                                 .tables = std::move(table_memory),
                                                                 .notify = notify,
                                                                 .vector = vector,
                                                                 .cipher = std::move(cipher)});
  if (const auto enabled = enable_queue(index); !enabled) {
    lost_.push_back(std::move(queue));
    return fail(enabled.error());
  }
  return queue;
}

// ENC-3, ENC-5: before DRIVER_OK, or after a reset of its own, with a key for this once.
Result<std::unique_ptr<crypt::QueueCipher>> VirtioDevice::encrypt_queue(std::uint16_t index) {
  if (options_.encryption == crypt::Algorithm::kNone || !capabilities_.encryption) {
    return std::unique_ptr<crypt::QueueCipher>();
  }
  EncryptionRegisters registers(*transport_, *capabilities_.encryption);
  return registers.encrypt(index, options_.encryption);
}

Result<void> VirtioDevice::enable_queue(std::uint16_t index) {
  TRY(common_.write_queue_enable());
  if (TRY(common_.queue_enable()) != 1) return malformed(offsetof(Cfg, queue_enable), index);
  return {};
}

Result<void> VirtioDevice::reset_queue(std::uint16_t index) {
  if (const auto why = broken()) return fail(*why);
  if (!has(spec::VIRTIO_F_RING_RESET)) {
    return fail({.code = Errc::kUnsupported, .detail = spec::VIRTIO_F_RING_RESET});
  }
  if (index >= queue_count()) {
    return fail({.code = Errc::kBadIndex, .queue = index, .detail = index});
  }
  const auto done = await_queue_reset(index);
  if (!done) return fail_device(done.error());
  return {};
}

// VIRTIO 1.3, 4.1.4.3.2: the queue is reset when queue_reset reads 0.
Result<void> VirtioDevice::await_queue_reset(std::uint16_t index) {
  TRY(common_.select_queue(index));
  TRY(common_.write_queue_reset());
  const Deadline deadline = Deadline::after(options_.timeout);
  for (unsigned round = 0; TRY(common_.queue_reset()) != 0; round++) {
    if (deadline.passed()) return fail(deadline.error());
    pause_between_polls(round);
  }
  // 4.1.4.3.1: then that reads 0 too. A queue that still runs would be using our buffers.
  if (TRY(common_.queue_enable()) != 0) return malformed(offsetof(Cfg, queue_enable), index);
  return {};
}

// The device says whether it could: it has no other choice than the queue's vector or none.
Result<std::uint16_t> VirtioDevice::agree_on_vector(std::uint16_t index) {
  if (index + 1U >= vectors_) return spec::VIRTIO_MSI_NO_VECTOR;
  const auto vector = static_cast<std::uint16_t>(index + 1U);
  const std::uint16_t given = TRY(common_.set_queue_vector(vector));
  if (given != vector && given != spec::VIRTIO_MSI_NO_VECTOR) {
    return malformed(offsetof(Cfg, queue_msix_vector), index);
  }
  return given;
}

// HD-14: the device's size is one that its ring can have, and it keeps the one that is chosen.
Result<ring::QueueSize> VirtioDevice::agree_on_size(std::uint16_t index, std::uint32_t max_size) {
  const std::uint16_t offered = TRY(common_.queue_size());
  const ring::Format format = ring::Features::from(negotiation_.accepted).format;
  const auto largest = ring::QueueSize::from(offered, format);
  if (!largest) {
    return fail({.code = Errc::kBadQueueSize, .queue = index, .detail = offered});
  }
  const ring::QueueSize size =
      TRY(ring::QueueSize::from(std::min<std::uint32_t>(offered, max_size), format));
  const auto value = static_cast<std::uint16_t>(size.value());
  TRY(common_.write_queue_size(value));
  if (TRY(common_.queue_size()) != value) return malformed(offsetof(Cfg, queue_size), index);
  return size;
}

// HD-14: where queue_notify_off leads is inside the notification structure. VIRTIO 1.3, 4.1.4.4.1.
Result<Register> VirtioDevice::notify_register(std::uint16_t index) {
  const std::uint64_t number = TRY(common_.queue_notify_off());
  const pci::BarRange& place = notify_;
  const std::uint64_t offset = number * capabilities_.notify_off_multiplier;  // below 2^48
  const Width width = has(spec::VIRTIO_F_NOTIFICATION_DATA) ? Width::k4 : Width::k2;
  const std::uint32_t bytes = std::to_underlying(width);
  if (!airlock_range_within(offset, bytes, place.length)) {
    return fail({.code = Errc::kOutOfRange, .queue = index, .detail = bytes, .address = offset});
  }
  const Register notify{.bar = place.bar, .offset = place.offset + offset, .width = width};
  if (!airlock_is_aligned(notify.offset, bytes)) {
    return malformed(offsetof(Cfg, queue_notify_off), index);
  }
  return notify;
}

Result<void> VirtioDevice::start() {
  if (const auto why = broken()) return fail(*why);
  started_ = true;
  TRY(add_status(spec::VIRTIO_CONFIG_S_DRIVER_OK));
  return check();
}

Result<void> VirtioDevice::check() {
  if (const auto why = broken()) return fail(*why);
  const auto read = common_.status();
  if (!read) return fail_device(read.error());
  const std::uint8_t status = *read;
  if (status == kGone) return fail_device({.code = Errc::kPeerClosed});
  if ((status & spec::VIRTIO_CONFIG_S_NEEDS_RESET) != 0) {
    return fail_device({.code = Errc::kNeedsReset});
  }
  const std::uint8_t expected = written_status();
  if ((status & expected) != expected) return fail_device({.code = Errc::kWrongState});
  return {};
}

std::unexpected<Error> VirtioDevice::fail_device(const Error& error) {
  if (!is_broken_) {
    set_broken(error);
    (void)add_status(spec::VIRTIO_CONFIG_S_FAILED);
  }
  return fail(error);
}

std::optional<Error> VirtioDevice::broken() const {
  if (!is_broken_) return std::nullopt;
  const std::scoped_lock held(state_lock_);
  return broken_;
}

void VirtioDevice::set_broken(const std::optional<Error>& error) {
  const std::scoped_lock held(state_lock_);
  if (!broken_ || !error) broken_ = error;
  is_broken_ = error.has_value();
  if (error) {
    broken_event_.signal();
  } else {
    (void)broken_event_.drain();
  }
}

std::uint8_t VirtioDevice::written_status() const {
  const std::scoped_lock held(state_lock_);
  return status_;
}

Result<void> VirtioDevice::quiesce() {
  set_broken(Error{.code = Errc::kQueueBroken});
  TRY(reset_status());
  lost_.clear();
  return {};
}

Result<void> VirtioDevice::revive() {
  const auto capabilities = TRY(pci::find_capabilities(*transport_, transport_->bar_sizes()));
  if (!same_structures(capabilities, capabilities_)) {
    return fail_device({.code = Errc::kMalformed, .detail = spec::PCI_CAPABILITY_LIST});
  }
  capabilities_ = capabilities;
  set_broken(std::nullopt);
  auto negotiated = negotiate();
  if (!negotiated) return fail_device(negotiated.error());
  negotiated->bus_address = negotiation_.bus_address;
  if (*negotiated != negotiation_) return fail_device({.code = Errc::kMalformed});
  return {};
}

Result<Negotiation> VirtioDevice::negotiate() {
  TRY(reset_status());
  TRY(add_status(spec::VIRTIO_CONFIG_S_ACKNOWLEDGE));
  TRY(add_status(spec::VIRTIO_CONFIG_S_DRIVER));
  Negotiation result;
  result.offered = TRY(common_.offered_features());
  if ((result.offered & spec::feature(spec::VIRTIO_F_VERSION_1)) == 0) {
    return fail({.code = Errc::kUnsupported, .detail = spec::VIRTIO_F_VERSION_1});
  }
  result.source = TRY(choose_source(result.offered));
  TRY(check_encryption(result.offered));
  result.accepted = choose_features(result.offered, result.source);
  TRY(common_.write_accepted_features(result.accepted));
  TRY(add_status(spec::VIRTIO_CONFIG_S_FEATURES_OK));
  const std::uint8_t status = TRY(common_.status());  // HD-24
  if ((status & spec::VIRTIO_CONFIG_S_NEEDS_RESET) != 0) return fail(Errc::kNeedsReset);
  if ((status & spec::VIRTIO_CONFIG_S_FEATURES_OK) == 0) return fail(Errc::kFeaturesRefused);
  // HD-16: what was decided stays decided; an offer that changes is a lie.
  if (TRY(common_.offered_features()) != result.offered) {
    return malformed(offsetof(Cfg, device_feature));
  }
  result.region = TRY(locate_region(result.source));  // DMB-DR2: only now
  result.queue_count = TRY(common_.queue_count());
  if (result.queue_count == 0) return malformed(offsetof(Cfg, num_queues));
  return result;
}

// VIRTIO 1.3, 2.4: the device is reset when its status reads 0.
Result<void> VirtioDevice::reset_status() {
  {
    const std::scoped_lock held(state_lock_);
    status_ = 0;
    TRY(common_.write_status(0));
  }
  const Deadline deadline = Deadline::after(options_.timeout);
  for (unsigned round = 0; TRY(common_.status()) != 0; round++) {
    if (deadline.passed()) return fail(deadline.error());
    pause_between_polls(round);
  }
  return {};
}

Result<void> VirtioDevice::add_status(std::uint8_t bits) {
  const std::scoped_lock held(state_lock_);
  status_ |= bits;
  return common_.write_status(status_);
}

// REQUIREMENTS 1.6, DEF-3: an offer without a valid region is no offer.
Result<RegionSource> VirtioDevice::choose_source(std::uint64_t offered) const {
  const auto has_bit = [&](unsigned bit) { return (offered & spec::feature(bit)) != 0; };
  const bool swiotlb = has_bit(options_.swiotlb_bit) && capabilities_.swiotlb;
  const bool dmb = has_bit(options_.dmb_bit) && has_bit(spec::VIRTIO_F_ACCESS_PLATFORM) &&
                   common_.has_dmb_shm_id() && !capabilities_.shared_memory.empty();
  if (dmb && (!swiotlb || options_.prefer == window::AddressMode::kOffset)) {
    return RegionSource::kDmb;
  }
  if (swiotlb) return RegionSource::kSwiotlb;
  if (capabilities_.swiotlb && !has_bit(options_.swiotlb_bit)) return RegionSource::kCapability;
  return fail(Errc::kNoRegion);
}

// ENC-1: who asks for it makes do with nothing less.
Result<void> VirtioDevice::check_encryption(std::uint64_t offered) const {
  const bool wanted = options_.encryption != crypt::Algorithm::kNone;
  const bool there =
      (offered & spec::feature(options_.encryption_bit)) != 0 && capabilities_.encryption;
  if (!wanted || there) return {};
  return fail({.code = Errc::kNoEncryption, .detail = options_.encryption_bit});
}

std::uint64_t VirtioDevice::choose_features(std::uint64_t offered, RegionSource source) const {
  std::uint64_t wanted =
      (options_.features & kTypeFeatures) | spec::feature(spec::VIRTIO_F_VERSION_1) |
      spec::feature(spec::VIRTIO_F_ACCESS_PLATFORM) | spec::feature(spec::VIRTIO_F_ORDER_PLATFORM);
  wanted |= options_.ring_features & kRingFeatures;
  // An offer without its register is no offer.
  if (!common_.has_queue_reset()) wanted &= ~spec::feature(spec::VIRTIO_F_RING_RESET);
  wanted &= ~(spec::feature(options_.swiotlb_bit) | spec::feature(options_.dmb_bit));
  if (options_.encryption != crypt::Algorithm::kNone) {
    wanted |= spec::feature(options_.encryption_bit);
  }
  if (source == RegionSource::kSwiotlb) wanted |= spec::feature(options_.swiotlb_bit);
  if (source == RegionSource::kDmb) wanted |= spec::feature(options_.dmb_bit);
  return offered & wanted;
}

Result<pci::BarRange> VirtioDevice::locate_region(RegionSource source) {
  if (source != RegionSource::kDmb) {
    if (!capabilities_.swiotlb) return fail(Errc::kNoRegion);
    return *capabilities_.swiotlb;
  }
  const std::uint16_t id = TRY(common_.dmb_shm_id());
  if (id > 255) return malformed(offsetof(spec::VirtioPciCommonCfgDmb, dmb_shm_id));
  const auto place = capabilities_.find_region(static_cast<std::uint8_t>(id));
  if (!place) return fail(Errc::kNoRegion);
  return *place;
}

Result<void> VirtioDevice::map_region() {
  pci::BarRange used = negotiation_.region;
  used.length = std::min(used.length, options_.max_region_bytes);
  region_ = TRY(transport_->map(used));
  const std::uint64_t base = std::to_underlying(region_.bus_address);
  if (!checked_add(base, used.length - 1)) {
    return fail({.code = Errc::kOutOfRange, .address = base});
  }
  negotiation_.bus_address = base;
  if (options_.shared) {
    pool_ = TRY(options_.shared->join(region_, options_.share));
    return {};
  }
  const std::uint64_t room = region_.mapping.bytes().size() / kLeastAreaBytes;
  const auto areas = static_cast<std::uint32_t>(std::min<std::uint64_t>(options_.pool_areas, room));
  own_pool_ =
      TRY(pool::Pool::create(region_.mapping.bytes(), {.areas = areas, .scrub = options_.scrub}));
  pool_ = own_pool_.get();
  return {};
}

window::Publisher VirtioDevice::publisher() const {
  const bool offsets = negotiation_.source == RegionSource::kDmb;
  return {.mode = offsets ? window::AddressMode::kOffset : window::AddressMode::kBus,
          .region = region_.bus_address};
}

}  // namespace airlock::driver
