// SPDX-License-Identifier: Apache-2.0
// Goal: the threads of both queues, the host's sockets and a guest that comes and goes get nothing
// into each other's way: every byte arrives once and in order. Method: a thread for each, an echo
// on the host, connections that end at any time.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <random>
#include <thread>

#include "testing/vsock_fixture.h"

namespace airlock::device {
namespace {

using testing::VsockFixture;
using namespace spec;  // NOLINT(google-build-using-namespace): the names of the wire

constexpr std::size_t kConnections = 8;
constexpr unsigned kSteps = 4000;

/// Leads every connection to an echo in a thread of its own.
class EchoingConnector final : public VsockConnector {
 public:
  EchoingConnector() : thread_([this] { run(); }) {}
  ~EchoingConnector() override {
    over_ = true;
    thread_.join();
  }

  Result<void> ask(std::uint64_t id, std::uint32_t /*port*/, VsockType /*type*/) override {
    std::array<int, 2> ends{-1, -1};
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends.data()) == 0);
    const std::lock_guard lock(mutex_);
    answers_.push_back({.id = id, .socket = Fd(ends[0]), .error = 0});
    peers_.push_back({.socket = Fd(ends[1]), .rest = {}});
    event_.signal();
    return {};
  }
  [[nodiscard]] int answer_fd() const override { return event_.fd(); }
  Result<std::optional<Answer>> take() override {
    static_cast<void>(event_.drain());
    const std::lock_guard lock(mutex_);
    if (answers_.empty()) return std::nullopt;
    Answer answer = std::move(answers_.front());
    answers_.pop_front();
    return std::optional<Answer>(std::move(answer));
  }

 private:
  struct Peer {
    Fd socket;
    std::string rest;  // that is yet to go back
  };
  void run() {
    while (!over_) {
      {
        const std::lock_guard lock(mutex_);
        std::erase_if(peers_, [](Peer& peer) { return !echo(peer); });
      }
      std::this_thread::yield();
    }
  }
  static bool echo(Peer& peer) {
    if (peer.rest.empty()) {
      peer.rest.resize(5000);
      const ssize_t got = ::recv(peer.socket.get(), peer.rest.data(), peer.rest.size(), 0);
      peer.rest.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
      if (got == 0 || (got < 0 && errno != EAGAIN)) return false;
    }
    if (peer.rest.empty()) return true;
    const ssize_t sent =
        ::send(peer.socket.get(), peer.rest.data(), peer.rest.size(), MSG_NOSIGNAL);
    if (sent < 0) return errno == EAGAIN;
    peer.rest.erase(0, static_cast<std::size_t>(sent));
    return true;
  }

  EventFd event_ = MUST(EventFd::create());
  std::mutex mutex_;
  std::deque<Answer> answers_;
  std::vector<Peer> peers_;
  std::atomic<bool> over_{false};
  std::thread thread_;
};

class VsockThreads : public VsockFixture {
 protected:
  /// One connection, as the guest has it: its port is nobody's after it.
  struct Ours {
    std::uint32_t port = 0;
    bool open = false;
    bool over = false;
    std::uint32_t sent = 0;
    std::uint32_t received = 0;
    std::uint32_t peer_fwd = 0;
  };
  static constexpr std::uint32_t kTextMost = 3000;

  VsockThreads() {
    VsockDevice::Options options;
    options.guest_cid = kCid;
    options.queue_size = kEntries;
    options.connector = std::make_unique<EchoingConnector>();
    options.ring_features = 0;
    device_ = MUST(VsockDevice::create(std::move(options)));
    open();
    packet_ = region_.allocate(sizeof(VirtioVsockHdr) + kTextMost);
    for (unsigned i = 0; i < kEntries / 2; ++i)
      give(region_.allocate(kBuffer));
    for (auto* task : {rx_.get(), tx_.get()}) {
      workers_.emplace_back([this, task] {
        while (!over_)
          if (!MUST(task->poll())) std::this_thread::yield();
      });
    }
  }
  ~VsockThreads() override {
    over_ = true;
    for (std::thread& worker : workers_)
      worker.join();
  }

