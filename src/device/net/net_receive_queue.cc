// SPDX-License-Identifier: Apache-2.0
#include "device/net/net_receive_queue.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "backend/net/net_checksum.h"
#include "base/check.h"
#include "device/net/net_header.h"
#include "device/ring_task.h"
#include "spec/virtio.h"
#include "spec/virtio_net.h"

namespace airlock::device {

namespace {

/// Frames delivered in one poll(): the driver should not wait long to hear of the first.
constexpr unsigned kReceiveBatchFrames = 32;
/// Buffers that a chain has room for from the start: most drivers use one or two.
constexpr std::size_t kReceiveBuffersAtFirst = 4;

class NetReceiveQueue final : public RingTask {
 public:
  NetReceiveQueue(const QueueContext& context, ring::DeviceQueue ring,
                  const NetReceiveOptions& options);

  // With buffers to spare, a driver that adds more has nothing to tell us.
  void want_notifications(bool wanted) override {
    RingTask::want_notifications(wanted && frame_bytes_ > 0);
  }
  [[nodiscard]] int completion_fd() const override;

 protected:
  Result<bool> serve() override;
  void finish() override;
  void forget() override { let_go_of_buffers(); }

 private:
  [[nodiscard]] bool find_out_whether_in_use() const;
  /// Fetches a frame; false if there is none. It is in frame_bytes_ if the driver is to get it.
  bool fetch();
  [[nodiscard]] bool admit(std::size_t bytes);
  [[nodiscard]] bool exceeds_mtu(std::size_t bytes) const;
  /// Copies the frame into the driver's buffers, or drops it; false: it waits for more of these.
  /// Errors: the ring's; kTooSmall.
  Result<bool> deliver();
  Result<bool> take_buffer();
  void copy_to_driver();
  void let_go_of_buffers() {
    taken_ = 0;
    room_ = 0;
  }

  NetReceiveOptions options_;
  bool limits_mtu_;
  std::size_t chains_most_;  // that one frame may use
  bool in_use_ = true;
  bool failed_ = false;  // the channel, for good

  std::uint64_t filter_version_ = 0;
  NetFilter filter_;
  std::uint64_t offloads_ = 0;
  NetHeaderRules rules_;

  std::vector<std::byte> frame_ = std::vector<std::byte>(backend::kNetFrameMax);
  spec::VirtioNetHdr header_;
  std::size_t frame_bytes_ = 0;  // 0: there is no frame
  bool waiting_ = false;         // the frame, for buffers, and that was counted

