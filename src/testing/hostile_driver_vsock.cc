// SPDX-License-Identifier: Apache-2.0
//
// A socket device as a hostile driver finds it, with a host that accepts whatever comes to one
// port.
#include "testing/hostile_driver_vsock.h"

#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <deque>
#include <mutex>
#include <utility>

#include "base/check.h"
#include "base/event_fd.h"
#include "device/vsock/vsock_device.h"
#include "spec/virtio.h"

namespace airlock::testing {

namespace {

using spec::VIRTIO_VSOCK_QUEUE_RX;
using spec::VIRTIO_VSOCK_QUEUE_TX;

constexpr std::uint32_t kVsockHdrBytes = sizeof(spec::VirtioVsockHdr);
constexpr std::uint64_t kSaid = HostileDriver::kProbe;
constexpr std::uint64_t kText = HostileDriver::kProbe + 0x100;
/// Resets that the device keeps for packets of no connection, and turns of other connections
/// between them.
constexpr std::size_t kPacketsBefore = 1024;
constexpr int kWaitMs = 20000;

/// Accepts at once, at one port. What asks and what takes the other ends are threads of their own.
class AcceptingConnector final : public device::VsockConnector {
 public:
  Result<void> ask(std::uint64_t id, std::uint32_t port, device::VsockType type) override {
    Answer answer{.id = id, .socket = Fd(), .error = ECONNREFUSED};
    std::array<int, 2> ends{-1, -1};
    const std::scoped_lock held(lock_);
    if (port == kVsockHostPort) {
      const int kind = type == device::VsockType::kSeqpacket ? SOCK_SEQPACKET : SOCK_STREAM;
      CHECK(socketpair(AF_UNIX, kind | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends.data()) == 0);
      answer.socket = Fd(ends[0]);
      answer.error = 0;
      accepted_.emplace_back(ends[1]);
    }
    answers_.push_back(std::move(answer));
    event_.signal();
    return {};
  }
  [[nodiscard]] int answer_fd() const override { return event_.fd(); }
  Result<std::optional<Answer>> take() override {
    static_cast<void>(event_.drain());
    const std::scoped_lock held(lock_);
    if (answers_.empty()) return std::nullopt;
    Answer answer = std::move(answers_.front());
    answers_.pop_front();
    return std::optional<Answer>(std::move(answer));
  }
  /// The host's end of the newest connection, and the end of all others.
  Fd newest() {
    const std::scoped_lock held(lock_);
    if (accepted_.empty()) return {};
    Fd end = std::move(accepted_.back());
    accepted_.clear();
    return end;
  }

 private:
  std::mutex lock_;  // for what follows
  std::deque<Answer> answers_;
  std::deque<Fd> accepted_;
  EventFd event_ = MUST(EventFd::create());
};

class VsockSubject final : public AttackSubject {
 public:
  explicit VsockSubject(const SubjectOptions& options) : attacked_(options.attacked) {
    auto connector = std::make_unique<AcceptingConnector>();
    connector_ = connector.get();
    socket_ = MUST(device::VsockDevice::create({.guest_cid = VsockSay::kCid,
                                                .queue_size = options.queue_size,
                                                .listeners = {},
                                                .connector = std::move(connector),
                                                .ring_features = options.ring_features}));
  }

  [[nodiscard]] device::DeviceType& device() override { return *socket_; }
  [[nodiscard]] std::string name() const override { return "socket"; }
  [[nodiscard]] std::uint16_t queue() const override {
    return attacked_ == Attacked::kVsockReceive ? VIRTIO_VSOCK_QUEUE_RX : VIRTIO_VSOCK_QUEUE_TX;
  }
  [[nodiscard]] std::uint64_t features() const override {
    return spec::feature(spec::VIRTIO_VSOCK_F_STREAM);
  }
  [[nodiscard]] std::uint64_t refusals() const override {
    const device::VsockCounts counts = socket_->counts();
    return counts.refused + counts.foreign - nudges_;
  }

  // The end of a connection that there is not, with more behind it than it says.
  [[nodiscard]] std::vector<airlock_descriptor> chain(const HostileDriver& driver) const override {
    if (attacked_ == Attacked::kVsockReceive) {
      return {driver.writable(HostileDriver::kHeader, kVsockHdrBytes),
              driver.writable(HostileDriver::kData, kDataPartBytes),
              driver.writable(HostileDriver::kStatus, 1)};
    }
    return {single(driver), driver.readable(HostileDriver::kData, kDataPartBytes),
            driver.readable(HostileDriver::kStatus, 1)};
  }
  [[nodiscard]] airlock_descriptor single(const HostileDriver& driver) const override {
    if (attacked_ == Attacked::kVsockReceive) {
      return driver.writable(HostileDriver::kData, kDataPartBytes);
    }
    driver.memory().put(HostileDriver::kHeader,
                        header_of({.op = spec::VIRTIO_VSOCK_OP_RST, .ports = kNobody}));
    return driver.readable(HostileDriver::kHeader, kVsockHdrBytes);
  }

