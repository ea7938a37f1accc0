// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "base/event_fd.h"
#include "device/queue_metrics.h"
#include "pci/virtio_model.h"
#include "shm/sealed_memfd.h"
#include "window/window.h"

namespace airlock::device {

/// What runs the queues for one client of an Endpoint: workers of ours (RunningModel), or a backend
/// in another process (GatewayModel). Control thread.
class ClientModel : public pci::VirtioModel {
 public:
  /// Says where interrupts and violations go. Before anything is started.
  virtual void attach(pci::VirtioTransport& transport) = 0;

  /// Of running queues, by message or by doorbell.
  [[nodiscard]] virtual std::uint64_t notifications() const = 0;
  /// What wakes `queue` without this thread, whenever it runs: the same for as long as the model
  /// lives. For the client, who may do with it what he likes. Errors: kSystem.
  virtual Result<const EventFd*> doorbell(std::uint16_t queue) = 0;
  /// Of all queues since the start.
  [[nodiscard]] virtual QueueCounts counts() const = 0;
  /// The queues of the last start, those that were reset since as they were last.
  [[nodiscard]] virtual const std::vector<pci::QueueSetup>& setups() const = 0;

  /// As QueueSet::pause() and resume().
  virtual void pause(std::function<void()> paused) = 0;
  virtual void resume() = 0;
  /// As stop(), at once: waits for I/O. For when there is nobody left to answer.
  virtual void stop_and_wait() = 0;
  /// Finishes what is in flight and returns it to the driver. Waits for I/O: for the process's end.
  virtual void drain() = 0;
};

/// What a client has that its model works on. Both outlive the model.
struct ClientMemory {
  const window::Window& window;
  const shm::SealedMemfd& region;
};

using MakeClientModel = std::function<std::unique_ptr<ClientModel>(const ClientMemory& memory)>;

}  // namespace airlock::device
