// SPDX-License-Identifier: Apache-2.0
#include "device/console/console_device.h"

#include <bit>
#include <utility>

#include "device/console/console_queue.h"
#include "spec/pci.h"
#include "spec/virtio.h"

namespace airlock::device {

namespace {

constexpr std::uint16_t kConsoleQueueSizeMost = 32768;
constexpr std::uint16_t kQueuesOfPort0 = 2;

/// Port of a data queue, as 5.3.2 numbers them.
std::uint16_t port_of(std::uint16_t queue) {
  return queue < kQueuesOfPort0 ? std::uint16_t{0} : static_cast<std::uint16_t>(queue / 2 - 1);
}

}  // namespace

Result<std::unique_ptr<ConsoleDevice>> ConsoleDevice::create(Options options) {
  const std::uint16_t size = options.queue_size;
  if (!std::has_single_bit(size) || size > kConsoleQueueSizeMost) {
    return fail({.code = Errc::kBadQueueSize, .detail = size});
  }
  if (options.ports.empty() || options.ports.size() > kPortsMost) {
    return fail(
        {.code = Errc::kOutOfRange, .detail = static_cast<std::uint32_t>(options.ports.size())});
  }
  auto host_wake = std::make_unique<Wake>(TRY(Wake::create()));
  ConsoleHost::Ports ports;
  std::vector<ConsoleControl::Port> descriptions;
  for (Port& port : options.ports) {
    const bool is_console = ports.empty();
    descriptions.push_back({.name = port.name, .is_console = is_console});
    ports.push_back(TRY(ConsolePort::create({.name = std::move(port.name),
                                             .is_console = is_console,
                                             .backend = std::move(port.backend)},
                                            *host_wake)));
  }
  ConsoleControl control(std::move(descriptions));
  for (std::uint32_t i = 0; i < ports.size(); ++i)
    control.host_is(i, ports[i]->connected(), false);
  Wake message_wake = TRY(Wake::create());
  return std::unique_ptr<ConsoleDevice>(new ConsoleDevice(options, std::move(ports),
                                                          std::move(host_wake), std::move(control),
                                                          std::move(message_wake)));
}

ConsoleDevice::ConsoleDevice(const Options& options, ConsoleHost::Ports ports,
                             std::unique_ptr<Wake> host_wake, ConsoleControl control,
                             Wake message_wake)
    : queue_size_(options.queue_size),
      ring_features_(options.ring_features),
      host_wake_(std::move(host_wake)),
      ports_(std::move(ports)),
      messages_(std::move(control), std::move(message_wake)),
      self_(std::make_shared<ConsoleDevice*>(this)),
      host_(ports_, *host_wake_, [this](std::uint32_t port, const ConsolePort::Change& change) {
        host_changed(port, change);
      }) {
  config_.max_nr_ports.set(static_cast<std::uint32_t>(ports_.size()));
  const backend::WindowSize size = ports_.front()->window_size();
  config_.cols.set(size.cols);
  config_.rows.set(size.rows);
  if (size != backend::WindowSize()) messages_.resize(size);
}

ConsoleDevice::~ConsoleDevice() {
  *self_ = nullptr;
}

std::uint16_t ConsoleDevice::virtio_id() const {
  return spec::VIRTIO_ID_CONSOLE;
}

std::uint32_t ConsoleDevice::pci_class() const {
  return spec::PCI_CLASS_COMMUNICATION_OTHER;
}

std::uint64_t ConsoleDevice::features() const {
  return spec::feature(spec::VIRTIO_CONSOLE_F_SIZE) |
         spec::feature(spec::VIRTIO_CONSOLE_F_MULTIPORT) |
         spec::feature(spec::VIRTIO_CONSOLE_F_EMERG_WRITE) | ring_features_;
}

std::uint16_t ConsoleDevice::queue_count() const {
  return static_cast<std::uint16_t>(2 * ports_.size() + 2);
}

Result<std::unique_ptr<QueueTask>> ConsoleDevice::make_queue(const QueueContext& context) {
  const std::uint16_t queue = context.setup.index;
  const bool many = context.negotiated.has(spec::VIRTIO_CONSOLE_F_MULTIPORT);
  // 5.3.2: those behind the first two exist with VIRTIO_CONSOLE_F_MULTIPORT only.
  if (queue >= (many ? queue_count() : kQueuesOfPort0)) {
    return fail({.code = Errc::kBadIndex, .queue = queue, .detail = queue});
  }
  if (context.setup.size == 0 || context.setup.size > queue_size_) {
    return fail({.code = Errc::kBadQueueSize, .queue = queue, .detail = context.setup.size});
  }
  TRY(host_.start());
  if (queue == spec::VIRTIO_CONSOLE_CONTROL_RECEIVEQ) {
    return make_console_control_receive(context, messages_);
  }
  if (queue == spec::VIRTIO_CONSOLE_CONTROL_TRANSMITQ) {
    return make_console_control_transmit(context, messages_,
                                         [this](const ConsoleControl::Opened& opened) {
                                           ports_[opened.port]->set_guest_open(opened.open);
                                         });
  }
  ConsolePort& port = *ports_[port_of(queue)];
  if (queue % 2 != 0) return make_console_transmit(context, port);
  // A driver that knows of no ports has no way to open one.
  if (!many) port.set_guest_open(true);
  return make_console_receive(context, port);
}

void ConsoleDevice::write_config(std::uint32_t offset, std::span<const std::byte> source) {
  // The lowest byte of emerg_wr, however wide the write was.
  if (offset != offsetof(spec::VirtioConsoleConfig, emerg_wr) || source.empty()) return;
  // It may be the first that this device is asked for.
  if (const auto started = host_.start(); !started) return;
  static_cast<void>(ports_.front()->put_output(source.first(1)));
}

void ConsoleDevice::stopped() {
  messages_.reset();
  for (const auto& port : ports_)
    port->set_guest_open(false);
}

// On the host's thread.
void ConsoleDevice::host_changed(std::uint32_t port, const ConsolePort::Change& change) {
  if (change.host) messages_.host_is(port, ports_[port]->connected(), change.anew);
  if (!change.size || port != 0) return;
  const backend::WindowSize size = ports_[port]->window_size();
  messages_.resize(size);
  if (!host_link_.post) return;
  host_link_.post([self = self_, size] {
    if (*self != nullptr) (*self)->show_size(size);
  });
}

// The configuration is the control thread's. VIRTIO 1.3, 5.3.6: the driver is told of a new size.
void ConsoleDevice::show_size(const backend::WindowSize& size) {
  config_.cols.set(size.cols);
  config_.rows.set(size.rows);
  if (host_link_.config_changed) host_link_.config_changed();
}

std::uint64_t console_region_bytes_min(std::size_t ports, std::uint16_t queue_size) {
  // Linux keeps a page in each entry of a receive queue; what it sends is up to 64 KiB a time.
  constexpr std::uint64_t kPage = 4096;
  constexpr std::uint64_t kSent = std::uint64_t{256} << 10;
  constexpr std::uint64_t kRing = std::uint64_t{16} << 10;
  constexpr std::uint64_t kEntryBytes = 64;
  const std::uint64_t queue = kRing + queue_size * kEntryBytes;
  const std::uint64_t pair = 2 * queue + queue_size * kPage + kSent;
  return std::bit_ceil(kPage + (ports + 1) * pair);
}

}  // namespace airlock::device
