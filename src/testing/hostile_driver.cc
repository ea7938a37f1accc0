// SPDX-License-Identifier: Apache-2.0
#include "testing/hostile_driver.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <iterator>
#include <string_view>
#include <utility>

#include "ring/layout.h"
#include "ring/packed_areas.h"
#include "spec/pci.h"
#include "spec/virtio.h"

namespace airlock::testing {

namespace {

using spec::feature;
using vfio_user::Bytes;
using vfio_user::bytes_of;

constexpr std::byte kGuardByte{0xa5};
constexpr std::uint8_t kDriverStatus =
    spec::VIRTIO_CONFIG_S_ACKNOWLEDGE | spec::VIRTIO_CONFIG_S_DRIVER;

Bytes access_payload(unsigned region, std::uint64_t offset, std::size_t count,
                     std::span<const std::byte> data = {}) {
  Bytes payload = bytes_of(spec::VfioUserRegionAccess{
      .offset = offset, .region = region, .count = static_cast<std::uint32_t>(count)});
  payload.insert(payload.end(), data.begin(), data.end());
  return payload;
}

}  // namespace

HostileDriver::HostileDriver(AttackTarget& target, const HostileManner& manner)
    : target_(target),
      manner_(manner),
      peer_(vfio_user::RawPeer::connect(target.socket_path())),
      rings_(target.subject().device().queue_count()) {
  for (std::uint16_t vector = 0; vector < vectors(); ++vector)
    events_.push_back(MUST(EventFd::create()));
  greet();
}

void HostileDriver::reconnect() {
  peer_.close();
  peer_ = vfio_user::RawPeer::connect(target_.socket_path());
  greet();
}

void HostileDriver::greet() {
  // A client that says nothing takes one fd in a message, and gets one doorbell.
  constexpr std::string_view kCapabilities = R"({"capabilities":{"max_msg_fds":8}})";
  Bytes version = bytes_of(spec::VfioUserVersion{.major = 0, .minor = 0});
  std::ranges::copy(std::as_bytes(std::span(kCapabilities)), std::back_inserter(version));
  version.push_back(std::byte{0});
  exchange(spec::VFIO_USER_VERSION, version);
  if (!reply_ || reply_->header.error != 0) {
    ADD_FAILURE() << "no agreement on the version";
    return;
  }
  connect_interrupts();
  place_bars();
  share_memory();
}

// What it did about memory that it shared, only the end of the connection undoes.
void HostileDriver::renew() {
  if (manner_.in_guest_memory) return reconnect();
  connect_interrupts();
  place_bars();
}

void HostileDriver::connect_interrupts() {
  for (std::uint16_t vector = 0; vector < vectors(); ++vector)
    install(vector, events_[vector].fd());
}

void HostileDriver::install(std::uint16_t vector, int eventfd) {
  std::vector<Fd> fds;
  fds.emplace_back(dup(eventfd));
  exchange(spec::VFIO_USER_DEVICE_SET_IRQS,
           bytes_of(spec::VfioUserIrqSet{
               .argsz = sizeof(spec::VfioUserIrqSet),
               .flags = spec::VFIO_IRQ_SET_DATA_EVENTFD | spec::VFIO_IRQ_SET_ACTION_TRIGGER,
               .index = spec::VFIO_PCI_MSIX_IRQ_INDEX,
               .start = vector,
               .count = 1}),
           fds);
  EXPECT_TRUE(reply_ && reply_->header.error == 0) << "an eventfd was refused";
}

void HostileDriver::place_bars() {
  for (unsigned bar = 0; bar < pci::kRegionBar; ++bar)
    write(pci::kConfigRegion, spec::PCI_BASE_ADDRESS_0 + 4 * bar, 0xf000'0000 + 0x10000 * bar, 4);
  write(pci::kConfigRegion, spec::PCI_BASE_ADDRESS_0 + 4 * pci::kRegionBar, kBarAddress, 8);
  write(pci::kConfigRegion, spec::PCI_COMMAND, spec::PCI_COMMAND_MEMORY | spec::PCI_COMMAND_MASTER,
        2);
}

shm::SealedMemfd HostileDriver::region_memfd() {
  constexpr std::uint32_t kRoom = 256;
  exchange(spec::VFIO_USER_DEVICE_GET_REGION_INFO,
           bytes_of(spec::VfioUserRegionInfo{.argsz = kRoom,
                                             .flags = 0,
                                             .index = pci::kRegionBar,
                                             .cap_offset = 0,
                                             .size = 0,
                                             .offset = 0}));
  CHECK(reply_ && reply_->fds.size() == 1);
  return MUST(shm::SealedMemfd::adopt(std::move(reply_->fds.front()), kMemoryBytes));
}

// The region that the device gave, or memory of the driver's own.
void HostileDriver::share_memory() {
  if (!manner_.in_guest_memory) {
    memory_ = MUST(region_memfd().map());
  } else {
    guest_ = MUST(shm::SealedMemfd::create({.name = "guest", .size = kMemoryBytes}));
    memory_ = MUST(guest_.map());
    std::vector<Fd> fds;
    fds.push_back(MUST(guest_.fd().duplicate()));
    exchange(
        spec::VFIO_USER_DMA_MAP,
        bytes_of(spec::VfioUserDmaMap{
            .argsz = 32, .flags = 3, .offset = 0, .address = kGuestAddress, .size = kMemoryBytes}),
        fds);
    EXPECT_TRUE(reply_ && reply_->header.error == 0) << "guest memory was refused";
  }
  lay_out_rings();
  const shm::SharedBytes all = memory_.bytes();
  const std::vector<std::byte> guard(kGuardBytes, kGuardByte);
  all.copy_in(0, guard);
  all.copy_in(kMemoryBytes - kGuardBytes, guard);
}

ring::Layout HostileDriver::layout() const {
  const ring::Format format = packed() ? ring::Format::kPacked : ring::Format::kSplit;
  return ring::Layout(MUST(ring::QueueSize::from(kQueueSize, format)), format);
}

void HostileDriver::lay_out_rings() {
  const shm::SharedBytes all = memory_.bytes();
  const auto view = [&](window::RegionOffset offset, std::uint64_t bytes) {
    return MUST(all.slice(std::to_underlying(offset), bytes));
  };
  for (std::uint16_t queue = 0; queue < queues(); ++queue) {
    const auto at = layout().block_at(window::RegionOffset{kRings + kRingBytes * queue});
    const shm::SharedBytes descriptors = view(at.descriptors, layout().descriptors().bytes);
    Ring& ring = rings_[queue];
    ring = {};
    if (packed()) {
      ring.packed = HostilePackedRing(descriptors);
      continue;
    }
    ring.descriptors = ring::DescriptorWriter(descriptors);
    ring.avail = ring::AvailWriter(view(at.driver, layout().driver().bytes));
    ring.used = ring::UsedReader(view(at.device, layout().device().bytes));
  }
}

// --- messages ---

const std::optional<vfio_user::Message>& HostileDriver::exchange(std::uint16_t command,
                                                                 const Bytes& payload,
                                                                 const std::vector<Fd>& fds,
                                                                 std::uint32_t flags) {
  const std::uint16_t id = next_id_++;
  exchange_bytes(vfio_user::make_message(id, command, payload, flags), fds);
  if (reply_) {
    EXPECT_EQ(reply_->header.message_id, id) << "the answer to another message";
    EXPECT_EQ(reply_->header.command, command);
  }
  return reply_;
}

const std::optional<vfio_user::Message>& HostileDriver::exchange_bytes(const Bytes& bytes,
                                                                       const std::vector<Fd>& fds) {
  reply_.reset();
  if (peer_.send(bytes, fds)) reply_ = peer_.receive();
  return reply_;
}

void HostileDriver::post(std::uint16_t command, const Bytes& payload) {
  peer_.send(vfio_user::make_message(next_id_++, command, payload, spec::VFIO_USER_F_NO_REPLY));
}

// --- registers ---

// Without an answer: a read that follows is answered after it, which is all that a driver knows.
void HostileDriver::write_bytes(unsigned region, std::uint64_t offset,
                                std::span<const std::byte> bytes) {
  post(spec::VFIO_USER_REGION_WRITE, access_payload(region, offset, bytes.size(), bytes));
}

void HostileDriver::write(unsigned region, std::uint64_t offset, std::uint64_t value,
                          unsigned width) {
  const Le64 wire(value);
  write_bytes(region, offset, std::as_bytes(std::span(&wire, 1)).first(width));
}

std::uint64_t HostileDriver::read(unsigned region, std::uint64_t offset, unsigned width) {
  exchange(spec::VFIO_USER_REGION_READ, access_payload(region, offset, width));
  constexpr std::size_t kBefore = sizeof(spec::VfioUserRegionAccess);
  Le64 wire(~std::uint64_t{0});
  if (reply_ && reply_->payload.size() == kBefore + width) {
    wire.set(0);
    std::ranges::copy(std::span(reply_->payload).subspan(kBefore, std::min(width, 8U)),
                      std::as_writable_bytes(std::span(&wire, 1)).begin());
  }
  return wire.get();
}

void HostileDriver::notify(std::uint16_t queue) {
  write(pci::kRegistersBar, pci::kNotifyOffset + std::uint64_t{queue} * pci::kNotifyMultiplier,
        queue, 2);
}

void HostileDriver::describe_queue(std::uint16_t queue, const QueueRegisters& registers) {
  common(Common::kQueueSelect, queue, 2);
  common(Common::kQueueSize, registers.size, 2);
  common(Common::kQueueVector, registers.vector, 2);
  common(Common::kQueueDesc, registers.descriptors, 8);
  common(Common::kQueueDriver, registers.driver, 8);
  common(Common::kQueueDevice, registers.device, 8);
}

void HostileDriver::enable_queue(std::uint16_t queue) {
  common(Common::kQueueSelect, queue, 2);
  common(Common::kQueueEnable, 1, 2);
}

// --- the honest way ---

std::uint64_t HostileDriver::offered() {
  std::uint64_t all = 0;
  for (std::uint32_t word = 0; word < 2; ++word) {
    common(Common::kDeviceFeatureSelect, word, 4);
    all |= common(Common::kDeviceFeature, 4) << (32 * word);
  }
  return all;
}

std::uint64_t HostileDriver::features() {
  std::uint64_t wanted = feature(spec::VIRTIO_F_VERSION_1) |
                         feature(spec::VIRTIO_F_ACCESS_PLATFORM) | target_.subject().features() |
                         manner_.accept;
  if (!manner_.in_guest_memory) {
    const bool bus = target_.options().offer == pci::AddressOffer::kBus;
    wanted |= feature(bus ? spec::VIRTIO_F_SWIOTLB : spec::VIRTIO_F_DMB);
  }
  return wanted & ~manner_.decline & offered();
}

bool HostileDriver::packed() const {
  return (accepted_ & feature(spec::VIRTIO_F_RING_PACKED)) != 0;
}

HostileDriver::QueueRegisters HostileDriver::queue_registers(std::uint16_t queue) const {
  const auto at = layout().block_at(window::RegionOffset{kRings + kRingBytes * queue});
  return {.size = kQueueSize,
          .vector = static_cast<std::uint16_t>(kConfigVector + 1 + queue),
          .descriptors = address(std::to_underlying(at.descriptors)),
          .driver = address(std::to_underlying(at.driver)),
          .device = address(std::to_underlying(at.device))};
}

void HostileDriver::reset() {
  set_status(0);
  EXPECT_TRUE(eventually([this] { return status() == 0; })) << "a reset that never ends";
}

bool HostileDriver::negotiate(std::uint64_t features, std::uint32_t beyond) {
  reset();
  set_status(kDriverStatus);
  const std::array<std::uint32_t, 3> words{static_cast<std::uint32_t>(features),
                                           static_cast<std::uint32_t>(features >> 32), beyond};
  for (std::uint32_t word = 0; word < words.size(); ++word) {
    common(Common::kDriverFeatureSelect, word, 4);
    common(Common::kDriverFeature, words[word], 4);
  }
  set_status(kDriverStatus | spec::VIRTIO_CONFIG_S_FEATURES_OK);
  if ((status() & spec::VIRTIO_CONFIG_S_FEATURES_OK) == 0) return false;
  accepted_ = features;
  return true;
}

void HostileDriver::start() {
  place_bars();
  reset();  // one that is under way would change the registers that features() reads by
  EXPECT_TRUE(negotiate(features())) << "FEATURES_OK was refused";
  lay_out_rings();
  memory().fill_zero(kRings, kRingBytes * rings_.size());
  common(Common::kConfigVector, kConfigVector, 2);
  for (std::uint16_t queue = 0; queue < queues(); ++queue) {
    describe_queue(queue, queue_registers(queue));
    enable_queue(queue);
  }
  constexpr std::uint8_t kAll =
      kDriverStatus | spec::VIRTIO_CONFIG_S_FEATURES_OK | spec::VIRTIO_CONFIG_S_DRIVER_OK;
  set_status(kAll);
  EXPECT_EQ(status(), kAll);
  target_.subject().begin(*this);
  for (std::uint16_t vector = 0; vector < vectors(); ++vector)
    static_cast<void>(take_interrupt(vector));
}

bool HostileDriver::guards_untouched() const {
  for (const std::uint64_t guard : {std::uint64_t{0}, kMemoryBytes - kGuardBytes}) {
    std::vector<std::byte> found(kGuardBytes);
    memory().copy_out(guard, found);
    if (!std::ranges::all_of(found, [](std::byte byte) { return byte == kGuardByte; }))
      return false;
  }
  return true;
}

// --- rings ---

std::uint64_t HostileDriver::address(std::uint64_t offset) const {
  if (manner_.in_guest_memory) return kGuestAddress + offset;
  return target_.options().offer == pci::AddressOffer::kBus ? kBarAddress + offset : offset;
}

airlock_descriptor HostileDriver::readable(std::uint64_t offset, std::uint32_t length) const {
  return {.address = address(offset), .length = length, .flags = 0, .next = 0};
}

airlock_descriptor HostileDriver::writable(std::uint64_t offset, std::uint32_t length) const {
  return {.address = address(offset), .length = length, .flags = AIRLOCK_DESC_WRITE, .next = 0};
}

airlock_descriptor HostileDriver::header(std::uint32_t type, std::uint64_t sector) const {
  memory().put(kHeader, spec::VirtioBlkReqHeader{
                            .type = Le32(type), .reserved = Le32(0), .sector = Le64(sector)});
  return readable(kHeader, sizeof(spec::VirtioBlkReqHeader));
}

airlock_descriptor HostileDriver::status_byte() const {
  memory().store_relaxed<std::uint8_t>(kStatus, kNoStatus);
  return writable(kStatus, 1);
}

std::uint8_t HostileDriver::status_written() const {
  return memory().load_relaxed<std::uint8_t>(kStatus);
}

airlock_descriptor HostileDriver::table(const std::vector<airlock_descriptor>& chain) const {
  const auto bytes = static_cast<std::uint32_t>(chain.size() * AIRLOCK_DESC_BYTES);
  const shm::SharedBytes room = MUST(memory().slice(kTable, kData - kTable));
  const ring::DescriptorWriter entries(room);
  for (std::uint32_t i = 0; i < chain.size(); ++i) {
    airlock_descriptor linked = chain[i];
    if (packed()) {
      ring::PackedTableWriter(room).put(i, linked);
      continue;
    }
    if (i + 1 < chain.size()) {
      linked.flags |= AIRLOCK_DESC_NEXT;
      linked.next = static_cast<std::uint16_t>(i + 1);
    }
    entries.put(i, linked);
  }
  airlock_descriptor named = readable(kTable, bytes);
  named.flags = AIRLOCK_DESC_INDIRECT;
  return named;
}

void HostileDriver::put(std::uint16_t queue, std::uint32_t index,
                        const airlock_descriptor& descriptor) const {
  rings_[queue].descriptors.put(index, descriptor);
}

void HostileDriver::put_chain(std::uint16_t queue,
                              const std::vector<airlock_descriptor>& chain) const {
  for (std::uint32_t i = 0; i < chain.size(); ++i) {
    airlock_descriptor linked = chain[i];
    if (i + 1 < chain.size()) {
      linked.flags |= AIRLOCK_DESC_NEXT;
      linked.next = static_cast<std::uint16_t>(i + 1);
    }
    put(queue, i, linked);
  }
}

void HostileDriver::make_available(std::uint16_t queue, std::uint16_t head) {
  Ring& ring = rings_[queue];
  ring.avail.put(ring.next_avail % kQueueSize, head);
  ring.next_avail = static_cast<std::uint16_t>(ring.next_avail + 1);
  ring.avail.publish_index(ring::RingIndex(ring.next_avail));
}

void HostileDriver::offer(std::uint16_t queue, std::uint16_t head) {
  make_available(queue, head);
  notify(queue);
}

void HostileDriver::jump(std::uint16_t queue, std::uint16_t steps) {
  Ring& ring = rings_[queue];
  ring.next_avail = static_cast<std::uint16_t>(ring.next_avail + steps);
  ring.avail.publish_index(ring::RingIndex(ring.next_avail));
  notify(queue);
}

void HostileDriver::submit_request(std::uint16_t queue, std::uint32_t type, std::uint64_t sector,
                                   std::uint32_t bytes) {
  const bool reads = type == spec::VIRTIO_BLK_T_IN;
  submit(queue, {header(type, sector), reads ? writable(kData, bytes) : readable(kData, bytes),
                 status_byte()});
}

void HostileDriver::submit(std::uint16_t queue, const std::vector<airlock_descriptor>& chain) {
  if (packed()) {
    rings_[queue].packed.submit(chain);
    return notify(queue);
  }
  put_chain(queue, chain);
  offer(queue, 0);
}

std::optional<ring::UsedElement> HostileDriver::take_used(std::uint16_t queue) {
  Ring& ring = rings_[queue];
  if (packed()) return ring.packed.take_used();
  if (used_index(queue) == ring.next_used) return std::nullopt;
  return ring.used.snapshot(ring.next_used++ % kQueueSize);
}

std::optional<ring::UsedElement> HostileDriver::wait_used(std::uint16_t queue) {
  const bool nudged = queue == this->queue() && target_.subject().nudge(*this);
  const auto used = await_used(queue);
  if (used && nudged) static_cast<void>(await_used(target_.subject().nudging_queue()));
  return used;
}

std::optional<ring::UsedElement> HostileDriver::await_used(std::uint16_t queue) {
  std::optional<ring::UsedElement> used;
  if (!eventually([&] { return (used = take_used(queue)).has_value(); })) {
    ADD_FAILURE() << "a request that never ends";
    return std::nullopt;
  }
  return used;
}

std::optional<std::vector<std::byte>> HostileDriver::receive(std::uint16_t queue) {
  submit(queue, {writable(kReceive, kReceiveBytes)});
  const auto used = wait_used(queue);
  if (!used) return std::nullopt;
  std::vector<std::byte> bytes(std::min(used->length, kReceiveBytes));
  memory().copy_out(kReceive, bytes);
  return bytes;
}

}  // namespace airlock::testing
