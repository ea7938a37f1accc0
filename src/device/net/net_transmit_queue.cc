// SPDX-License-Identifier: Apache-2.0
#include "device/net/net_transmit_queue.h"

#include <utility>
#include <vector>

#include "base/check.h"
#include "device/net/net_header.h"
#include "device/net/net_ring.h"
#include "spec/virtio_net.h"

namespace airlock::device {

namespace {

using backend::NetSendResult;

/// Frames sent in one poll(): the driver should not wait long to have the first one's memory back.
constexpr unsigned kTransmitBatchFrames = 32;

class NetTransmitQueue final : public QueueTask {
 public:
  NetTransmitQueue(const QueueContext& context, NetRing ring, const NetTransmitOptions& options);

  Result<bool> poll() override;
  void want_notifications(bool wanted) override {
    ring_.ask_for_notifications(wanted && !waiting_);
  }
  [[nodiscard]] int completion_fd() const override { return options_.pair->channel->send_fd(); }
  [[nodiscard]] std::size_t in_flight() const override { return ring_.in_flight(); }
  void drain(bool discard) override;
  [[nodiscard]] Result<void> rebind() override { return ring_.rebind(); }

 private:
  /// Takes the next frame and sends it; false if there is none. Errors: the ring's; kTooSmall.
  Result<bool> take_next();
  /// The frame in chain_: its header and its pieces. False: it is none that may be sent.
  [[nodiscard]] bool prepare();
  /// False: the channel has no room, and the frame waits.
  bool send();
  void finish() {
    waiting_ = false;
    ring_.give_back(chain_, 0);
  }

  NetRing ring_;
  NetTransmitOptions options_;
  NetHeaderRules rules_;
  ring::Chain chain_;
  spec::VirtioNetHdr header_;
  std::vector<shm::SharedBytes> pieces_;
  std::uint32_t frame_bytes_ = 0;
  bool waiting_ = false;  // the frame in chain_, for room in the channel
};

NetTransmitQueue::NetTransmitQueue(const QueueContext& context, NetRing ring,
                                   const NetTransmitOptions& options)
    : ring_(std::move(ring)),
      options_(options),
      rules_(net_transmit_rules(context.negotiated.features)),
      chain_(ring_.size()) {
  CHECK(options_.pair != nullptr && options_.metrics != nullptr);
  pieces_.reserve(ring_.size());
}

Result<bool> NetTransmitQueue::poll() {
  if (!ring_.usable()) return ring_.unusable();
  bool progress = waiting_ && send();
  Result<void> outcome;
  for (unsigned frames = 0; !waiting_ && frames < kTransmitBatchFrames; ++frames) {
    const auto took = take_next();
    if (!took) outcome = fail(took.error());
    if (!took || !*took) break;
    progress = true;
  }
  options_.pair->channel->flush();
  ring_.show();
  if (!outcome) return fail(outcome.error());
  return progress;
}

Result<bool> NetTransmitQueue::take_next() {
  const bool took = TRY(ring_.take(chain_));
  if (!took) return false;
  if (chain_.readable_bytes() < kNetHeaderBytes) {
    return ring_.break_with({.code = Errc::kTooSmall, .address = kNetHeaderBytes});
  }
  if (prepare()) {
    send();
  } else {
    ++options_.metrics->refused;
    finish();
  }
  return true;
}

bool NetTransmitQueue::prepare() {
  frame_bytes_ = chain_.readable_bytes() - kNetHeaderBytes;
  if (frame_bytes_ < backend::kNetFrameMin || frame_bytes_ > backend::kNetFrameMax) return false;
  // Once: what the driver does to it later changes nothing.
  const auto header = MUST(chain_.read<spec::VirtioNetHdr>(0));
  const auto checked = check_net_header(header, frame_bytes_, rules_);
  if (!checked) return false;
  header_ = *checked;
  pieces_.clear();
  MUST(chain_.append_readable({.offset = kNetHeaderBytes, .length = frame_bytes_}, pieces_));
  return true;
}

bool NetTransmitQueue::send() {
  switch (options_.pair->channel->send(header_, pieces_)) {
    case NetSendResult::kSent:
      ++options_.metrics->sent;
      options_.metrics->sent_bytes += frame_bytes_;
      break;
    case NetSendResult::kBusy:
      if (!std::exchange(waiting_, true)) ++options_.metrics->waits;
      return false;
    case NetSendResult::kDropped:
      ++options_.metrics->unsent;
      break;
  }
  finish();
  return true;
}

void NetTransmitQueue::drain(bool discard) {
  if (discard) {
    ring_.abandon();
    waiting_ = false;
    return;
  }
  if (waiting_ && !send()) {
    ++options_.metrics->unsent;
    finish();
  }
  options_.pair->channel->flush();
  ring_.show();
}

}  // namespace

Result<std::unique_ptr<QueueTask>> make_net_transmit_queue(const QueueContext& context,
                                                           const NetTransmitOptions& options) {
  return std::make_unique<NetTransmitQueue>(context, TRY(NetRing::open(context)), options);
}

}  // namespace airlock::device
