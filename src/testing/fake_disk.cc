// SPDX-License-Identifier: Apache-2.0
#include "testing/fake_disk.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "base/check.h"
#include "core/range.h"
#include "spec/pci.h"

namespace airlock::testing {

namespace {

constexpr std::uint64_t kSector = spec::VIRTIO_BLK_SECTOR_BYTES;

}  // namespace

FakeDisk::FakeDisk() {
  config.capacity.set(bytes.size() / kSector);
}

std::uint32_t FakeDisk::pci_class() const {
  return spec::PCI_CLASS_STORAGE_SCSI;
}

void FakeDisk::read_config(std::uint32_t offset, std::span<std::byte> target) const {
  const auto image = std::as_bytes(std::span(&config, 1));
  std::ranges::copy(image.subspan(offset, target.size()), target.begin());
}

Result<void> FakeDisk::start(const pci::Negotiated& negotiated,
                             std::span<const pci::QueueSetup> queues) {
  for (const pci::QueueSetup& setup : queues) {
    TRY(start_queue(negotiated, setup));
  }
  return {};
}

Result<void> FakeDisk::start_queue(const pci::Negotiated& negotiated,
                                   const pci::QueueSetup& queue) {
  const ring::Features features = ring::Features::from(negotiated.features);
  const ring::QueueSize size = TRY(ring::QueueSize::from(queue.size, features.format));
  const ring::QueueConfig setup{.queue = queue.index,
                                .size = size,
                                .areas = {.descriptors = queue.descriptor_area,
                                          .driver = queue.driver_area,
                                          .device = queue.device_area},
                                .features = features};
  queues_.push_back(TRY(ring::DeviceQueue::create(setup, *window)));
  setups_.push_back(queue);
  starts_++;
  return {};
}

void FakeDisk::reset_queue(std::uint16_t queue, std::function<void()> done) {
  std::erase_if(queues_, [=](const auto& ring) { return ring.queue() == queue; });
  std::erase_if(setups_, [=](const auto& setup) { return setup.index == queue; });
  done();
}

void FakeDisk::stop(std::function<void()> done) {
  queues_.clear();
  setups_.clear();
  done();
}

void FakeDisk::notify(std::uint16_t /*queue*/) {
  if (!held) serve();
}

void FakeDisk::serve(std::size_t most) {
  for (ring::DeviceQueue& queue : queues_) {
    ring::Chain chain;
    for (; most > 0; most--) {
      const auto head = queue.pop(chain);
      if (!head) {
        transport_->report_violation(head.error());
        return;
      }
      if (!*head) break;
      const std::uint32_t written = handle(chain);
      MUST(queue.push_used(chain.head(), written));
    }
    queue.publish();
    if (queue.driver_wants_interrupt()) transport_->interrupt_queue(queue.queue());
  }
}

FakeDevice FakeDisk::raw(std::uint16_t queue) const {
  const auto found = std::ranges::find(setups_, queue, &pci::QueueSetup::index);
  CHECK(found != setups_.end());
  const pci::QueueSetup& setup = *found;
  const auto offset = [this](window::DriverAddress address) {
    const bool bus = window->mode() == window::AddressMode::kBus;
    const std::uint64_t base = bus ? std::to_underlying(window->region_bus_base()) : 0;
    return window::RegionOffset{std::to_underlying(address) - base};
  };
  return {
    window->region(), MUST(ring::QueueSize::from(setup.size))
    , ring::AreaOffsets {
      .descriptors = offset(setup.descriptor_area), .driver = offset(setup.driver_area),
      .device = offset(setup.device_area)
    }
  };
}

std::uint32_t FakeDisk::handle(const ring::Chain& chain) {
  const auto header = MUST(chain.read<spec::VirtioBlkReqHeader>(0));
  seen.push_back(header);
  served_++;
  const std::uint32_t data_bytes = chain.writable_bytes() - 1;
  Answer answer{.status = transfer(header, chain, data_bytes), .written = chain.writable_bytes()};
  if (on_answer) on_answer(header, answer);
  const std::byte status{answer.status};
  MUST(chain.write(data_bytes, std::span(&status, 1)));
  return std::min(answer.written, chain.writable_bytes());
}

std::uint8_t FakeDisk::transfer(const spec::VirtioBlkReqHeader& header, const ring::Chain& chain,
                                std::uint32_t data_bytes) {
  // A sector so far out that it wraps is still one that is not there.
  const std::uint64_t at = std::min(header.sector.get(), bytes.size() / kSector + 1) * kSector;
  switch (header.type.get()) {
    case spec::VIRTIO_BLK_T_IN:
      if (!airlock_range_within(at, data_bytes, bytes.size())) return spec::VIRTIO_BLK_S_IOERR;
      MUST(chain.write(0, std::span(bytes).subspan(at, data_bytes)));
      return spec::VIRTIO_BLK_S_OK;
    case spec::VIRTIO_BLK_T_OUT: {
      const std::uint64_t length = chain.readable_bytes() - sizeof header;
      if (!airlock_range_within(at, length, bytes.size())) return spec::VIRTIO_BLK_S_IOERR;
      MUST(chain.read(sizeof header, std::span(bytes).subspan(at, length)));
      return spec::VIRTIO_BLK_S_OK;
    }
    case spec::VIRTIO_BLK_T_DISCARD:
    case spec::VIRTIO_BLK_T_WRITE_ZEROES: {
      const auto range = chain.read<spec::VirtioBlkDiscardWriteZeroes>(sizeof header);
      if (!range) return spec::VIRTIO_BLK_S_IOERR;
      const std::uint64_t length = range->num_sectors.get() * kSector;
      const std::uint64_t start = std::min(range->sector.get(), bytes.size()) * kSector;
      if (!airlock_range_within(start, length, bytes.size())) return spec::VIRTIO_BLK_S_IOERR;
      std::ranges::fill(std::span(bytes).subspan(start, length), std::byte{0});
      return spec::VIRTIO_BLK_S_OK;
    }
    case spec::VIRTIO_BLK_T_GET_ID: {
      constexpr std::string_view kId = "fake-disk";
      std::vector<std::byte> id(data_bytes);
      std::ranges::transform(kId, id.begin(), [](char c) { return std::byte(c); });
      MUST(chain.write(0, id));
      return spec::VIRTIO_BLK_S_OK;
    }
    case spec::VIRTIO_BLK_T_FLUSH:
      return spec::VIRTIO_BLK_S_OK;
    default:
      return spec::VIRTIO_BLK_S_UNSUPP;
  }
}

FakeDiskDevice::FakeDiskDevice(const Options& options)
    : memfd(options.shared ? MUST(shm::SealedMemfd::adopt(MUST(options.shared->fd().duplicate()),
                                                          options.shared->size()))
                           : MUST(shm::SealedMemfd::create({.size = options.region_bytes}))),
      mapping(MUST(memfd.map())),
      window(mapping.bytes()),
      options_(options) {
  disk.window = &window;
}

pci::VirtioPciDevice& FakeDiskDevice::device() {
  if (!device_) {
    device_ =
        MUST(pci::VirtioPciDevice::create({.negotiation = options_.negotiation}, disk, window));
    disk.set_transport(device_.get());
  }
  return *device_;
}

}  // namespace airlock::testing
