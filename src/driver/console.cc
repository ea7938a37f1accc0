// SPDX-License-Identifier: Apache-2.0
#include "driver/console.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace airlock::driver {

namespace {

using spec::VirtioConsoleControl;

constexpr std::uint64_t kConsoleFeatures = spec::feature(spec::VIRTIO_CONSOLE_F_SIZE) |
                                           spec::feature(spec::VIRTIO_CONSOLE_F_MULTIPORT) |
                                           spec::feature(spec::VIRTIO_CONSOLE_F_EMERG_WRITE);
constexpr std::size_t kNameBytesMost = 256;
/// Of a control message: more can't be one.
constexpr std::size_t kControlBytes = sizeof(VirtioConsoleControl) + kNameBytesMost;
constexpr std::array<std::uint8_t, 4> kConfigWidths{2, 2, 4, 4};

std::string name_in(std::span<const std::byte> bytes) {
  std::string name;
  for (const std::byte byte : bytes) {
    if (byte == std::byte{0}) break;
    name.push_back(static_cast<char>(byte));
  }
  return name;
}

}  // namespace

Result<std::unique_ptr<Console>> Console::open(std::unique_ptr<PciTransport> transport,
                                               const Options& options) {
  Options wanted = options;
  wanted.device.device_type = spec::VIRTIO_ID_CONSOLE;
  wanted.device.features = kConsoleFeatures;
  if (!options.multiport) {
    wanted.device.features &= ~spec::feature(spec::VIRTIO_CONSOLE_F_MULTIPORT);
  }
  auto device = TRY(VirtioDevice::open(std::move(transport), wanted.device));
  std::unique_ptr<Console> console(new Console(std::move(device), wanted));
  if (const auto done = console->set_up(); !done) return fail(done.error());
  return console;
}

Console::~Console() {
  for (const Port& port : ports_) {
    if (port.in) port.in->stop();
    if (port.out) port.out->stop();
  }
  if (control_in_) control_in_->stop();
  if (control_out_) control_out_->stop();
  (void)device_->quiesce();
}

// VIRTIO 1.3, 5.3.5.
Result<void> Console::set_up() {
  multiport_ = device_->has(spec::VIRTIO_CONSOLE_F_MULTIPORT);
  spec::VirtioConsoleConfig config{};
  TRY(device_->read_device_config(std::as_writable_bytes(std::span(&config, 1)), kConfigWidths));
  std::uint32_t count = 1;
  if (multiport_) {
    // HD-12, HD-14: as many as there are queues for, whatever the device says.
    const auto by_queues = static_cast<std::uint32_t>(device_->queue_count()) / 2;
    if (config.max_nr_ports.get() == 0 || by_queues < 2) {
      return device_->fail_device(
          {.code = Errc::kMalformed, .detail = offsetof(spec::VirtioConsoleConfig, max_nr_ports)});
    }
    count = std::min<std::uint32_t>(
        {config.max_nr_ports.get(), by_queues - 1, std::max<std::uint32_t>(options_.ports_max, 1)});
  } else if (device_->has(spec::VIRTIO_CONSOLE_F_SIZE)) {
    size_ = spec::VirtioConsoleResize{.cols = config.cols, .rows = config.rows};
  }
  infos_.resize(count);
  ports_.resize(count);
  TRY(device_->enable_interrupts(static_cast<std::uint16_t>(multiport_ ? 2 * count + 2 : 2)));
  for (std::uint32_t i = 0; i < count; ++i) {
    const auto first = static_cast<std::uint16_t>(i == 0 ? 0 : 2 * i + 2);
    ports_[i].in = TRY(make_queue(first));
    ports_[i].out = TRY(make_queue(static_cast<std::uint16_t>(first + 1)));
  }
  if (multiport_) {
    control_in_ = TRY(make_queue(spec::VIRTIO_CONSOLE_CONTROL_RECEIVEQ));
    control_out_ = TRY(make_queue(spec::VIRTIO_CONSOLE_CONTROL_TRANSMITQ));
  } else {
    infos_[0] = {.is_there = true, .is_console = true, .host_open = true, .name = {}};
  }
  TRY(device_->start());
  for (const Port& port : ports_) {
    TRY(port.in->ask_all());
    TRY(port.in->kick());
  }
  if (!multiport_) return {};
  TRY(control_in_->ask_all());
  TRY(control_in_->kick());
  return tell(0, spec::VIRTIO_CONSOLE_DEVICE_READY, 1);
}

