// SPDX-License-Identifier: Apache-2.0
#include "compare/repeating_wire.h"

#include <algorithm>
#include <mutex>
#include <utility>
#include <vector>

#include "backend/net/gather.h"
#include "base/check.h"
#include "base/event_fd.h"
#include "spec/virtio_net.h"

namespace airlock::compare {

namespace {

class RepeatingChannel final : public backend::NetChannel {
 public:
  explicit RepeatingChannel(EventFd arrived) : arrived_(std::move(arrived)) {}

  Result<std::optional<std::size_t>> receive(spec::VirtioNetHdr& header,
                                             std::span<std::byte> frame) override {
    const std::scoped_lock lock(mutex_);
    if (frame_.empty()) {
      static_cast<void>(arrived_.drain());
      return std::nullopt;
    }
    header = {};
    std::ranges::copy(frame_, frame.begin());
    return frame_.size();
  }
  [[nodiscard]] int receive_fd() const override { return arrived_.fd(); }

  backend::NetSendResult send(const spec::VirtioNetHdr& /*header*/,
                              std::span<const shm::SharedBytes> pieces) override {
    const std::uint64_t bytes = backend::frame_bytes(pieces);
    if (!backend::is_frame_length(bytes)) return backend::NetSendResult::kDropped;
    const std::scoped_lock lock(mutex_);
    const bool first = frame_.empty();
    frame_.resize(bytes);
    backend::gather(pieces, frame_);
    if (first) arrived_.signal();
    return backend::NetSendResult::kSent;
  }
  [[nodiscard]] int send_fd() const override { return -1; }

 private:
  EventFd arrived_;
  std::mutex mutex_;
  std::vector<std::byte> frame_;  // the last that was sent
};

class RepeatingWire final : public backend::NetBackend {
 public:
  [[nodiscard]] std::string describe() const override { return "a wire that repeats"; }
  [[nodiscard]] std::uint64_t offloads() const override { return 0; }
  [[nodiscard]] std::uint16_t mtu() const override { return 0; }
  [[nodiscard]] std::uint16_t channels_max() const override { return 1; }
  Result<std::unique_ptr<backend::NetChannel>> open_channel() override {
    CHECK(!std::exchange(opened_, true));
    return std::make_unique<RepeatingChannel>(TRY(EventFd::create()));
  }
  Result<void> set_guest_offloads(std::uint64_t mask) override {
    CHECK(mask == 0);
    return {};
  }
  [[nodiscard]] bool link_up() const override { return true; }
  void on_link_change(std::function<void()> /*changed*/) override {}
  [[nodiscard]] backend::NetBackendCounts counts() const override { return {}; }

 private:
  bool opened_ = false;
};

}  // namespace

std::unique_ptr<backend::NetBackend> make_repeating_wire() {
  return std::make_unique<RepeatingWire>();
}

}  // namespace airlock::compare
