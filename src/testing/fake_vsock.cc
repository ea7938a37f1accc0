// SPDX-License-Identifier: Apache-2.0
#include "testing/fake_vsock.h"

#include <algorithm>
#include <string>
#include <utility>

#include "base/check.h"
#include "spec/pci.h"

namespace airlock::testing {

std::uint32_t FakeVsock::pci_class() const {
  return spec::PCI_CLASS_COMMUNICATION_OTHER;
}

void FakeVsock::read_config(std::uint32_t offset, std::span<std::byte> target) const {
  const spec::VirtioVsockConfig config{.guest_cid = Le64(guest_cid)};
  const auto image = std::as_bytes(std::span(&config, 1));
  std::ranges::copy(image.subspan(offset, target.size()), target.begin());
}

Result<void> FakeVsock::start(const pci::Negotiated& negotiated,
                              std::span<const pci::QueueSetup> queues) {
  for (const pci::QueueSetup& setup : queues)
    TRY(start_queue(negotiated, setup));
  return {};
}

Result<void> FakeVsock::start_queue(const pci::Negotiated& negotiated,
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
  return {};
}

void FakeVsock::reset_queue(std::uint16_t queue, std::function<void()> done) {
  std::erase_if(queues_, [=](const auto& ring) { return ring.queue() == queue; });
  done();
}

void FakeVsock::stop(std::function<void()> done) {
  queues_.clear();
  done();
}

ring::DeviceQueue* FakeVsock::find(std::uint16_t queue) {
  const auto found =
      std::ranges::find(queues_, queue, [](const auto& ring) { return ring.queue(); });
  return found != queues_.end() ? &*found : nullptr;
}

void FakeVsock::show(ring::DeviceQueue& queue) {
  queue.publish();
  if (queue.driver_wants_interrupt()) transport_->interrupt_queue(queue.queue());
}

void FakeVsock::notify(std::uint16_t queue) {
  if (queue == spec::VIRTIO_VSOCK_QUEUE_TX && !deaf) serve();
  if (on_notify) on_notify(queue);
}

void FakeVsock::serve() {
  // What is said in answer may have the driver send, which notifies.
  if (std::exchange(serving_, true)) return;
  ring::DeviceQueue* const queue = find(spec::VIRTIO_VSOCK_QUEUE_TX);
  ring::Chain chain;
  while (queue != nullptr && MUST(queue->pop(chain))) {
    const auto read = chain.read<Header>(0);
    if (!read || read->len.get() > chain.readable_bytes() - sizeof(Header)) {
      deaf = true;
      transport_->report_violation({.code = Errc::kBadLength, .queue = queue->queue()});
      break;
    }
    const Header header = *read;
    std::string payload(header.len.get(), '\0');
    MUST(chain.read(sizeof header, std::as_writable_bytes(std::span(payload))));
    MUST(queue->push_used(chain.head(), 0));
    heard.push_back(header);
    if (on_packet) on_packet(header, payload);
  }
  if (queue != nullptr) show(*queue);
  serving_ = false;
}

bool FakeVsock::put(std::uint16_t index, std::span<const std::byte> bytes,
                    std::optional<std::uint32_t> written) {
  ring::DeviceQueue* const queue = find(index);
  ring::Chain chain;
  const auto head = queue != nullptr ? MUST(queue->pop(chain)) : std::nullopt;
  if (!head) return false;
  const auto fits = bytes.first(std::min<std::size_t>(bytes.size(), chain.writable_bytes()));
  MUST(chain.write(0, fits));
  MUST(queue->push_used(*head, written.value_or(static_cast<std::uint32_t>(fits.size()))));
  show(*queue);
  return true;
}

bool FakeVsock::say(const Header& header, std::string_view payload,
                    std::optional<std::uint32_t> written) {
  const auto head = std::as_bytes(std::span(&header, 1));
  const auto body = std::as_bytes(std::span(payload));
  std::vector<std::byte> bytes(head.begin(), head.end());
  bytes.insert(bytes.end(), body.begin(), body.end());
  return put(spec::VIRTIO_VSOCK_QUEUE_RX, bytes, written);
}

bool FakeVsock::say_event(std::uint32_t id, std::optional<std::uint32_t> written) {
  const spec::VirtioVsockEvent event{.id = Le32(id)};
  return put(spec::VIRTIO_VSOCK_QUEUE_EVENT, std::as_bytes(std::span(&event, 1)), written);
}

FakeVsock::Header FakeVsock::answer_to(const Header& packet, std::uint16_t op) {
  Header answer{};
  answer.src_cid = packet.dst_cid;
  answer.dst_cid = packet.src_cid;
  answer.src_port = packet.dst_port;
  answer.dst_port = packet.src_port;
  answer.type = packet.type;
  answer.op.set(op);
  answer.buf_alloc.set(65536);
  return answer;
}

FakeVsockDevice::FakeVsockDevice()
    : memfd(MUST(shm::SealedMemfd::create({.size = std::uint64_t{4} << 20}))),
      mapping(MUST(memfd.map())),
      window(mapping.bytes()) {
  vsock.window = &window;
}

pci::VirtioPciDevice& FakeVsockDevice::device() {
  if (!device_) {
    device_ = MUST(pci::VirtioPciDevice::create({.negotiation = {}}, vsock, window));
    vsock.set_transport(device_.get());
  }
  return *device_;
}

}  // namespace airlock::testing