Result<std::unique_ptr<BufferQueue>> Console::make_queue(std::uint16_t index) {
  return BufferQueue::create(
      *device_,
      {.index = index, .buffers = options_.buffers, .buffer_bytes = options_.buffer_bytes});
}

Result<Console::Port*> Console::find(std::uint32_t port) {
  if (port >= ports_.size() || !infos_[port].is_there) {
    return fail({.code = Errc::kBadIndex, .detail = port});
  }
  return &ports_[port];
}

Result<bool> Console::update() {
  if (!multiport_) return false;
  bool any = false;
  while (const auto returned = TRY(control_in_->poll())) {
    TRY(take_message(*returned));
    control_in_->release(*returned);
    any = true;
  }
  if (any) {
    TRY(control_in_->ask_all());
    TRY(control_in_->kick());
  }
  return any;
}

// The copy is what counts, whatever the device does to the buffer later (HD-11). VIRTIO 1.3,
// 5.3.6.2: what is unknown, or of a port that we leave alone, is passed over.
Result<void> Console::take_message(const BufferQueue::Returned& returned) {
  std::array<std::byte, kControlBytes> bytes{};
  const auto message = std::span(bytes).first(control_in_->copy_out(returned, bytes));
  VirtioConsoleControl head;
  if (message.size() < sizeof head) return device_->fail_device({.code = Errc::kMalformed});
  std::memcpy(&head, message.data(), sizeof head);
  const auto rest = message.subspan(sizeof head);
  const std::uint32_t port = head.id.get();
  if (port >= infos_.size()) return {};
  ConsolePortInfo& info = infos_[port];
  const std::uint16_t event = head.event.get();
  if (event == spec::VIRTIO_CONSOLE_DEVICE_ADD) {
    info = {.is_there = true, .name = {}};
    return tell(port, spec::VIRTIO_CONSOLE_PORT_READY, 1);
  }
  if (!info.is_there) return {};
  switch (event) {
    case spec::VIRTIO_CONSOLE_DEVICE_REMOVE:
      info = {};
      break;
    case spec::VIRTIO_CONSOLE_CONSOLE_PORT:
      info.is_console = head.value.get() != 0;
      return tell(port, spec::VIRTIO_CONSOLE_PORT_OPEN, 1);  // 5.3.6.2.2: MUST
    case spec::VIRTIO_CONSOLE_RESIZE:
      if (rest.size() >= sizeof(spec::VirtioConsoleResize)) {
        std::memcpy(&size_.emplace(), rest.data(), sizeof(spec::VirtioConsoleResize));
      }
      break;
    case spec::VIRTIO_CONSOLE_PORT_OPEN:
      info.host_open = head.value.get() != 0;
      break;
    case spec::VIRTIO_CONSOLE_PORT_NAME:
      info.name = name_in(rest);
      break;
    default:
      break;
  }
  return {};
}

Result<void> Console::wait_for_message(std::chrono::milliseconds timeout) {
  if (!multiport_) {
    return fail({.code = Errc::kUnsupported, .detail = spec::VIRTIO_CONSOLE_F_MULTIPORT});
  }
  const Deadline deadline = Deadline::after(timeout);
  while (!TRY(update())) {
    if (deadline.passed()) return fail(deadline.error());
    TRY(wait(*control_in_, deadline));
  }
  return {};
}

