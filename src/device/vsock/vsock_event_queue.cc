// SPDX-License-Identifier: Apache-2.0
#include "device/ring_task.h"
#include "device/vsock/vsock_queue.h"

namespace airlock::device {

namespace {

class VsockEventQueue final : public RingTask {
 public:
  VsockEventQueue(const QueueContext& context, ring::DeviceQueue ring, VsockShared& shared)
      : RingTask(context, std::move(ring)), shared_(shared) {}

 protected:
  Result<bool> serve() override;

 private:
  VsockShared& shared_;
  ring::Chain chain_;
};

Result<bool> VsockEventQueue::serve() {
  if (!shared_.transport_reset.load(std::memory_order_relaxed)) return false;
  if (!TRY(take(chain_))) return false;
  const spec::VirtioVsockEvent event{.id = Le32(spec::VIRTIO_VSOCK_EVENT_TRANSPORT_RESET)};
  if (!chain_.write(0, std::as_bytes(std::span(&event, 1)))) return broken_rule(Errc::kTooSmall);
  give_back(chain_, sizeof event);
  shared_.transport_reset.store(false, std::memory_order_relaxed);
  return true;
}

}  // namespace

Result<std::unique_ptr<QueueTask>> make_vsock_event_queue(const QueueContext& context,
                                                          VsockShared& shared) {
  // Connections were those of the process before this one: the guest is to hear that they are gone.
  if (context.record.live()) shared.transport_reset.store(true, std::memory_order_relaxed);
  return std::make_unique<VsockEventQueue>(context, TRY(RingTask::open_ring(context)), shared);
}

}  // namespace airlock::device
