// SPDX-License-Identifier: Apache-2.0
//
// A network card as a hostile driver finds it: two pairs of queues, and a plug that leads back, so
// that what was sent arrives.
#include <algorithm>
#include <utility>

#include "backend/net/loop_backend.h"
#include "device/net/net_device.h"
#include "spec/virtio.h"
#include "spec/virtio_net.h"
#include "testing/hostile_driver.h"

namespace airlock::testing {

namespace {

constexpr std::uint16_t kPairs = 2;
constexpr std::uint16_t kReceiveQueue = 0;
constexpr std::uint16_t kTransmitQueue = 1;
constexpr std::uint16_t kControlQueue = 2 * kPairs;
constexpr std::uint32_t kNetHdrBytes = sizeof(spec::VirtioNetHdr);
constexpr std::uint32_t kFrameBytes = 60;
/// Where honest frames lie, and commands: lies may have a hand in what is elsewhere.
constexpr std::uint64_t kSent = HostileDriver::kProbe;
constexpr std::uint64_t kCommand = HostileDriver::kProbe + 0x1000;
constexpr std::uint64_t kAck = HostileDriver::kProbe + 0x1800;

class NetSubject final : public AttackSubject {
 public:
  explicit NetSubject(const SubjectOptions& options)
      : attacked_(options.attacked),
        card_(MUST(device::NetDevice::create({.backend = backend::make_loop(),
                                              .shape = {.pairs = kPairs,
                                                        .queue_size = options.queue_size,
                                                        .mac = {2, 0, 0, 0, 0, 1}},
                                              .ring_features = options.ring_features}))) {}

  [[nodiscard]] device::DeviceType& device() override { return *card_; }
  [[nodiscard]] std::string name() const override { return "card"; }
  [[nodiscard]] std::uint16_t queue() const override {
    if (attacked_ == Attacked::kNetReceive) return kReceiveQueue;
    return attacked_ == Attacked::kNetTransmit ? kTransmitQueue : kControlQueue;
  }
  [[nodiscard]] std::uint64_t features() const override {
    return spec::feature(spec::VIRTIO_NET_F_MAC) | spec::feature(spec::VIRTIO_NET_F_STATUS) |
           spec::feature(spec::VIRTIO_NET_F_MRG_RXBUF) | spec::feature(spec::VIRTIO_NET_F_MQ) |
           spec::feature(spec::VIRTIO_NET_F_CTRL_VQ) | spec::feature(spec::VIRTIO_NET_F_CTRL_RX) |
           spec::feature(spec::VIRTIO_NET_F_CTRL_VLAN) |
           spec::feature(spec::VIRTIO_NET_F_CTRL_MAC_ADDR);
  }
  [[nodiscard]] std::uint64_t refusals() const override { return card_->counts().refused; }

  // A frame to nobody, which comes back and is not for this driver.
  [[nodiscard]] std::vector<airlock_descriptor> chain(const HostileDriver& driver) const override {
    driver.memory().fill_zero(HostileDriver::kHeader, kNetHdrBytes);
    const airlock_descriptor data = part(driver, HostileDriver::kData, kDataPartBytes);
    if (attacked_ == Attacked::kNetControl) {
      driver.memory().put(HostileDriver::kHeader, kPromiscuous);
      return {driver.readable(HostileDriver::kHeader, sizeof kPromiscuous), data,
              driver.status_byte()};
    }
    return {part(driver, HostileDriver::kHeader, kNetHdrBytes), data,
            part(driver, HostileDriver::kStatus, 1)};
  }
  [[nodiscard]] airlock_descriptor single(const HostileDriver& driver) const override {
    if (attacked_ == Attacked::kNetControl) return driver.status_byte();
    driver.memory().fill_zero(HostileDriver::kHeader, kNetHdrBytes);
    return part(driver, HostileDriver::kHeader, kNetHdrBytes + kFrameBytes);
  }

  bool nudge(HostileDriver& driver) override {
    if (attacked_ != Attacked::kNetReceive || working_) return false;
    send(driver);
    return true;
  }
  [[nodiscard]] std::uint16_t nudging_queue() const override { return kTransmitQueue; }

  // A frame goes out and comes back, and a command is carried out.
  bool works(HostileDriver& driver) override {
    working_ = true;
    const bool works = commands(driver) && echoes(driver);
    working_ = false;
    return works;
  }

 private:
  static constexpr spec::VirtioNetCtrlHdr kPromiscuous{.command_class = spec::VIRTIO_NET_CTRL_RX,
                                                       .command = spec::VIRTIO_NET_CTRL_RX_PROMISC};

  bool echoes(HostileDriver& driver) {
    const std::vector<std::byte> frame = send(driver);
    // What lies have sent comes first: no more than the plug holds, and a frame for each look.
    for (std::size_t i = 0; i < 2 * backend::kLoopFrames; ++i) {
      const auto received = driver.receive(kReceiveQueue);
      if (!received) return false;
      if (received->size() == kNetHdrBytes + frame.size() &&
          std::ranges::equal(std::span(*received).subspan(kNetHdrBytes), frame))
        return driver.wait_used(kTransmitQueue).has_value();
    }
    return false;
  }

  [[nodiscard]] airlock_descriptor part(const HostileDriver& driver, std::uint64_t offset,
                                        std::uint32_t length) const {
    return attacked_ == Attacked::kNetReceive ? driver.writable(offset, length)
                                              : driver.readable(offset, length);
  }

  /// Sends a frame to everybody that no other is like; its bytes. It will come back used.
  std::vector<std::byte> send(HostileDriver& driver) {
    ++frames_;
    std::vector<std::byte> frame(kFrameBytes, std::byte{0xff});
    for (std::size_t i = 12; i < frame.size(); ++i)
      frame[i] = static_cast<std::byte>((frames_ >> 8 * (i % 4)) & 0xff);
    driver.memory().fill_zero(kSent, kNetHdrBytes);
    driver.memory().copy_in(kSent + kNetHdrBytes, frame);
    driver.submit(kTransmitQueue, {driver.readable(kSent, kNetHdrBytes + kFrameBytes)});
    return frame;
  }

  static bool commands(HostileDriver& driver) {
    constexpr std::uint32_t kBytes = sizeof kPromiscuous;
    driver.memory().put(kCommand, kPromiscuous);
    driver.memory().put(kCommand + kBytes, std::uint8_t{0});
    driver.memory().put(kAck, std::uint8_t{0xee});
    driver.submit(kControlQueue, {driver.readable(kCommand, kBytes + 1), driver.writable(kAck, 1)});
    return driver.wait_used(kControlQueue) &&
           driver.memory().load_relaxed<std::uint8_t>(kAck) == spec::VIRTIO_NET_OK;
  }

  Attacked attacked_;
  std::unique_ptr<device::NetDevice> card_;
  std::uint32_t frames_ = 0;
  bool working_ = false;  // nobody else sends then
};

}  // namespace

std::unique_ptr<AttackSubject> make_net_subject(const SubjectOptions& options) {
  return std::make_unique<NetSubject>(options);
}

}  // namespace airlock::testing
