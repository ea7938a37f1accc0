// SPDX-License-Identifier: Apache-2.0
#include "device/net/net_transmit_queue.h"

#include <utility>
#include <vector>

#include "base/check.h"
#include "device/net/net_header.h"
#include "device/ring_task.h"
#include "spec/virtio_net.h"

namespace airlock::device {

namespace {

using backend::NetSendResult;

/// Frames sent in one poll(): the driver should not wait long to have the first one's memory back.
constexpr unsigned kTransmitBatchFrames = 32;

class NetTransmitQueue final : public RingTask {
 public:
  NetTransmitQueue(const QueueContext& context, ring::DeviceQueue ring,
                   const NetTransmitOptions& options);

  void want_notifications(bool wanted) override {
    RingTask::want_notifications(wanted && !waiting_);
  }
  [[nodiscard]] int completion_fd() const override { return options_.pair->channel->send_fd(); }

 protected:
  Result<bool> serve() override;
  void finish() override;
  void forget() override { waiting_ = false; }

 private:
  /// Takes the next frame and sends it; false if there is none. Errors: the ring's; kTooSmall.
  Result<bool> take_next();
  /// The frame in chain_: its header and its pieces. False: it is none that may be sent.
  [[nodiscard]] bool prepare();
  /// False: the channel has no room, and the frame waits.
  bool send();
  void return_chain() {
    waiting_ = false;
    give_back(chain_, 0);
  }

  NetTransmitOptions options_;
  NetHeaderRules rules_;
  ring::Chain chain_;
  spec::VirtioNetHdr header_;
  std::vector<shm::SharedBytes> pieces_;
  std::uint32_t frame_bytes_ = 0;
  bool waiting_ = false;  // the frame in chain_, for room in the channel
};

NetTransmitQueue::NetTransmitQueue(const QueueContext& context, ring::DeviceQueue ring,
                                   const NetTransmitOptions& options)
    : RingTask(context, std::move(ring)),
      options_(options),
      rules_(net_transmit_rules(context.negotiated.features)),
      chain_(context.setup.size) {
  CHECK(options_.pair != nullptr && options_.metrics != nullptr);
  pieces_.reserve(context.setup.size);
}

Result<bool> NetTransmitQueue::serve() {
  bool progress = waiting_ && send();
  Result<void> outcome;
  for (unsigned frames = 0; !waiting_ && frames < kTransmitBatchFrames; ++frames) {
    const auto took = take_next();
    if (!took) outcome = fail(took.error());
    if (!took || !*took) break;
    progress = true;
  }
  options_.pair->channel->flush();
  if (!outcome) return fail(outcome.error());
  return progress;
}

Result<bool> NetTransmitQueue::take_next() {
  const bool took = TRY(take(chain_));
  if (!took) return false;
  if (chain_.readable_bytes() < kNetHeaderBytes) {
    return fail({.code = Errc::kTooSmall, .queue = queue(), .address = kNetHeaderBytes});
  }
  if (prepare()) {
    send();
  } else {
    ++options_.metrics->refused;
    return_chain();
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
  return_chain();
  return true;
}

void NetTransmitQueue::finish() {
  if (waiting_ && !send()) {
    ++options_.metrics->unsent;
    return_chain();
  }
  options_.pair->channel->flush();
}

}  // namespace

Result<std::unique_ptr<QueueTask>> make_net_transmit_queue(const QueueContext& context,
                                                           const NetTransmitOptions& options) {
  return std::make_unique<NetTransmitQueue>(context, TRY(RingTask::open_ring(context)), options);
}

}  // namespace airlock::device