Result<void> Console::wait_for_port(std::uint32_t port, std::chrono::milliseconds timeout) {
  if (port >= infos_.size()) return fail({.code = Errc::kBadIndex, .detail = port});
  const Deadline deadline = Deadline::after(timeout);
  while (!infos_[port].is_there) {
    TRY(wait_for_message(deadline.left()));
  }
  return {};
}

Result<void> Console::open_port(std::uint32_t port, bool open) {
  TRY(find(port));
  if (!multiport_) return {};
  return tell(port, spec::VIRTIO_CONSOLE_PORT_OPEN, open ? 1 : 0);
}

Result<void> Console::tell(std::uint32_t port, std::uint16_t event, std::uint16_t value) {
  const VirtioConsoleControl message{.id = Le32(port), .event = Le16(event), .value = Le16(value)};
  return send(*control_out_, std::as_bytes(std::span(&message, 1)));
}

Result<void> Console::write(std::uint32_t port, std::span<const std::byte> source) {
  Port& target = *TRY(find(port));
  while (!source.empty()) {
    const std::size_t count = std::min<std::size_t>(source.size(), target.out->buffer_bytes());
    TRY(send(*target.out, source.first(count)));
    source = source.subspan(count);
  }
  return {};
}

Result<void> Console::flush(std::uint32_t port) {
  BufferQueue& queue = *TRY(find(port))
  ->out;
  return wait_for_buffers(queue, queue.buffers());
}

Result<void> Console::send(BufferQueue& queue, std::span<const std::byte> source) {
  TRY(wait_for_buffers(queue, 1));
  TRY(queue.send(source));
  return queue.kick();
}

// Waits for `count` free buffers. A device that does not give them back in all that time is given
// up.
Result<void> Console::wait_for_buffers(BufferQueue& queue, std::size_t count) {
  const Deadline deadline = Deadline::after(options_.timeout);
  for (;;) {
    while (const auto returned = TRY(queue.poll()))
      queue.release(*returned);
    if (queue.free_buffers() >= count) return {};
    if (deadline.passed()) return device_->fail_device(deadline.error());
    TRY(queue.wait(deadline));
  }
}

Result<std::size_t> Console::read(std::uint32_t port, std::span<std::byte> target,
                                  std::chrono::milliseconds timeout) {
  if (target.empty()) return std::size_t{0};
  const Deadline deadline = Deadline::after(timeout);
  for (;;) {
    TRY(update());
    Port& source = *TRY(find(port));
    if (!source.current) {
      source.current = TRY(source.in->poll());
      source.taken = 0;
    }
    const bool found = source.current.has_value();
    if (found) {
      const std::size_t count = source.in->copy_out(*source.current, target, source.taken);
      source.taken += count;
      if (source.taken == source.current->written) {
        source.in->release(*source.current);
        source.current.reset();
        TRY(source.in->ask_all());
        TRY(source.in->kick());
      }
      if (count > 0) return count;
    }
    // A device may return buffers of nothing for ever.
    if (deadline.passed()) return fail(deadline.error());
    if (!found) TRY(wait(*source.in, deadline));
  }
}

// For what the queue has to say, or a message.
Result<bool> Console::wait(BufferQueue& queue, const Deadline& deadline) {
  const int wake = multiport_ && &queue != control_in_.get() ? control_in_->interrupt_fd() : -1;
  const auto waited = queue.wait(deadline, wake);
  if (wake >= 0) control_in_->take_interrupt();
  return waited;
}

Result<void> Console::write_in_emergency(char character) {
  if (!device_->has(spec::VIRTIO_CONSOLE_F_EMERG_WRITE)) {
    return fail({.code = Errc::kUnsupported, .detail = spec::VIRTIO_CONSOLE_F_EMERG_WRITE});
  }
  return device_->write_device_config(offsetof(spec::VirtioConsoleConfig, emerg_wr), Width::k4,
                                      static_cast<unsigned char>(character));
}

}  // namespace airlock::driver
