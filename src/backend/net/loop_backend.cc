// SPDX-License-Identifier: Apache-2.0
#include "backend/net/loop_backend.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <utility>
#include <vector>

#include "backend/net/gather.h"
#include "backend/net/net_checksum.h"
#include "backend/net/net_counters.h"
#include "base/check.h"
#include "base/event_fd.h"
#include "base/fifo.h"
#include "spec/virtio.h"
#include "spec/virtio_net.h"

namespace airlock::backend {

namespace {

constexpr std::uint16_t kLoopChannels = 64;
constexpr std::uint64_t kLoopGuestOffloads =
    spec::feature(spec::VIRTIO_NET_F_GUEST_CSUM) | spec::feature(spec::VIRTIO_NET_F_GUEST_TSO4) |
    spec::feature(spec::VIRTIO_NET_F_GUEST_TSO6) | spec::feature(spec::VIRTIO_NET_F_GUEST_ECN);
constexpr std::uint64_t kLoopOffloads =
    kLoopGuestOffloads | spec::feature(spec::VIRTIO_NET_F_CSUM) |
    spec::feature(spec::VIRTIO_NET_F_HOST_TSO4) | spec::feature(spec::VIRTIO_NET_F_HOST_TSO6) |
    spec::feature(spec::VIRTIO_NET_F_HOST_ECN);

/// The GUEST_ bits that a header's segments need; all ones for a kind that there is none for.
std::uint64_t needed_for_segments(std::uint8_t gso_type) {
  const bool ecn = (gso_type & spec::VIRTIO_NET_HDR_GSO_ECN) != 0;
  const std::uint64_t also = ecn ? spec::feature(spec::VIRTIO_NET_F_GUEST_ECN) : 0;
  switch (gso_type & ~spec::VIRTIO_NET_HDR_GSO_ECN) {
    case spec::VIRTIO_NET_HDR_GSO_NONE:
      return 0;
    case spec::VIRTIO_NET_HDR_GSO_TCPV4:
      return also | spec::feature(spec::VIRTIO_NET_F_GUEST_TSO4);
    case spec::VIRTIO_NET_HDR_GSO_TCPV6:
      return also | spec::feature(spec::VIRTIO_NET_F_GUEST_TSO6);
    default:
      return ~std::uint64_t{0};
  }
}

/// What the channels of a loop share.
struct LoopState {
  NetCounters counters;
  std::atomic<std::uint64_t> guest_offloads{0};
  std::atomic<std::uint16_t> channels{0};
};

class LoopChannel final : public NetChannel {
 public:
  LoopChannel(LoopState& state, EventFd arrived, EventFd room)
      : state_(state), arrived_(std::move(arrived)), room_(std::move(room)) {
    state_.channels.fetch_add(1);
  }
  ~LoopChannel() override { state_.channels.fetch_sub(1); }

  Result<std::optional<std::size_t>> receive(spec::VirtioNetHdr& header,
                                             std::span<std::byte> frame) override {
    CHECK(frame.size() >= kNetFrameMax);
    for (;;) {
      auto next = take();
      if (!next) {
        // Who looks again after this finds what came before; what comes later is signalled again.
        if (!arrived_.drain()) return std::nullopt;
        continue;
      }
      if (!allow(*next)) {
        state_.counters.count_unsent();
        continue;
      }
      header = next->header;
      std::ranges::copy(next->bytes, frame.begin());
      return next->bytes.size();
    }
  }
  [[nodiscard]] int receive_fd() const override { return arrived_.fd(); }

  NetSendResult send(const spec::VirtioNetHdr& header,
                     std::span<const shm::SharedBytes> pieces) override {
    const std::uint64_t length = frame_bytes(pieces);
    if (!is_frame_length(length) || !header_fits(header, length)) {
      state_.counters.count_unsent();
      return NetSendResult::kDropped;
    }
    told_to_wait_ = !has_room();
    if (told_to_wait_) return NetSendResult::kBusy;
    Frame frame{.header = header, .bytes = std::vector<std::byte>(length)};
    frame.header.num_buffers.set(0);
    gather(pieces, frame.bytes);
    {
      const std::scoped_lock held(lock_);
      frames_.push_back(std::move(frame));
    }
    arrived_.signal();
    return NetSendResult::kSent;
  }
  // Room was told of once: whoever waits tries again before the next flush, and where nobody does
  // any more, it is no news.
  void flush() override {
    const std::scoped_lock held(lock_);
    if (!busy_ && !std::exchange(told_to_wait_, false)) static_cast<void>(room_.drain());
  }
  [[nodiscard]] int send_fd() const override { return room_.fd(); }

 private:
  struct Frame {
    spec::VirtioNetHdr header{};
    std::vector<std::byte> bytes;
  };

  std::optional<Frame> take() {
    const std::scoped_lock held(lock_);
    if (frames_.empty()) return std::nullopt;
    std::optional<Frame> next = std::move(frames_.front());
    frames_.pop_front();
    if (std::exchange(busy_, false)) room_.signal();
    return next;
  }

  /// Only the sending side adds any, so that room stays room.
  bool has_room() {
    const std::scoped_lock held(lock_);
    busy_ = frames_.size() >= kLoopFrames;
    if (busy_) static_cast<void>(room_.drain());
    return !busy_;
  }

  [[nodiscard]] bool allow(Frame& frame) const {
    const std::uint64_t allowed = state_.guest_offloads.load(std::memory_order_relaxed);
    if ((needed_for_segments(frame.header.gso_type) & ~allowed) != 0) return false;
    if ((allowed & spec::feature(spec::VIRTIO_NET_F_GUEST_CSUM)) == 0) {
      complete_checksum(frame.header, frame.bytes);
      frame.header = {};
    }
    return true;
  }

  LoopState& state_;
  EventFd arrived_;
  EventFd room_;
  bool told_to_wait_ = false;  // the sending side's, by the last send()
  std::mutex lock_;            // for what follows
  Fifo<Frame> frames_;
  bool busy_ = false;  // the sender waits for room
};

class LoopBackend final : public NetBackend {
 public:
  [[nodiscard]] std::string describe() const override { return "loop"; }
  [[nodiscard]] std::uint64_t offloads() const override { return kLoopOffloads; }
  [[nodiscard]] std::uint16_t mtu() const override { return 0; }
  [[nodiscard]] std::uint16_t channels_max() const override { return kLoopChannels; }
  Result<std::unique_ptr<NetChannel>> open_channel() override {
    CHECK(state_.channels.load() < kLoopChannels);
    EventFd arrived = TRY(EventFd::create());
    EventFd room = TRY(EventFd::create());
    return std::make_unique<LoopChannel>(state_, std::move(arrived), std::move(room));
  }
  Result<void> set_guest_offloads(std::uint64_t mask) override {
    CHECK((mask & ~kLoopGuestOffloads) == 0);
    state_.guest_offloads.store(mask, std::memory_order_relaxed);
    return {};
  }
  [[nodiscard]] bool link_up() const override { return true; }
  void on_link_change(std::function<void()> /*changed*/) override {}
  [[nodiscard]] NetBackendCounts counts() const override { return state_.counters.counts(); }

 private:
  LoopState state_;
};

}  // namespace

std::unique_ptr<NetBackend> make_loop() {
  return std::make_unique<LoopBackend>();
}

}  // namespace airlock::backend
