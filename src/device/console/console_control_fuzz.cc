// SPDX-License-Identifier: Apache-2.0
// Control messages of a driver that is mostly right and now and then wrong, in any framing, while
// hosts come and go. Every chain comes back, exactly, or its queue broke for a reason; the device
// says only what makes sense to one who heard all of it.
#include <fuzzer/FuzzedDataProvider.h>

#include <array>
#include <cstdint>
#include <cstring>

#include "device/console/console_queue.h"
#include "testing/driven_queue.h"

namespace airlock::device {
namespace {

constexpr std::uint32_t kPorts = 3;
constexpr std::uint16_t kIn = spec::VIRTIO_CONSOLE_CONTROL_RECEIVEQ;

bool rarely(FuzzedDataProvider& input) {
  return input.ConsumeIntegralInRange(0, 31) == 31;
}

/// The control queues of a console, and nothing else of it.
class ControlQueues final : public DeviceType {
 public:
  [[nodiscard]] std::uint16_t virtio_id() const override { return spec::VIRTIO_ID_CONSOLE; }
  [[nodiscard]] std::uint32_t pci_class() const override { return 0; }
  [[nodiscard]] std::uint64_t features() const override { return 0; }
  [[nodiscard]] std::uint16_t queue_count() const override { return 4; }
  [[nodiscard]] std::uint16_t queue_size_max(std::uint16_t) const override { return 64; }
  [[nodiscard]] std::span<const std::byte> config() const override { return {}; }
  Result<std::unique_ptr<QueueTask>> make_queue(const QueueContext& context) override {
    if (context.setup.index == kIn) return make_console_control_receive(context, messages);
    return make_console_control_transmit(
        context, messages,
        [](const ConsoleControl::Opened& opened) { CHECK(opened.port < kPorts); });
  }

  ConsoleMessages messages {
    ConsoleControl({{.name = "tty", .is_console = true}, {.name = "a"}, {.name = ""}}),
        MUST(Wake::create())
  };
};

/// What a driver knows that hears everything.
class Listener {
 public:
  void hear(const std::vector<std::byte>& bytes, std::uint32_t length) {
    CHECK(length >= sizeof(spec::VirtioConsoleControl) && length <= bytes.size());
    spec::VirtioConsoleControl message;
    std::memcpy(&message, bytes.data(), sizeof message);
    CHECK(message.id.get() < kPorts);
    Port& port = ports_[message.id.get()];
    switch (message.event.get()) {
      case spec::VIRTIO_CONSOLE_DEVICE_ADD:
        CHECK(!port.added);
        port.added = true;
        return;
      case spec::VIRTIO_CONSOLE_CONSOLE_PORT:
      case spec::VIRTIO_CONSOLE_RESIZE:
        CHECK(port.added && message.id.get() == 0);
        return;
      case spec::VIRTIO_CONSOLE_PORT_NAME:
        CHECK(port.added);
        return;
      case spec::VIRTIO_CONSOLE_PORT_OPEN:
        CHECK(port.added && message.value.get() <= 1);
        return;
      default:
        CHECK(false);
    }
  }

 private:
  struct Port {
    bool added = false;
  };
  std::array<Port, kPorts> ports_;
};

void tell(FuzzedDataProvider& input, testing::DrivenQueue& out) {
  const bool wild = rarely(input);
  const spec::VirtioConsoleControl message{
      .id = Le32(wild ? input.ConsumeIntegral<std::uint32_t>()
                      : input.ConsumeIntegralInRange<std::uint32_t>(0, kPorts)),
      .event = Le16(wild ? input.ConsumeIntegral<std::uint16_t>()
                         : input.PickValueInArray<std::uint16_t>({0, 3, 6, 6, 3, 0, 1, 5})),
      .value = Le16(rarely(input) ? input.ConsumeIntegral<std::uint16_t>()
                                  : input.ConsumeIntegralInRange<std::uint16_t>(0, 1))};
  const auto bytes = std::as_bytes(std::span(&message, 1));
  const auto length = rarely(input) ? input.ConsumeIntegralInRange<std::size_t>(1, 8) : 8;
  const auto cut = input.ConsumeIntegralInRange<std::size_t>(0, length - 1);
  auto chain = out.chain();
  if (cut > 0) chain.readable(bytes.first(cut));
  chain.readable(bytes.subspan(cut, length - cut));
  if (rarely(input)) chain.writable(8);
  static_cast<void>(chain.submit());
}

void serve(FuzzedDataProvider& input) {
  testing::TestRegion region;
  ControlQueues device;
  testing::DrivenQueue in(device, region, kIn, 0);
  testing::DrivenQueue out(device, region, kIn + 1, 0);
  Listener listener;
  for (int i = input.ConsumeIntegralInRange(1, 60); i > 0; --i) {
    switch (input.ConsumeIntegralInRange(0, 4)) {
      case 0:
        device.messages.host_is(input.ConsumeIntegralInRange<std::uint32_t>(0, kPorts - 1),
                                input.ConsumeBool(), input.ConsumeBool());
        break;
      case 1:
        device.messages.resize({.cols = input.ConsumeIntegral<std::uint16_t>(), .rows = 25});
        break;
      case 2: {
        const auto room = rarely(input) ? input.ConsumeIntegralInRange<std::uint32_t>(1, 12)
                                        : input.ConsumeIntegralInRange<std::uint32_t>(12, 100);
        const auto chain = in.chain().writable(room).submit();
        const auto settled = in.settle();
        CHECK(settled || room < ConsoleControl::kLeastBytes);
        if (!settled) return;
        // One chain at a time: it comes back now, or with the next message.
        if (const auto used = in.ring().take_used()) {
          CHECK(used->id == chain.head());
          listener.hear(chain.written(), used->length);
        } else {
          CHECK(!device.messages.has_message());
          return;
        }
        break;
      }
      default:
        tell(input, out);
        if (const auto settled = out.settle(); !settled) {
          CHECK(settled.error().code == Errc::kBadOrder);
          out.task().drain(true);
          CHECK(out.task().in_flight() == 0);
          return;
        }
        CHECK(out.ring().take_used()->length == 0);
    }
  }
}

}  // namespace
}  // namespace airlock::device

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  FuzzedDataProvider input(data, size);
  airlock::device::serve(input);
  return 0;
}