  std::vector<ring::Chain> chains_;  // the first taken_ are the driver's buffers that we hold
  std::size_t taken_ = 0;
  std::uint64_t room_ = 0;  // bytes in these
};

NetReceiveQueue::NetReceiveQueue(const QueueContext& context, ring::DeviceQueue ring,
                                 const NetReceiveOptions& options)
    : RingTask(context, std::move(ring)),
      options_(options),
      limits_mtu_(context.negotiated.has(spec::VIRTIO_NET_F_MTU)),
      chains_most_(context.negotiated.has(spec::VIRTIO_NET_F_MRG_RXBUF) ? context.setup.size : 1) {
  CHECK(options_.pair != nullptr && options_.shared != nullptr && options_.metrics != nullptr);
  chains_.reserve(chains_most_);
  filter_version_ = options_.shared->filter.read(filter_);
}

Result<bool> NetReceiveQueue::serve() {
  bool progress = false;
  for (unsigned frames = 0; frames < kReceiveBatchFrames; ++frames) {
    in_use_ = find_out_whether_in_use();
    if (!in_use_) break;
    if (frame_bytes_ == 0) {
      if (!fetch()) break;
      progress = true;
      if (frame_bytes_ == 0) continue;
    }
    const bool delivered = TRY(deliver());
    if (!delivered) {
      if (!std::exchange(waiting_, true)) ++options_.metrics->waits;
      break;
    }
    waiting_ = false;
    progress = true;
  }
  return progress;
}

int NetReceiveQueue::completion_fd() const {
  if (!in_use_) return options_.pair->taken_into_use.fd();
  // A frame that waits for a buffer waits for the driver, and so does all that is behind it.
  if (frame_bytes_ > 0 || failed_) return -1;
  return options_.pair->channel->receive_fd();
}

// 5.1.6.5.6: nothing for receive queues beyond those in use.
bool NetReceiveQueue::find_out_whether_in_use() const {
  const auto& pairs = options_.shared->pairs;
  if (options_.pair_index < pairs.load(std::memory_order_acquire)) return true;
  static_cast<void>(options_.pair->taken_into_use.drain());
  // Signalled after the number grew: whichever way we missed it, we see it here or wake up again.
  return options_.pair_index < pairs.load(std::memory_order_acquire);
}

bool NetReceiveQueue::fetch() {
  if (failed_) return false;
  const auto got = options_.pair->channel->receive(header_, frame_);
  if (!got) {
    failed_ = true;
    // A driver has it said once more by a reset.
    if (options_.shared->errors.allow()) {
      log(LogLevel::kError, "{}: no frames for queue {} any more: {}", options_.shared->name,
          queue(), describe(got.error()));
    }
    return false;
  }
  if (!*got) return false;
  const std::size_t bytes = got->value_or(0);
  CHECK(bytes >= backend::kNetFrameMin && bytes <= frame_.size());
  if (admit(bytes)) frame_bytes_ = bytes;
  return true;
}

bool NetReceiveQueue::admit(std::size_t bytes) {
  const std::span<std::byte> frame = std::span(frame_).first(bytes);
  const NetFilterBoard& board = options_.shared->filter;
  if (board.version() != filter_version_) filter_version_ = board.read(filter_);
  if (!filter_.admits(frame)) {
    ++options_.metrics->filtered;
    return false;
  }
  const std::uint64_t offloads = options_.shared->guest_offloads.load(std::memory_order_acquire);
  if (offloads != offloads_) {
    offloads_ = offloads;
    rules_ = net_receive_rules(offloads);
  }
  // A checksum that the driver would not complete is ours to do; frames that it would not cut up
  // are lost.
  NetHeaderRules rules = rules_;
  rules.checksum = true;
  const auto checked = check_net_header(header_, bytes, rules);
  if (!checked || exceeds_mtu(bytes)) {
    ++options_.metrics->unfit;
    return false;
  }
  header_ = *checked;
  if ((header_.flags & spec::VIRTIO_NET_HDR_F_NEEDS_CSUM) != 0 && !rules_.checksum) {
    backend::complete_checksum(header_, frame);
    header_.flags = 0;
    header_.csum_start = {};
    header_.csum_offset = {};
  }
  return true;
}

// 5.1.4.1: no packet above the MTU that was agreed upon, unless the driver cuts it up.
bool NetReceiveQueue::exceeds_mtu(std::size_t bytes) const {
  if (!limits_mtu_ || header_.gso_type != spec::VIRTIO_NET_HDR_GSO_NONE) return false;
  const std::size_t extra =
      kEthernetBytes + (has_vlan_tag(std::span(frame_).first(bytes)) ? kVlanTagBytes : 0);
  return bytes - extra > options_.mtu;
}

Result<bool> NetReceiveQueue::deliver() {
  const std::uint64_t needed = kNetHeaderBytes + frame_bytes_;
  while (room_ < needed) {
    if (taken_ == chains_most_) {
      // The buffers are kept for a frame that they are large enough for.
      ++options_.metrics->unfit;
      frame_bytes_ = 0;
      return true;
    }
    const bool took = TRY(take_buffer());
    if (!took) return false;
  }
  copy_to_driver();
  ++options_.metrics->received;
  options_.metrics->received_bytes += std::exchange(frame_bytes_, 0);
  return true;
}

Result<bool> NetReceiveQueue::take_buffer() {
  if (taken_ == chains_.size()) chains_.emplace_back(kReceiveBuffersAtFirst);
  ring::Chain& chain = chains_[taken_];
  const bool took = TRY(take(chain));
  if (!took) return false;
  // 5.1.6.3.1: each holds a header at least, whether one is put there or not.
  if (chain.writable_bytes() < kNetHeaderBytes) {
    return fail({.code = Errc::kTooSmall, .queue = queue(), .address = kNetHeaderBytes});
  }
  room_ += chain.writable_bytes();
  ++taken_;
  return true;
}

// 5.1.6.4.1: every buffer but the last is filled up.
void NetReceiveQueue::copy_to_driver() {
  const std::uint64_t needed = kNetHeaderBytes + frame_bytes_;
  std::size_t count = 0;
  for (std::uint64_t room = 0; room < needed; ++count) {
    room += chains_[count].writable_bytes();
  }
  header_.num_buffers.set(static_cast<std::uint16_t>(count));
  std::span<const std::byte> rest = std::span(frame_).first(frame_bytes_);
  for (std::size_t i = 0; i < count; ++i) {
    const ring::Chain& chain = chains_[i];
    std::uint32_t at = 0;
    if (i == 0) {
      MUST(chain.write(0, std::as_bytes(std::span(&header_, 1))));
      at = kNetHeaderBytes;
    }
    const std::size_t part = std::min<std::size_t>(rest.size(), chain.writable_bytes() - at);
    MUST(chain.write(at, rest.first(part)));
    rest = rest.subspan(part);
    room_ -= chain.writable_bytes();
    give_back(chain, at + static_cast<std::uint32_t>(part));
  }
  // More were held only if a longer frame was dropped for want of room.
  std::rotate(chains_.begin(), chains_.begin() + static_cast<std::ptrdiff_t>(count),
              chains_.begin() + static_cast<std::ptrdiff_t>(taken_));
  taken_ -= count;
}

// Where memory goes away buffers can't be held: empty ones a driver takes for bad frames.
void NetReceiveQueue::finish() {
  for (const ring::Chain& chain : std::span(chains_).first(taken_)) {
    give_back(chain, 0);
  }
  let_go_of_buffers();
}

}  // namespace

Result<std::unique_ptr<QueueTask>> make_net_receive_queue(const QueueContext& context,
                                                          const NetReceiveOptions& options) {
  return std::make_unique<NetReceiveQueue>(context, TRY(RingTask::open_ring(context)), options);
}

}  // namespace airlock::device
