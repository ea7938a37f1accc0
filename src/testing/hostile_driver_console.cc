// SPDX-License-Identifier: Apache-2.0
//
// A console as a hostile driver finds it: one port, whose other end reads and says what a script
// has.
#include <string>
#include <utility>

#include "device/console/console_device.h"
#include "spec/virtio.h"
#include "spec/virtio_console.h"
#include "testing/hostile_driver.h"
#include "testing/scripted_port.h"

namespace airlock::testing {

namespace {

using spec::VIRTIO_CONSOLE_CONTROL_RECEIVEQ;
using spec::VIRTIO_CONSOLE_CONTROL_TRANSMITQ;
using spec::VIRTIO_CONSOLE_RECEIVEQ;
using spec::VIRTIO_CONSOLE_TRANSMITQ;
using ControlMessage = spec::VirtioConsoleControl;

constexpr std::uint64_t kMessage = HostileDriver::kProbe;
constexpr std::uint64_t kLine = HostileDriver::kProbe + 0x100;

class ConsoleSubject final : public AttackSubject {
 public:
  explicit ConsoleSubject(const SubjectOptions& options) : attacked_(options.attacked) {
    script_.connect();
    std::vector<device::ConsoleDevice::Port> ports;
    ports.push_back({.name = "console", .backend = std::make_unique<ScriptedPort>(script_)});
    console_ = MUST(device::ConsoleDevice::create({.ports = std::move(ports),
                                                   .queue_size = options.queue_size,
                                                   .ring_features = options.ring_features}));
  }

  [[nodiscard]] device::DeviceType& device() override { return *console_; }
  [[nodiscard]] std::string name() const override { return "console"; }
  [[nodiscard]] std::uint16_t queue() const override {
    switch (attacked_) {
      case Attacked::kConsoleReceive:
        return VIRTIO_CONSOLE_RECEIVEQ;
      case Attacked::kConsoleControlReceive:
        return VIRTIO_CONSOLE_CONTROL_RECEIVEQ;
      case Attacked::kConsoleControlTransmit:
        return VIRTIO_CONSOLE_CONTROL_TRANSMITQ;
      default:
        return VIRTIO_CONSOLE_TRANSMITQ;
    }
  }
  [[nodiscard]] std::uint64_t features() const override {
    return spec::feature(spec::VIRTIO_CONSOLE_F_MULTIPORT);
  }
  [[nodiscard]] std::uint64_t refusals() const override { return console_->ignored_messages(); }

  // Of a control message, what is behind its first bytes says nothing.
  [[nodiscard]] std::vector<airlock_descriptor> chain(const HostileDriver& driver) const override {
    return {single(driver), part(driver, HostileDriver::kData, kDataPartBytes),
            part(driver, HostileDriver::kStatus, 1)};
  }
  [[nodiscard]] airlock_descriptor single(const HostileDriver& driver) const override {
    driver.memory().put(
        HostileDriver::kHeader,
        ControlMessage{
            .id = Le32(0), .event = Le16(spec::VIRTIO_CONSOLE_PORT_READY), .value = Le16(1)});
    return part(driver, HostileDriver::kHeader,
                sizeof(ControlMessage) + sizeof(spec::VirtioConsoleResize));
  }

  void begin(HostileDriver& driver) override {
    control(driver, spec::VIRTIO_CONSOLE_DEVICE_READY);
    // DEVICE_ADD: before it there is no port that could be ready.
    static_cast<void>(driver.receive(VIRTIO_CONSOLE_CONTROL_RECEIVEQ));
    open(driver);
  }
  bool nudge(HostileDriver& driver) override {
    if (attacked_ == Attacked::kConsoleReceive) script_.say("!");
    if (attacked_ != Attacked::kConsoleControlReceive) return false;
    post_control(driver, spec::VIRTIO_CONSOLE_PORT_READY);
    return true;
  }
  [[nodiscard]] std::uint16_t nudging_queue() const override {
    return VIRTIO_CONSOLE_CONTROL_TRANSMITQ;
  }

  // A line each way, and the port's name.
  bool works(HostileDriver& driver) override {
    open(driver);
    const auto message = driver.receive(VIRTIO_CONSOLE_CONTROL_RECEIVEQ);
    if (!message || message->size() < sizeof(ControlMessage)) return false;
    const std::string line = "line " + std::to_string(++lines_) + "\n";
    driver.memory().copy_in(kLine, std::as_bytes(std::span(line)));
    const airlock_descriptor said = driver.readable(kLine, static_cast<std::uint32_t>(line.size()));
    // Again and again: a console drops what comes while its reader is busy with what lies sent.
    const bool arrived = eventually([&] {
      driver.submit(VIRTIO_CONSOLE_TRANSMITQ, {said});
      static_cast<void>(driver.wait_used(VIRTIO_CONSOLE_TRANSMITQ));
      return script_.heard().find(line) != std::string::npos;
    });
    if (!arrived) return false;
    script_.say(line);
    std::string heard;
    while (heard.find(line) == std::string::npos) {
      const auto input = driver.receive(VIRTIO_CONSOLE_RECEIVEQ);
      if (!input) return false;
      for (const std::byte byte : *input)
        heard.push_back(static_cast<char>(byte));
    }
    return true;
  }

 private:
  [[nodiscard]] airlock_descriptor part(const HostileDriver& driver, std::uint64_t offset,
                                        std::uint32_t length) const {
    const bool fills =
        attacked_ == Attacked::kConsoleReceive || attacked_ == Attacked::kConsoleControlReceive;
    return fills ? driver.writable(offset, length) : driver.readable(offset, length);
  }
  static void open(HostileDriver& driver) {
    control(driver, spec::VIRTIO_CONSOLE_PORT_READY);
    control(driver, spec::VIRTIO_CONSOLE_PORT_OPEN);
  }
  static void control(HostileDriver& driver, std::uint16_t event) {
    post_control(driver, event);
    static_cast<void>(driver.wait_used(VIRTIO_CONSOLE_CONTROL_TRANSMITQ));
  }
  static void post_control(HostileDriver& driver, std::uint16_t event) {
    driver.memory().put(kMessage,
                        ControlMessage{.id = Le32(0), .event = Le16(event), .value = Le16(1)});
    driver.submit(VIRTIO_CONSOLE_CONTROL_TRANSMITQ,
                  {driver.readable(kMessage, sizeof(ControlMessage))});
  }

  Attacked attacked_;
  PortScript script_;
  std::unique_ptr<device::ConsoleDevice> console_;
  unsigned lines_ = 0;
};

}  // namespace

std::unique_ptr<AttackSubject> make_console_subject(const SubjectOptions& options) {
  return std::make_unique<ConsoleSubject>(options);
}

}  // namespace airlock::testing
