// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "backend/net_backend.h"
#include "base/check.h"
#include "base/event_fd.h"
#include "spec/virtio.h"
#include "spec/virtio_net.h"

namespace airlock::testing {

/// A frame, on either side of a FakeNetwork.
struct FakeFrame {
  spec::VirtioNetHdr header{};
  std::vector<std::byte> bytes;
};

/// A network in the hands of a test: what arrives, what was sent, what fails. One thread.
struct FakeNetwork {
  std::uint64_t offloads =
      spec::feature(spec::VIRTIO_NET_F_CSUM) | spec::feature(spec::VIRTIO_NET_F_HOST_TSO4) |
      spec::feature(spec::VIRTIO_NET_F_HOST_TSO6) | spec::feature(spec::VIRTIO_NET_F_HOST_ECN) |
      spec::feature(spec::VIRTIO_NET_F_HOST_USO) | spec::feature(spec::VIRTIO_NET_F_GUEST_CSUM) |
      spec::feature(spec::VIRTIO_NET_F_GUEST_TSO4) | spec::feature(spec::VIRTIO_NET_F_GUEST_TSO6) |
      spec::feature(spec::VIRTIO_NET_F_GUEST_ECN) | spec::feature(spec::VIRTIO_NET_F_GUEST_USO4) |
      spec::feature(spec::VIRTIO_NET_F_GUEST_USO6);
  std::uint16_t channels_max = 4;
  bool link_up = true;
  std::function<void()> link_changed;

  /// By channel, in the order they were opened.
  struct Channel {
    std::deque<FakeFrame> arriving;
    std::vector<FakeFrame> sent;
    std::size_t pieces = 0;  // of the last frame
    EventFd receive_event = MUST(EventFd::create());
    EventFd send_event = MUST(EventFd::create());
    unsigned flushes = 0;
    unsigned receives = 0;
  };
  std::vector<std::unique_ptr<Channel>> channels;

  backend::NetSendResult send_result = backend::NetSendResult::kSent;
  std::optional<Error> receive_error;
  std::optional<Error> offloads_error;
  std::optional<Error> channels_error;
  std::uint16_t channels_in_use = 0;
  std::uint64_t guest_offloads = 0;

  void arrive(std::size_t channel, FakeFrame frame) {
    channels[channel]->arriving.push_back(std::move(frame));
    channels[channel]->receive_event.signal();
  }
};

class FakeNetChannel : public backend::NetChannel {
 public:
  FakeNetChannel(std::shared_ptr<FakeNetwork> network, std::size_t index)
      : network_(std::move(network)), index_(index) {}

  Result<std::optional<std::size_t>> receive(spec::VirtioNetHdr& header,
                                             std::span<std::byte> frame) override {
    ++mine().receives;
    static_cast<void>(mine().receive_event.drain());
    if (network_->receive_error) return fail(*network_->receive_error);
    if (mine().arriving.empty()) return std::optional<std::size_t>();
    const FakeFrame next = std::move(mine().arriving.front());
    mine().arriving.pop_front();
    CHECK(next.bytes.size() <= frame.size());
    header = next.header;
    std::ranges::copy(next.bytes, frame.begin());
    return std::optional(next.bytes.size());
  }
  [[nodiscard]] int receive_fd() const override { return mine().receive_event.fd(); }

  backend::NetSendResult send(const spec::VirtioNetHdr& header,
                              std::span<const shm::SharedBytes> pieces) override {
    if (network_->send_result != backend::NetSendResult::kSent) return network_->send_result;
    FakeFrame frame{.header = header, .bytes = {}};
    for (const shm::SharedBytes& piece : pieces) {
      const std::size_t at = frame.bytes.size();
      frame.bytes.resize(at + piece.size());
      piece.copy_out(0, std::span(frame.bytes).subspan(at));
    }
    mine().pieces = pieces.size();
    mine().sent.push_back(std::move(frame));
    return backend::NetSendResult::kSent;
  }
  void flush() override { ++mine().flushes; }
  [[nodiscard]] int send_fd() const override { return mine().send_event.fd(); }

 private:
  [[nodiscard]] FakeNetwork::Channel& mine() const { return *network_->channels[index_]; }

  std::shared_ptr<FakeNetwork> network_;
  std::size_t index_;
};

/// A backend over a FakeNetwork.
class FakeNetBackend : public backend::NetBackend {
 public:
  explicit FakeNetBackend(std::shared_ptr<FakeNetwork> network) : network_(std::move(network)) {}

  [[nodiscard]] std::string describe() const override { return "fake network"; }
  [[nodiscard]] std::uint64_t offloads() const override { return network_->offloads; }
  [[nodiscard]] std::uint16_t mtu() const override { return 0; }
  [[nodiscard]] std::uint16_t channels_max() const override { return network_->channels_max; }
  Result<std::unique_ptr<backend::NetChannel>> open_channel() override {
    if (network_->channels_error) return fail(*network_->channels_error);
    network_->channels.push_back(std::make_unique<FakeNetwork::Channel>());
    return std::make_unique<FakeNetChannel>(network_, network_->channels.size() - 1);
  }
  Result<void> use_channels(std::uint16_t count) override {
    if (network_->channels_error) return fail(*network_->channels_error);
    network_->channels_in_use = count;
    return {};
  }
  Result<void> set_guest_offloads(std::uint64_t mask) override {
    if (network_->offloads_error) return fail(*network_->offloads_error);
    network_->guest_offloads = mask;
    return {};
  }
  [[nodiscard]] bool link_up() const override { return network_->link_up; }
  void on_link_change(std::function<void()> changed) override {
    network_->link_changed = std::move(changed);
  }
  [[nodiscard]] backend::NetBackendCounts counts() const override { return {}; }

 private:
  std::shared_ptr<FakeNetwork> network_;
};

}  // namespace airlock::testing
