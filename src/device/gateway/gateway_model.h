// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include <asio/posix/stream_descriptor.hpp>

#include "device/client_model.h"
#include "device/gateway/fuse_watch.h"
#include "device/gateway/gateway.h"
#include "device/gateway/kick_relay.h"
#include "device/gateway/tracked_queue.h"
#include "device/queue_worker.h"
#include "shm/mapping.h"
#include "vhost_user/front_end.h"

namespace airlock::device {

/// A backend at work for one client. Its queues run wherever the backend runs them: here are only
/// the messages that start and stop them, and a KickRelay for each that has no other means to spare
/// the driver notifications. Control thread.
///
/// The backend's memory is the region and nothing else of the VM's: where the BAR is, so that a
/// descriptor's address is in it or nowhere; at 0 where addresses are offsets. Where queues are
/// tracked, it also has the rings between us and it.
class GatewayModel final : public ClientModel {
 public:
  GatewayModel(Gateway& gateway, const ClientMemory& memory);
  ~GatewayModel() override;

  /// A backend came: whatever runs goes on there.
  void backend_there();
  /// It went. What runs waits for another, what was asked of it is done with.
  void backend_lost();
  void config_changed() { transport_->interrupt_config(); }

  void attach(pci::VirtioTransport& transport) override { transport_ = &transport; }
  [[nodiscard]] std::uint64_t notifications() const override { return notifications_; }
  Result<const EventFd*> doorbell(std::uint16_t queue) override;
  [[nodiscard]] QueueCounts counts() const override;
  [[nodiscard]] const std::vector<pci::QueueSetup>& setups() const override { return setups_; }
  void pause(std::function<void()> paused) override;
  void resume() override;
  void stop_and_wait() override;
  void drain() override { stop_and_wait(); }

  [[nodiscard]] std::uint16_t device_type() const override;
  [[nodiscard]] std::uint32_t pci_class() const override;
  [[nodiscard]] std::uint64_t features() const override { return gateway_.features(); }
  [[nodiscard]] std::uint16_t queue_count() const override;
  [[nodiscard]] std::uint16_t queue_size_max(std::uint16_t queue) const override;
  [[nodiscard]] std::uint32_t config_size() const override;
  void read_config(std::uint32_t offset, std::span<std::byte> target) const override;
  void write_config(std::uint32_t offset, std::span<const std::byte> source) override;
  Result<void> start(const pci::Negotiated& negotiated,
                     std::span<const pci::QueueSetup> queues) override;
  void stop(std::function<void()> done) override;
  void reset_queue(std::uint16_t queue, std::function<void()> done) override;
  Result<void> start_queue(const pci::Negotiated& negotiated,
                           const pci::QueueSetup& setup) override;
  void notify(std::uint16_t queue) override;
  void region_moved() override;
  void vectors_changed() override;

 private:
  struct Queue {
    enum class State : std::uint8_t { kIdle, kRunning, kStopping };
    pci::QueueSetup setup;
    EventFd doorbell;  // the client's; the same for as long as the model lives
    EventFd kick;  // the backend's, of a tracked queue or with a relay; else it has the doorbell
    EventFd call;  // ours, for where the backend can't have the VM's
    std::unique_ptr<asio::posix::stream_descriptor> doorbell_wait;  // of a tracked queue
    std::unique_ptr<asio::posix::stream_descriptor> call_wait;
    std::optional<TrackedQueue> tracked;
    std::unique_ptr<QueueWorker> relay;  // a KickRelay's, while the backend has the queue run
    bool wanted = false;                 // the driver has it run
    State state = State::kIdle;          // at the backend
    std::uint32_t base = 0;              // where it goes on
    bool base_known = false;             // if not, the ring says
    // where its device area was found in the region, to be looked at wherever that is now
    std::uint64_t device_area = 0;
    bool broken = false;  // the driver broke it, a tracked one, and that was said
  };
  struct Stopping;

  using OnReadable = void (GatewayModel::*)(Queue& queue);

  [[nodiscard]] bool packed() const;
  [[nodiscard]] bool tracks() const { return gateway_.tracks(); }
  Result<void> watch(std::unique_ptr<asio::posix::stream_descriptor>& wait, const EventFd& event,
                     Queue& queue, OnReadable act);
  void wait_for(asio::posix::stream_descriptor& wait, const EventFd& event, Queue& queue,
                OnReadable act);
  void tell_session(FuseWatch& watch);
  Result<void> track(Queue& queue);
  Result<void> make_rings();
  /// What the driver set it up as. Errors: those of QueueSize::from().
  [[nodiscard]] Result<ring::QueueConfig> config_of(const Queue& queue) const;
  [[nodiscard]] static Result<void> make_kick(Queue& queue);
  [[nodiscard]] static const EventFd& kick_of(const Queue& queue) {
    return queue.tracked || queue.relay ? queue.kick : queue.doorbell;
  }
  [[nodiscard]] bool relays_kicks() const;
  [[nodiscard]] Result<std::unique_ptr<QueueWorker>> make_relay(Queue& queue);
  void forward(Queue& queue);
  void backward(Queue& queue);
  Result<void> want(const pci::QueueSetup& setup);
  void bring_up();
  void bring_up_inflight();
  void bring_up_rings();
  void bring_up_ring(vhost_user::FrontEnd& backend, Queue& queue);
  [[nodiscard]] Result<std::vector<vhost_user::Region>> memory_table() const;
  [[nodiscard]] std::uint64_t rings_offset(const Queue& queue) const;
  [[nodiscard]] Result<vhost_user::Ring> ring_of(Queue& queue) const;
  [[nodiscard]] Result<std::uint64_t> user_address(window::DriverAddress address,
                                                   std::uint64_t bytes) const;
  [[nodiscard]] std::uint16_t used_index(const Queue& queue) const;
  void take_down(std::function<void()> done);
  void give_back(std::vector<std::uint16_t> queues, std::function<void()> done);
  void finish_when_returned(const std::shared_ptr<Stopping>& stopping);
  void finish_returned();
  [[nodiscard]] Fd call_of(const Queue& queue) const;
  void on_call(Queue& queue);

  Gateway& gateway_;
  ClientMemory memory_;
  pci::VirtioTransport* transport_ = nullptr;
  pci::Negotiated negotiated_;
  bool started_ = false;     // the driver has the device run
  unsigned pauses_ = 0;      // reasons for which nothing runs now
  bool up_ = false;          // the backend has the device run, or is being told to
  bool shown_ = false;       // and knows where the region is
  bool worked_ = false;      // a backend had queues of this client
  std::uint64_t round_ = 0;  // of bringing up: tells an answer that comes late
  vhost_user::Inflight inflight_;
  shm::SealedMemfd rings_;  // those of tracked queues that the backend sees, one after another
  shm::Mapping rings_mapping_;
  std::uint64_t notifications_ = 0;
  std::uint64_t relayed_ = 0;          // interrupts
  std::optional<FuseWatch> watch_;     // of a type with a session, whose queues are tracked
  std::vector<QueueMetrics> metrics_;  // of relays
  std::vector<Queue> queues_;
  std::vector<pci::QueueSetup> setups_;
  std::deque<std::shared_ptr<Stopping>> stopping_;  // under way, the oldest first
};

}  // namespace airlock::device
