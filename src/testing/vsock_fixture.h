// SPDX-License-Identifier: Apache-2.0
//
// For tests of the socket device: a driver that writes its rings by hand, and a host with sockets
// of its own.
#pragma once

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "device/vsock/vsock_device.h"
#include "spec/virtio.h"
#include "testing/chain_builder.h"
#include "testing/fake_connector.h"
#include "testing/vsock_say.h"

namespace airlock::testing {

/// A packet as a driver sees it.
struct SeenPacket {
  spec::VirtioVsockHdr header;
  std::vector<std::byte> payload;

  [[nodiscard]] std::uint16_t op() const { return header.op.get(); }
  [[nodiscard]] std::string text() const {
    std::string out;
    for (const std::byte b : payload)
      out.push_back(static_cast<char>(b));
    return out;
  }
};

class VsockFixture : public ::testing::Test {
 protected:
  static constexpr std::uint32_t kCid = VsockSay::kCid;
  static constexpr std::uint16_t kEntries = 64;
  static constexpr std::uint32_t kBuffer = 512;  // of the driver, header included

  VsockFixture() { make_device({}); }

  void make_device(device::VsockDevice::Options options) {
    auto connector = std::make_unique<FakeConnector>();
    connector_ = connector.get();
    options.guest_cid = kCid;
    options.queue_size = kEntries;
    options.connector = std::move(connector);
    options.ring_features = 0;
    device_ = MUST(device::VsockDevice::create(std::move(options)));
  }

  void open() { open(device_->features()); }
  void open(std::uint64_t features) {
    negotiated_ = features;
    rx_ = make_task(rx_ring_, 0);
    tx_ = make_task(tx_ring_, 1);
  }
  std::unique_ptr<device::QueueTask> make_task(FakeDriver& ring, std::uint16_t queue) {
    return MUST(device_->make_queue(context_of(ring, queue)));
  }
  device::QueueContext context_of(FakeDriver& ring, std::uint16_t queue) {
    const ring::QueueConfig& config = ring.config();
    device::QueueContext context;
    context.negotiated.features = negotiated_;
    context.negotiated.reach = window::Reach::kRegion;
    context.setup = {.index = queue,
                     .size = kEntries,
                     .descriptor_area = config.areas.descriptors,
                     .driver_area = config.areas.driver,
                     .device_area = config.areas.device};
    context.window = &region_.window();
    return context;
  }

  using Say = VsockSay;
  static spec::VirtioVsockHdr header_of(const Say& say) { return testing::header_of(say); }
  /// Puts a packet into the tx ring and has the device take it.
  void say(const Say& what) {
    put(what);
    while (MUST(tx_->poll())) {
    }
    while (tx_ring_.take_used()) {
    }
    outstanding_ = false;
    region_.free_to(mark_);
  }
  /// Puts it there and no more.
  void put(const Say& what) {
    ChainBuilder builder(tx_ring_);
    builder.readable_struct(header_of(what));
    if (!what.text.empty()) builder.readable(what.text);
    builder.submit();
    outstanding_ = true;
  }

  /// Gives the device a buffer to receive into.
  void offer_buffers(unsigned count, std::uint32_t bytes = kBuffer) {
    for (unsigned i = 0; i < count; ++i) {
      const BuiltChain chain = ChainBuilder(rx_ring_).writable(bytes).submit();
      buffers_.emplace(chain.head(), chain);
    }
    mark_ = region_.mark();
  }
  /// Everything that the device has to say, given one buffer after the other.
  std::vector<SeenPacket> hear() {
    std::vector<SeenPacket> seen;
    for (;;) {
      if (buffers_.empty()) offer_buffers(1);
      run_rx();
      const auto packet = take_packet();
      if (!packet) return seen;
      seen.push_back(*packet);
    }
  }
  void run_rx() {
    for (unsigned idle = 0; idle < 2;)
      idle = MUST(rx_->poll())
    ? 0 : idle + 1;
  }
  std::optional<SeenPacket> take_packet() {
    const auto used = rx_ring_.take_used();
    if (!used) return std::nullopt;
    const auto found = buffers_.find(static_cast<std::uint16_t>(used->id));
    CHECK(found != buffers_.end());
    std::vector<std::byte> bytes = found->second.written();
    buffers_.erase(found);
    if (buffers_.empty() && !outstanding_) region_.free_to(rx_mark_);
    SeenPacket packet;
    std::memcpy(&packet.header, bytes.data(), sizeof packet.header);
    EXPECT_EQ(used->length, sizeof packet.header + packet.header.len.get());
    packet.payload.assign(bytes.begin() + sizeof packet.header,
                          bytes.begin() + static_cast<std::ptrdiff_t>(used->length));
    return packet;
  }
  /// The one packet that the device has to say.
  SeenPacket hear_one() {
    const auto all = hear();
    EXPECT_EQ(all.size(), 1U);
    return all.empty() ? SeenPacket() : all.front();
  }

  /// A connection from the guest to something that listens, and the host's end of it.
  Fd connect(device::VsockPorts ports = {.guest = 1000, .host = 80},
             std::uint16_t type = spec::VIRTIO_VSOCK_TYPE_STREAM, std::uint32_t buf_alloc = 65536) {
    connector_->listening[ports.host] = true;
    say({.op = spec::VIRTIO_VSOCK_OP_REQUEST,
         .ports = ports,
         .type = type,
         .buf_alloc = buf_alloc});
    EXPECT_EQ(hear_one().op(), spec::VIRTIO_VSOCK_OP_RESPONSE);
    CHECK(!connector_->accepted.empty());
    Fd end = std::move(connector_->accepted.back());
    connector_->accepted.pop_back();
    return end;
  }

  static void write_all(const Fd& socket, std::string_view text) {
    EXPECT_EQ(::send(socket.get(), text.data(), text.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(text.size()));
  }
  /// What is there now; "<end>" at the end, "<nothing>" where there is none.
  static std::string read_some(const Fd& socket, std::size_t most = 65536) {
    std::string text(most, '\0');
    const ssize_t count = ::recv(socket.get(), text.data(), text.size(), MSG_DONTWAIT);
    if (count < 0) return errno == EAGAIN ? "<nothing>" : "<error>";
    if (count == 0) return "<end>";
    text.resize(static_cast<std::size_t>(count));
    return text;
  }

  TestRegion region_{TestRegion::Options{.size = std::uint64_t{8} << 20}};
  FakeDriver rx_ring_{region_, kEntries, 0};
  FakeDriver tx_ring_{region_, kEntries, 1};
  FakeDriver event_ring_{region_, kEntries, 2};
  std::uint64_t rx_mark_ = region_.mark();
  std::uint64_t mark_ = rx_mark_;
  bool outstanding_ = false;  // packets whose memory is in use
  std::uint64_t negotiated_ = 0;
  std::map<std::uint16_t, BuiltChain> buffers_;
  FakeConnector* connector_ = nullptr;
  std::unique_ptr<device::VsockDevice> device_;
  std::unique_ptr<device::QueueTask> rx_;
  std::unique_ptr<device::QueueTask> tx_;
};

}  // namespace airlock::testing
