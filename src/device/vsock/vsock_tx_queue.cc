// SPDX-License-Identifier: Apache-2.0
#include "device/ring_task.h"
#include "device/vsock/vsock_packet.h"
#include "device/vsock/vsock_queue.h"

namespace airlock::device {

namespace {

/// Packets taken in one poll(): the driver gets its buffers back soon.
constexpr unsigned kTxBatch = 32;

class VsockTxQueue final : public RingTask {
 public:
  VsockTxQueue(const QueueContext& context, ring::DeviceQueue ring, VsockConnections& connections)
      : RingTask(context, std::move(ring)), connections_(connections) {}

  [[nodiscard]] int completion_fd() const override { return connections_.tx_event().fd(); }

 protected:
  Result<bool> serve() override;

 private:
  VsockConnections& connections_;
  ring::Chain chain_;
};

Result<bool> VsockTxQueue::serve() {
  static_cast<void>(connections_.tx_event().drain());
  bool any = false;
  for (unsigned i = 0; i < kTxBatch && connections_.ready_for_packet(); ++i, any = true) {
    if (!TRY(take(chain_))) break;
    const auto packet = parse_vsock_packet(chain_);
    if (!packet) return broken_rule(packet.error().code, packet.error().detail);
    connections_.handle(*packet, chain_);
    give_back(chain_, 0);
  }
  return any;
}

}  // namespace

Result<std::unique_ptr<QueueTask>> make_vsock_tx_queue(const QueueContext& context,
                                                       VsockShared& shared) {
  return std::make_unique<VsockTxQueue>(context, TRY(RingTask::open_ring(context)),
                                        *shared.connections);
}

}  // namespace airlock::device
