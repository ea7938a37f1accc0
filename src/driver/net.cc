// SPDX-License-Identifier: Apache-2.0
#include "driver/net.h"

#include <algorithm>

namespace airlock::driver {

namespace {

constexpr std::uint32_t kControlSlots = 64;
constexpr std::uint16_t kSendTable = 4;  // entries of an indirect table: header and frame

template <class T>
std::span<const std::byte> wire_bytes(const T& value) {
  return std::as_bytes(std::span(&value, 1));
}

}  // namespace

Result<std::unique_ptr<Net>> Net::open(std::unique_ptr<PciTransport> transport,
                                       const Options& options) {
  Options wanted = options;
  wanted.device.device_type = spec::VIRTIO_ID_NET;
  wanted.device.features = kNetFeatures;
  if (options.receive_in_place) {
    if (options.device.encryption != crypt::Algorithm::kNone) return fail(Errc::kUnsupported);
    // A frame in several buffers could not be handed out as one.
    wanted.device.features &= ~spec::feature(spec::VIRTIO_NET_F_MRG_RXBUF);
  }
  auto device = TRY(VirtioDevice::open(std::move(transport), wanted.device));
  std::unique_ptr<Net> net(new Net(std::move(device), wanted));
  net->info_ = TRY(net->read_info());
  net->make_queues();
  TRY(net->attach_queues());
  return net;
}

Net::~Net() {
  stop_queues();
  (void)device_->quiesce();
  receivers_.clear();
  in_place_receivers_.clear();
  senders_.clear();
  control_.reset();
}

Result<void> Net::send(std::span<const std::byte> frame) {
  const Deadline deadline = Deadline::after(options_.timeout);
  for (;;) {
    while (senders_[0]->poll()) {
    }
    const auto submitted = senders_[0]->submit({.bytes = frame});
    if (submitted) {
      senders_[0]->kick();
      return {};
    }
    const Errc code = submitted.error().code;
    const bool full = code == Errc::kQueueFull || code == Errc::kPoolFull;
    if (!full || senders_[0]->inside() == 0) return fail(submitted.error());
    TRY(senders_[0]->wait(deadline.left()));
  }
}

Result<NetStatus> Net::status() {
  std::size_t available = 0;
  const auto config = TRY(read_config(available));
  return parse_net_status(config, device_->negotiation().accepted);
}

Result<void> Net::set_mac(const MacAddress& mac) {
  return command(spec::VIRTIO_NET_F_CTRL_MAC_ADDR, spec::VIRTIO_NET_CTRL_MAC,
                 spec::VIRTIO_NET_CTRL_MAC_ADDR_SET, std::as_bytes(std::span(mac)));
}

Result<void> Net::set_promiscuous(bool on) {
  const std::uint8_t value = on ? 1 : 0;
  return command(spec::VIRTIO_NET_F_CTRL_RX, spec::VIRTIO_NET_CTRL_RX,
                 spec::VIRTIO_NET_CTRL_RX_PROMISC, wire_bytes(value));
}

Result<void> Net::use_pairs(std::uint16_t pairs) {
  if (pairs == 0 || pairs > pair_count()) return fail({.code = Errc::kBadIndex, .detail = pairs});
  const Le16 value(pairs);
  return command(spec::VIRTIO_NET_F_MQ, spec::VIRTIO_NET_CTRL_MQ,
                 spec::VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, wire_bytes(value));
}

Result<void> Net::acknowledge_announce() {
  return command(spec::VIRTIO_NET_F_GUEST_ANNOUNCE, spec::VIRTIO_NET_CTRL_ANNOUNCE,
                 spec::VIRTIO_NET_CTRL_ANNOUNCE_ACK, {});
}

Result<void> Net::reset() {
  stop_queues();
  TRY(device_->quiesce());
  for_each_receiver([](auto& receiver) { receiver.detach(); });  // DMB-DR6
  for (const auto& sender : senders_)
    sender->detach();
  if (control_) control_->detach();
  TRY(device_->revive());
  if (TRY(read_info()) != info_) return device_->fail_device({.code = Errc::kMalformed});
  return attach_queues();
}

NetStats Net::received() const {
  NetStats sum;
  for (const auto& receiver : receivers_)
    sum += receiver->counters();
  for (const auto& receiver : in_place_receivers_)
    sum += receiver->counters();
  return sum;
}

NetStats Net::sent() const {
  NetStats sum;
  for (const auto& sender : senders_)
    sum += sender->counters();
  return sum;
}

Result<spec::VirtioNetConfig> Net::read_config(std::size_t& available) {
  spec::VirtioNetConfig config{};
  available = TRY(device_->read_device_config(std::as_writable_bytes(std::span(&config, 1)),
                                              net_config_widths()));
  return config;
}

Result<NetInfo> Net::read_info() {
  std::size_t available = 0;
  const auto config = TRY(read_config(available));
  auto info = parse_net_config(config, available, device_->negotiation().accepted);
  if (!info) return device_->fail_device(info.error());
  return info;
}

void Net::make_queues() {
  const std::uint16_t pairs = std::clamp<std::uint16_t>(options_.pairs, 1, info_.pairs_max);
  const NetReceiveLimits limits{
      .info = info_, .pool_bytes = options_.receive_bytes, .spin = options_.spin};
  for (std::uint16_t i = 0; i < pairs; i++) {
    if (options_.receive_in_place) {
      in_place_receivers_.push_back(std::make_unique<NetInPlaceReceiver>(*device_, limits));
    } else {
      receivers_.push_back(std::make_unique<NetReceiver>(*device_, limits));
    }
    senders_.push_back(std::make_unique<NetSender>(
        *device_, NetSender::Limits{.info = info_, .spin = options_.spin, .pool_home = i}));
  }
  if (info_.has_control) control_ = std::make_unique<NetControl>(*device_, options_.timeout);
}

// VIRTIO 1.3, 5.1.2: receiveq1, transmitq1, receiveq2, ...; the control queue is behind all that
// the device has. It is polled.
Result<void> Net::attach_queues() {
  const auto pairs = static_cast<std::uint16_t>(pair_count());
  TRY(device_->enable_interrupts(static_cast<std::uint16_t>(2 * pairs)));
  for (std::uint16_t i = 0; i < pairs; i++) {
    const auto receive = static_cast<std::uint16_t>(2 * i);
    const auto transmit = static_cast<std::uint16_t>(receive + 1);
    auto queue = TRY(device_->create_queue(receive, {.size_max = options_.queue_size}));
    TRY(options_.receive_in_place ? in_place_receivers_[i]->attach(std::move(queue))
                                  : receivers_[i]->attach(std::move(queue)));
    TRY(senders_[i]->attach(TRY(device_->create_queue(
        transmit, {.size_max = options_.queue_size, .table_entries = kSendTable}))));
  }
  if (control_) {
    // What the device says of its pairs may be more than it has: a queue that is not there is
    // refused.
    const std::uint32_t last = 2 * std::uint32_t{info_.pairs_max};
    if (last >= device_->queue_count()) {
      return device_->fail_device({.code = Errc::kBadIndex, .detail = last});
    }
    TRY(control_->attach(
        TRY(device_->create_queue(static_cast<std::uint16_t>(last), {.size_max = kControlSlots}))));
  }
  TRY(device_->start());
  for_each_receiver([](auto& receiver) { receiver.start(); });
  return {};
}

void Net::stop_queues() {
  const Error error{.code = Errc::kQueueBroken};
  for_each_receiver([&](auto& receiver) { receiver.stop(error); });
  for (const auto& sender : senders_)
    sender->stop(error);
  if (control_) control_->stop({.code = Errc::kQueueBroken});
}

Result<void> Net::command(unsigned feature, std::uint8_t command_class, std::uint8_t command,
                          std::span<const std::byte> data) {
  if (!control_ || !device_->has(feature)) {
    return fail({.code = Errc::kUnsupported, .detail = feature});
  }
  return control_->run(command_class, command, data);
}

}  // namespace airlock::driver
