// SPDX-License-Identifier: Apache-2.0
#include "testing/fake_net.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "spec/pci.h"

namespace airlock::testing {

namespace {

constexpr std::uint32_t kNetHeaderBytes = sizeof(spec::VirtioNetHdr);

std::uint64_t bit(unsigned number) {
  return spec::feature(number);
}

}  // namespace

FakeNet::FakeNet() {
  config.mac[0] = 0x52;
  config.mac[5] = 1;
  config.status.set(spec::VIRTIO_NET_S_LINK_UP);
  config.max_virtqueue_pairs.set(1);
  config.mtu.set(1500);
  own_features = bit(spec::VIRTIO_NET_F_MAC) | bit(spec::VIRTIO_NET_F_STATUS) |
                 bit(spec::VIRTIO_NET_F_MTU) | bit(spec::VIRTIO_NET_F_MRG_RXBUF) |
                 bit(spec::VIRTIO_NET_F_CSUM) | bit(spec::VIRTIO_NET_F_GUEST_CSUM) |
                 bit(spec::VIRTIO_NET_F_CTRL_VQ) | bit(spec::VIRTIO_NET_F_CTRL_RX) |
                 bit(spec::VIRTIO_NET_F_CTRL_MAC_ADDR) | bit(spec::VIRTIO_NET_F_GUEST_ANNOUNCE);
}

std::uint32_t FakeNet::pci_class() const {
  return spec::PCI_CLASS_NETWORK_ETHERNET;
}

void FakeNet::read_config(std::uint32_t offset, std::span<std::byte> target) const {
  const auto image = std::as_bytes(std::span(&config, 1));
  std::ranges::copy(image.subspan(offset, target.size()), target.begin());
}

Result<void> FakeNet::start(const pci::Negotiated& negotiated,
                            std::span<const pci::QueueSetup> queues) {
  for (const pci::QueueSetup& setup : queues) {
    TRY(start_queue(negotiated, setup));
  }
  return {};
}

Result<void> FakeNet::start_queue(const pci::Negotiated& negotiated, const pci::QueueSetup& queue) {
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
  negotiated_ = negotiated.features;
  return {};
}

void FakeNet::reset_queue(std::uint16_t queue, std::function<void()> done) {
  std::erase_if(queues_, [=](const auto& ring) { return ring.queue() == queue; });
  std::erase_if(setups_, [=](const auto& setup) { return setup.index == queue; });
  done();
}

void FakeNet::stop(std::function<void()> done) {
  queues_.clear();
  setups_.clear();
  done();
}

void FakeNet::notify(std::uint16_t /*queue*/) {
  if (!held) serve();
}

void FakeNet::serve() {
  for (ring::DeviceQueue& queue : queues_) {
    if (queue.queue() % 2 == 1 || is_control(queue.queue())) serve_queue(queue);
  }
}

bool FakeNet::deliver(std::span<const std::byte> frame, const Delivery& how) {
  ring::DeviceQueue* const queue = find(0);
  if (queue == nullptr) return false;
  const bool mergeable = (negotiated_ & bit(spec::VIRTIO_NET_F_MRG_RXBUF)) != 0;
  Bytes message(kNetHeaderBytes);
  message.insert(message.end(), frame.begin(), frame.end());
  std::vector<ring::Chain> chains;
  std::size_t room = 0;
  for (ring::Chain chain; room < message.size();) {
    const auto head = queue->pop(chain);
    if (!head || !*head) return false;
    room += std::min<std::size_t>(chain.writable_bytes(),
                                  how.buffer_bytes_max.value_or(chain.writable_bytes()));
    chains.push_back(chain);
    if (!mergeable) break;
  }
  spec::VirtioNetHdr header = how.header;
  header.num_buffers.set(how.num_buffers.value_or(static_cast<std::uint16_t>(chains.size())));
  std::ranges::copy(std::as_bytes(std::span(&header, 1)), message.begin());
  std::span<const std::byte> left = message;
  for (const ring::Chain& chain : chains) {
    const std::size_t most = std::min<std::size_t>(
        chain.writable_bytes(), how.buffer_bytes_max.value_or(chain.writable_bytes()));
    const std::size_t count = std::min(most, left.size());
    MUST(chain.write(0, left.first(count)));
    const bool first = left.size() == message.size();
    const auto written = static_cast<std::uint32_t>(count);
    MUST(queue->push_used(chain.head(), first ? how.written.value_or(written) : written));
    left = left.subspan(count);
  }
  show(*queue);
  return true;
}

FakeDevice FakeNet::raw(std::uint16_t queue) const {
  const auto found = std::ranges::find(setups_, queue, &pci::QueueSetup::index);
  CHECK(found != setups_.end());
  const std::uint64_t base = std::to_underlying(window->region_bus_base());
  const auto offset = [=](window::DriverAddress address) {
    return window::RegionOffset{std::to_underlying(address) - base};
  };
  const ring::AreaOffsets areas{.descriptors = offset(found->descriptor_area),
                                .driver = offset(found->driver_area),
                                .device = offset(found->device_area)};
  return {
    window->region(), MUST(ring::QueueSize::from(found->size))
    , areas
  };
}

ring::DeviceQueue* FakeNet::find(std::uint16_t queue) {
  const auto found = std::ranges::find(queues_, queue, &ring::DeviceQueue::queue);
  return found == queues_.end() ? nullptr : &*found;
}

bool FakeNet::is_control(std::uint16_t queue) const {
  return queue + 1U == queue_sizes.size() && queue % 2 == 0;
}

void FakeNet::serve_queue(ring::DeviceQueue& queue) {
  ring::Chain chain;
  for (;;) {
    const auto head = queue.pop(chain);
    if (!head) {
      transport_->report_violation(head.error());
      return;
    }
    if (!*head) break;
    std::uint32_t written = is_control(queue.queue()) ? obey(chain) : transmit(chain);
    if (on_return) on_return(written);
    MUST(queue.push_used(chain.head(), std::min(written, chain.writable_bytes())));
  }
  show(queue);
}

std::uint32_t FakeNet::transmit(const ring::Chain& chain) {
  // What has no frame is sent nowhere.
  if (chain.readable_bytes() <= kNetHeaderBytes) return 0;
  sent_headers.push_back(MUST(chain.read<spec::VirtioNetHdr>(0)));
  Bytes frame(chain.readable_bytes() - kNetHeaderBytes);
  MUST(chain.read(kNetHeaderBytes, frame));
  if (loops) static_cast<void>(deliver(frame));
  sent.push_back(std::move(frame));
  return 0;
}

std::uint32_t FakeNet::obey(const ring::Chain& chain) {
  Command& command = commands.emplace_back();
  command.header = MUST(chain.read<spec::VirtioNetCtrlHdr>(0));
  command.data.resize(chain.readable_bytes() - sizeof command.header);
  MUST(chain.read(sizeof command.header, command.data));
  const std::uint8_t honest = knows(command) ? spec::VIRTIO_NET_OK : spec::VIRTIO_NET_ERR;
  const std::byte answer{ack.value_or(honest)};
  MUST(chain.write(0, std::span(&answer, 1)));
  return 1;
}

bool FakeNet::knows(const Command& command) {
  const std::uint8_t number = command.header.command;
  const std::size_t bytes = command.data.size();
  switch (command.header.command_class) {
    case spec::VIRTIO_NET_CTRL_RX:
      return number <= spec::VIRTIO_NET_CTRL_RX_NOBCAST && bytes == 1;
    case spec::VIRTIO_NET_CTRL_MAC:
      return number == spec::VIRTIO_NET_CTRL_MAC_ADDR_SET && bytes == spec::VIRTIO_NET_MAC_BYTES;
    case spec::VIRTIO_NET_CTRL_MQ:
      return number == spec::VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET && bytes == sizeof(Le16);
    case spec::VIRTIO_NET_CTRL_ANNOUNCE:
      return number == spec::VIRTIO_NET_CTRL_ANNOUNCE_ACK && bytes == 0;
    default:
      return false;
  }
}

void FakeNet::show(ring::DeviceQueue& queue) {
  queue.publish();
  if (queue.driver_wants_interrupt()) transport_->interrupt_queue(queue.queue());
}

FakeNetDevice::FakeNetDevice(const Options& options)
    : memfd(options.shared ? MUST(shm::SealedMemfd::adopt(MUST(options.shared->fd().duplicate()),
                                                          options.shared->size()))
                           : MUST(shm::SealedMemfd::create({.size = options.region_bytes}))),
      mapping(MUST(memfd.map())),
      window(mapping.bytes()),
      options_(options) {
  net.window = &window;
}

pci::VirtioPciDevice& FakeNetDevice::device() {
  if (!device_) {
    device_ =
        MUST(pci::VirtioPciDevice::create({.negotiation = options_.negotiation}, net, window));
    net.set_transport(device_.get());
  }
  return *device_;
}

}  // namespace airlock::testing