  // It gets a reset for that.
  bool nudge(HostileDriver& driver) override {
    if (attacked_ != Attacked::kVsockReceive || working_) return false;
    ++nudges_;
    post_packet(driver, {.ports = kNobody});
    return true;
  }
  [[nodiscard]] std::uint16_t nudging_queue() const override { return VIRTIO_VSOCK_QUEUE_TX; }

  // A connection, some bytes each way, and its end.
  bool works(HostileDriver& driver) override {
    working_ = true;
    const bool works = echoes(driver);
    working_ = false;
    return works;
  }

  AcceptingConnector& connector() { return *connector_; }

 private:
  static constexpr device::VsockPorts kNobody{.guest = 1, .host = 1};

  bool echoes(HostileDriver& driver) {
    const device::VsockPorts ports{.guest = ++guest_port_, .host = kVsockHostPort};
    const Fd end = connect_vsock(driver, ports);
    if (!end || !say_packet(driver, {.ports = ports, .text = "to the host"})) return false;
    if (read_text(end) != "to the host") return false;
    const std::string_view answer = "to the guest";
    if (send(end.get(), answer.data(), answer.size(), MSG_NOSIGNAL) != std::ssize(answer))
      return false;
    std::string text;
    return hear_packet(driver, spec::VIRTIO_VSOCK_OP_RW, ports, &text) && text == answer &&
           say_packet(driver, {.op = spec::VIRTIO_VSOCK_OP_RST, .ports = ports});
  }

  static std::string read_text(const Fd& end) {
    pollfd ready{.fd = end.get(), .events = POLLIN, .revents = 0};
    std::array<char, 64> text{};
    if (poll(&ready, 1, kWaitMs) != 1) return {};
    const ssize_t count = recv(end.get(), text.data(), text.size(), 0);
    return count < 0 ? std::string() : std::string(text.data(), static_cast<std::size_t>(count));
  }

  Attacked attacked_;
  AcceptingConnector* connector_ = nullptr;
  std::unique_ptr<device::VsockDevice> socket_;
  std::uint32_t guest_port_ = 50000;
  std::uint64_t nudges_ = 0;  // each of which is refused
  bool working_ = false;      // nobody else says anything then
};

}  // namespace

void post_packet(HostileDriver& driver, const VsockSay& say) {
  driver.memory().put(kSaid, header_of(say));
  std::vector<airlock_descriptor> chain{driver.readable(kSaid, kVsockHdrBytes)};
  if (!say.text.empty()) {
    driver.memory().copy_in(kText, std::as_bytes(std::span(say.text)));
    chain.push_back(driver.readable(kText, static_cast<std::uint32_t>(say.text.size())));
  }
  driver.submit(VIRTIO_VSOCK_QUEUE_TX, chain);
}

bool say_packet(HostileDriver& driver, const VsockSay& say) {
  post_packet(driver, say);
  return driver.wait_used(VIRTIO_VSOCK_QUEUE_TX).has_value();
}

bool hear_packet(HostileDriver& driver, std::uint16_t op, device::VsockPorts ports,
                 std::string* text) {
  for (std::size_t i = 0; i < kPacketsBefore; ++i) {
    const auto received = driver.receive(VIRTIO_VSOCK_QUEUE_RX);
    spec::VirtioVsockHdr header;
    if (!received || received->size() < sizeof header) return false;
    std::memcpy(&header, received->data(), sizeof header);
    if (header.op.get() != op || header.src_port.get() != ports.host ||
        header.dst_port.get() != ports.guest)
      continue;
    if (text != nullptr) {
      text->clear();
      for (const std::byte byte : std::span(*received).subspan(sizeof header))
        text->push_back(static_cast<char>(byte));
    }
    return true;
  }
  return false;
}

Fd connect_vsock(HostileDriver& driver, device::VsockPorts ports, std::uint16_t type) {
  const VsockSay request{.op = spec::VIRTIO_VSOCK_OP_REQUEST, .ports = ports, .type = type};
  post_packet(driver, request);
  // Where lies have filled the list of resets, it is taken only when they have been heard.
  if (!hear_packet(driver, spec::VIRTIO_VSOCK_OP_RESPONSE, ports) ||
      !driver.wait_used(VIRTIO_VSOCK_QUEUE_TX))
    return {};
  return static_cast<VsockSubject&>(driver.target().subject()).connector().newest();
}

std::unique_ptr<AttackSubject> make_vsock_subject(const SubjectOptions& options) {
  return std::make_unique<VsockSubject>(options);
}

}  // namespace airlock::testing
