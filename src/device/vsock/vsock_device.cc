// SPDX-License-Identifier: Apache-2.0
#include "device/vsock/vsock_device.h"

#include <bit>

#include "base/check.h"
#include "spec/pci.h"
#include "spec/virtio.h"

namespace airlock::device {

namespace {
constexpr std::uint16_t kVsockQueueSizeLeast = 2;
constexpr std::uint16_t kVsockQueueSizeMost = 32768;
}  // namespace

Result<std::unique_ptr<VsockDevice>> VsockDevice::create(Options options) {
  CHECK(options.connector);
  const std::uint16_t size = options.queue_size;
  if (!std::has_single_bit(size) || size < kVsockQueueSizeLeast || size > kVsockQueueSizeMost) {
    return fail({.code = Errc::kBadQueueSize, .detail = size});
  }
  // VIRTIO 1.3, 5.10.6.4.2: none of the reserved ones.
  if (options.guest_cid < spec::VIRTIO_VSOCK_CID_GUEST_MIN ||
      options.guest_cid == spec::VIRTIO_VSOCK_CID_ANY) {
    return fail({.code = Errc::kOutOfRange, .address = options.guest_cid});
  }
  std::vector<VsockListener> listeners = std::move(options.listeners);
  const VsockConnections::Options limits{.guest_cid = options.guest_cid,
                                         .most = options.connections_most,
                                         .connector = options.connector.get()};
  std::unique_ptr<VsockDevice> device(new VsockDevice(std::move(options)));
  VsockShared& shared = device->shared_;
  shared.connections = TRY(VsockConnections::create(limits));
  shared.host = TRY(VsockHost::create({.listeners = std::move(listeners),
                                       .connections = shared.connections.get(),
                                       .connector = device->connector_.get()}));
  return device;
}

VsockDevice::VsockDevice(Options options)
    : queue_size_(options.queue_size),
      features_(options.ring_features | spec::feature(spec::VIRTIO_VSOCK_F_STREAM) |
                spec::feature(spec::VIRTIO_VSOCK_F_NO_IMPLIED_STREAM) |
                (options.seqpacket ? spec::feature(spec::VIRTIO_VSOCK_F_SEQPACKET) : 0)),
      config_{.guest_cid = Le64(options.guest_cid)},
      connector_(std::move(options.connector)) {}

std::uint32_t VsockDevice::pci_class() const {
  return spec::PCI_CLASS_COMMUNICATION_OTHER;
}

Result<std::unique_ptr<QueueTask>> VsockDevice::make_queue(const QueueContext& context) {
  const std::uint16_t queue = context.setup.index;
  if (queue >= spec::VIRTIO_VSOCK_QUEUES) return fail({.code = Errc::kBadIndex, .detail = queue});
  if (context.setup.size == 0 || context.setup.size > queue_size_) {
    return fail({.code = Errc::kBadQueueSize, .queue = queue, .detail = context.setup.size});
  }
  // VIRTIO 1.3, 5.10.3.2: without a word about it, streams are in use.
  const bool stream = context.negotiated.has(spec::VIRTIO_VSOCK_F_STREAM) ||
                      !context.negotiated.has(spec::VIRTIO_VSOCK_F_NO_IMPLIED_STREAM);
  shared_.connections->configure(stream, context.negotiated.has(spec::VIRTIO_VSOCK_F_SEQPACKET));
  switch (queue) {
    case spec::VIRTIO_VSOCK_QUEUE_RX:
      return make_vsock_rx_queue(context, shared_);
    case spec::VIRTIO_VSOCK_QUEUE_TX:
      return make_vsock_tx_queue(context, shared_);
    default:
      return make_vsock_event_queue(context, shared_);
  }
}

}  // namespace airlock::device
