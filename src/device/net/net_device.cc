// SPDX-License-Identifier: Apache-2.0
#include "device/net/net_device.h"

#include <bit>
#include <utility>

#include "base/check.h"
#include "device/net/net_receive_queue.h"
#include "device/net/net_transmit_queue.h"
#include "spec/pci.h"
#include "spec/virtio.h"

namespace airlock::device {

Result<std::unique_ptr<NetDevice>> NetDevice::create(Options options) {
  CHECK(options.backend);
  const NetShape& shape = options.shape;
  if (!std::has_single_bit(shape.queue_size) || shape.queue_size < kNetQueueSizeLeast ||
      shape.queue_size > kNetQueueSizeMost) {
    return fail({.code = Errc::kBadQueueSize, .detail = shape.queue_size});
  }
  if (shape.pairs == 0 || shape.pairs > kNetPairsMost ||
      shape.pairs > options.backend->channels_max()) {
    return fail({.code = Errc::kOutOfRange, .address = shape.pairs});
  }
  // 5.1.4.1.
  if (shape.mtu != 0 && shape.mtu < spec::VIRTIO_NET_MTU_MIN) {
    return fail({.code = Errc::kOutOfRange, .address = shape.mtu});
  }
  std::unique_ptr<NetDevice> device(new NetDevice(std::move(options)));
  TRY(device->open_pairs());
  return device;
}

NetDevice::NetDevice(Options options)
    : backend_(std::move(options.backend)),
      shape_(options.shape),
      features_(net_features(backend_->offloads(), shape_) | options.ring_features),
      config_(net_config(shape_, backend_->link_up())),
      metrics_(shape_.queues()),
      self_(std::make_shared<NetDevice*>(this)) {
  shared_.name = backend_->describe();
}

NetDevice::~NetDevice() {
  *self_ = nullptr;
}

Result<void> NetDevice::open_pairs() {
  for (std::uint16_t i = 0; i < shape_.pairs; ++i) {
    pairs_.push_back({
      .channel = TRY(backend_->open_channel())
      , .taken_into_use = TRY(EventFd::create())
    });
  }
  return {};
}

std::uint16_t NetDevice::virtio_id() const {
  return spec::VIRTIO_ID_NET;
}

std::uint32_t NetDevice::pci_class() const {
  return spec::PCI_CLASS_NETWORK_ETHERNET;
}

void NetDevice::attach(const DeviceHost& host) {
  host_ = host;
  backend_->on_link_change([self = self_, post = host_.post] {
    post([self] {
      if (*self != nullptr) (*self)->follow_link();
    });
  });
  follow_link();
}

Result<std::unique_ptr<QueueTask>> NetDevice::make_queue(const QueueContext& context) {
  const std::uint16_t queue = context.setup.index;
  if (context.setup.size == 0 || context.setup.size > shape_.queue_size) {
    return fail({.code = Errc::kBadQueueSize, .queue = queue, .detail = context.setup.size});
  }
  const pci::Negotiated& negotiated = context.negotiated;
  if (!started_) TRY(begin(negotiated.features));
  // 5.1.2: where the control queue is depends on what the driver accepted.
  const std::uint16_t pairs = negotiated.has(spec::VIRTIO_NET_F_MQ) ? shape_.pairs : 1;
  if (queue == 2 * pairs && negotiated.has(spec::VIRTIO_NET_F_CTRL_VQ)) {
    return make_control_queue(context);
  }
  if (queue >= 2 * pairs) return fail({.code = Errc::kBadIndex, .queue = queue, .detail = queue});
  NetPair& pair = pairs_[queue / 2];
  if (queue % 2 != 0) {
    return make_net_transmit_queue(context, {.pair = &pair, .metrics = &metrics_[queue]});
  }
  return make_net_receive_queue(context, {.pair_index = static_cast<std::uint16_t>(queue / 2),
                                          .mtu = shape_.mtu,
                                          .pair = &pair,
                                          .shared = &shared_,
                                          .metrics = &metrics_[queue]});
}

Result<std::unique_ptr<QueueTask>> NetDevice::make_control_queue(const QueueContext& context) {
  answer_ = TRY(NetAnswer::create());
  auto carry_out = [self = self_, post = host_.post, answer = answer_](const NetCommand& command,
                                                                       std::uint64_t number) {
    post([self, answer, command, number] {
      // Of a driver that is gone, or of a queue that was reset since, nothing is done any more.
      if (*self == nullptr || (*self)->answer_ != answer) return;
      answer->give(number, (*self)->carry_out(command));
    });
  };
  return make_net_control_queue(
      context, {.rules = {.features = context.negotiated.features, .pairs_max = shape_.pairs},
                .answer = answer_,
                .carry_out = std::move(carry_out),
                .metrics = &metrics_[context.setup.index]});
}

Result<void> NetDevice::begin(std::uint64_t features) {
  negotiated_ = features;
  filter_ = NetFilter::initial(features, shape_.mac);
  shared_.filter.post(filter_);
  TRY(use_pairs(1));
  TRY(use_offloads(features & kNetGuestOffloads));
  started_ = true;
  return {};
}

void NetDevice::stopped() {
  started_ = false;
  negotiated_ = 0;
  answer_.reset();
  config_.mac = shape_.mac;
  set_status(spec::VIRTIO_NET_S_ANNOUNCE, false);
}

std::uint8_t NetDevice::carry_out(const NetCommand& command) {
  using Command = NetCommand::Kind;
  switch (command.kind) {
    case Command::kPromiscuous:
      filter_.promiscuous = command.on;
      break;
    case Command::kAllMulticast:
      filter_.all_multicast = command.on;
      break;
    case Command::kAllUnicast:
      filter_.all_unicast = command.on;
      break;
    case Command::kNoMulticast:
      filter_.no_multicast = command.on;
      break;
    case Command::kNoUnicast:
      filter_.no_unicast = command.on;
      break;
    case Command::kNoBroadcast:
      filter_.no_broadcast = command.on;
      break;
    case Command::kMacTables:
      filter_.unicast = command.unicast;
      filter_.multicast = command.multicast;
      break;
    case Command::kMacAddress:
      filter_.mac = command.mac;
      // 5.1.6.5.2.1: before the command is used.
      if ((negotiated_ & spec::feature(spec::VIRTIO_NET_F_MAC)) != 0) {
        config_.mac = command.mac;
      }
      break;
    case Command::kAddVlan:
    case Command::kDeleteVlan:
      filter_.vlans.set(command.vlan, command.kind == Command::kAddVlan);
      break;
    case Command::kAnnounced:
      // 5.1.6.5.4.2: before the command is used.
      set_status(spec::VIRTIO_NET_S_ANNOUNCE, false);
      return spec::VIRTIO_NET_OK;
    case Command::kPairs:
      return use_pairs(command.pairs) ? spec::VIRTIO_NET_OK : spec::VIRTIO_NET_ERR;
    case Command::kOffloads:
      return use_offloads(command.offloads) ? spec::VIRTIO_NET_OK : spec::VIRTIO_NET_ERR;
    case Command::kRefused:
      return spec::VIRTIO_NET_ERR;
  }
  shared_.filter.post(filter_);
  return spec::VIRTIO_NET_OK;
}

Result<void> NetDevice::use_pairs(std::uint16_t pairs) {
  if (shape_.pairs > 1) TRY(backend_->use_channels(pairs));
  const std::uint16_t before = shared_.pairs.exchange(pairs, std::memory_order_acq_rel);
  for (std::uint16_t i = before; i < pairs; ++i) {
    pairs_[i].taken_into_use.signal();
  }
  return {};
}

Result<void> NetDevice::use_offloads(std::uint64_t offloads) {
  TRY(backend_->set_guest_offloads(offloads));
  shared_.guest_offloads.store(offloads, std::memory_order_release);
  return {};
}

void NetDevice::follow_link() {
  const bool was_up = (config_.status.get() & spec::VIRTIO_NET_S_LINK_UP) != 0;
  const bool up = backend_->link_up();
  if (up == was_up) return;
  set_status(spec::VIRTIO_NET_S_LINK_UP, up);
  // Whoever is at the other end now has not heard of this driver's addresses.
  const bool announces = (negotiated_ & spec::feature(spec::VIRTIO_NET_F_GUEST_ANNOUNCE)) != 0;
  if (up && announces) set_status(spec::VIRTIO_NET_S_ANNOUNCE, true);
  host_.config_changed();
}

void NetDevice::set_status(std::uint16_t bit, bool on) {
  const std::uint16_t status = config_.status.get();
  config_.status.set(static_cast<std::uint16_t>(on ? status | bit : status & ~bit));
}

NetCounts NetDevice::counts(std::uint16_t queue) const {
  CHECK(queue < metrics_.size());
  return metrics_[queue].snapshot();
}

NetCounts NetDevice::counts() const {
  NetCounts sum;
  for (const NetQueueMetrics& metrics : metrics_) {
    sum += metrics.snapshot();
  }
  return sum;
}

}  // namespace airlock::device