  void give(window::RegionOffset buffer) {
    const auto chain =
        testing::ChainBuilder(rx_ring_).raw(rx_ring_.address(buffer), kBuffer, true).submit();
    places_[chain.head()] = buffer;
  }
  /// One packet to the device, which has taken the one before.
  void tell(std::uint16_t op, const Ours& ours, std::string_view text = {}) {
    const auto header = header_of({.op = op,
                                   .ports = {.guest = ours.port, .host = 80},
                                   .text = text,
                                   .buf_alloc = 20000,
                                   .fwd_cnt = ours.received});
    const std::uint64_t at = std::to_underlying(packet_);
    region_.bytes().put(at, header);
    region_.bytes().copy_in(at + sizeof header, std::as_bytes(std::span(text)));
    testing::ChainBuilder(tx_ring_)
        .raw(tx_ring_.address(packet_), static_cast<std::uint32_t>(sizeof header + text.size()),
             false)
        .submit();
    while (!tx_ring_.take_used()) {
      listen();
      std::this_thread::yield();
    }
  }
  static char byte_of(std::uint32_t port, std::uint32_t at) {
    return static_cast<char>((port * 37 + at * 7 + at / 256) & 0xffU);
  }
  void listen() {
    while (const auto used = rx_ring_.take_used()) {
      const auto place = places_.at(static_cast<std::uint16_t>(used->id));
      const auto header = region_.bytes().snapshot<VirtioVsockHdr>(std::to_underlying(place));
      std::vector<std::byte> payload(header.len.get());
      region_.bytes().copy_out(std::to_underlying(place) + sizeof header, payload);
      give(place);
      take(header, payload);
    }
  }
  void take(const VirtioVsockHdr& header, std::span<const std::byte> payload) {
    const auto found = std::ranges::find(ours_, header.dst_port.get(), &Ours::port);
    if (found == ours_.end()) return;  // of one that we gave up
    const std::uint16_t op = header.op.get();
    if (op == VIRTIO_VSOCK_OP_RST) found->over = true;
    if (op == VIRTIO_VSOCK_OP_RESPONSE) found->open = true;
    found->peer_fwd = header.fwd_cnt.get();
    for (const std::byte b : payload)
      wrong_ += static_cast<char>(b) != byte_of(found->port, found->received++) ? 1U : 0U;
    bytes_ += payload.size();
  }
  void say_bytes(Ours& ours, std::uint32_t count) {
    if (ours.sent - ours.peer_fwd + count > 15000) {
      tell(VIRTIO_VSOCK_OP_CREDIT_REQUEST, ours);
      return;
    }
    std::string text;
    for (std::uint32_t i = 0; i < count; ++i)
      text.push_back(byte_of(ours.port, ours.sent++));
    tell(VIRTIO_VSOCK_OP_RW, ours, text);
  }
  void begin(Ours& ours) {
    ours = {.port = next_port_++};
    tell(VIRTIO_VSOCK_OP_REQUEST, ours);
    while (!ours.open && !ours.over) {
      listen();
      std::this_thread::yield();
    }
  }

  std::array<Ours, kConnections> ours_{};
  std::uint32_t next_port_ = 1000;
  window::RegionOffset packet_{};
  std::array<window::RegionOffset, kEntries> places_{};
  std::uint64_t wrong_ = 0;
  std::uint64_t bytes_ = 0;
  std::atomic<bool> over_{false};
  std::vector<std::thread> workers_;
};

TEST_F(VsockThreads, EveryByteComesBackOnceAndInOrder) {
  std::mt19937 random(1);
  for (Ours& ours : ours_)
    begin(ours);
  for (unsigned i = 0; i < kSteps; ++i) {
    Ours& ours = ours_[random() % kConnections];
    ASSERT_FALSE(ours.over);
    if (random() % 50 == 0) {
      tell(VIRTIO_VSOCK_OP_RST, ours);
      begin(ours);
    } else {
      say_bytes(ours, 1 + static_cast<std::uint32_t>(random()) % kTextMost);
    }
    listen();
  }
  // All that is under way comes back.
  for (Ours& ours : ours_) {
    while (ours.received < ours.sent && !ours.over) {
      tell(VIRTIO_VSOCK_OP_CREDIT_UPDATE, ours);
      listen();
    }
    EXPECT_EQ(ours.received, ours.sent);
  }
  EXPECT_EQ(wrong_, 0U);
  EXPECT_EQ(device_->counts().overdrawn, 0U);
}

}  // namespace
}  // namespace airlock::device
