// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <utility>

#include "backend/net/socket_link.h"
#include "base/check.h"
#include "spec/virtio.h"
#include "spec/virtio_net.h"

namespace airlock::backend {

/// What the backends over one socket have in common: a link, no headers, one channel, and only the
/// checksum done for the guest. `Channel` is made of (SocketLink&, NetCounters&).
template <class Channel>
class SocketBackend final : public NetBackend {
 public:
  /// Errors: kSystem.
  static Result<std::unique_ptr<NetBackend>> create(SocketLink::Options link, std::uint16_t mtu) {
    std::unique_ptr<SocketBackend> backend(new SocketBackend(mtu));
    backend->link_ = TRY(SocketLink::create(std::move(link), backend->counters_));
    return backend;
  }

  [[nodiscard]] std::string describe() const override { return link_->name(); }
  [[nodiscard]] std::uint64_t offloads() const override {
    return spec::feature(spec::VIRTIO_NET_F_CSUM);
  }
  [[nodiscard]] std::uint16_t mtu() const override { return mtu_; }
  [[nodiscard]] std::uint16_t channels_max() const override { return 1; }
  Result<std::unique_ptr<NetChannel>> open_channel() override {
    CHECK(!std::exchange(opened_, true));
    return std::make_unique<Channel>(*link_, counters_);
  }
  Result<void> set_guest_offloads(std::uint64_t mask) override {
    CHECK(mask == 0);
    return {};
  }
  [[nodiscard]] bool link_up() const override { return link_->up(); }
  void on_link_change(std::function<void()> changed) override {
    link_->on_change(std::move(changed));
  }
  [[nodiscard]] NetBackendCounts counts() const override { return counters_.counts(); }

 private:
  explicit SocketBackend(std::uint16_t mtu) : mtu_(mtu) {}

  NetCounters counters_;
  std::unique_ptr<SocketLink> link_;
  std::uint16_t mtu_;
  bool opened_ = false;  // a second one would tear frames apart
};

}  // namespace airlock::backend
