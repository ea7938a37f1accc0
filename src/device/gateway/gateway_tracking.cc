// SPDX-License-Identifier: Apache-2.0
//
// A gateway's tracked queues: the rings between us and the backend, and what goes through them.
#include <utility>

#include "device/gateway/gateway_model.h"
#include "ring/queue_size.h"

namespace airlock::device {

Result<void> GatewayModel::watch(std::unique_ptr<asio::posix::stream_descriptor>& wait,
                                 const EventFd& event, Queue& queue, OnReadable act) {
  wait = std::make_unique<asio::posix::stream_descriptor>(gateway_.context());
  asio::error_code error;
  wait->assign(event.fd(), error);
  if (error) return fail(system_error(error.value()));
  wait_for(*wait, event, queue, act);
  return {};
}

void GatewayModel::wait_for(asio::posix::stream_descriptor& wait, const EventFd& event,
                            Queue& queue, OnReadable act) {
  wait.async_wait(asio::posix::stream_descriptor::wait_read,
                  [this, &wait, &event, &queue, act](const asio::error_code& error) {
                    if (error) return;
                    if (event.drain()) (this->*act)(queue);
                    wait_for(wait, event, queue, act);
                  });
}

std::uint64_t GatewayModel::rings_offset(const Queue& queue) const {
  const auto longest = MUST(ring::QueueSize::from(gateway_.shape().queue_size));
  return queue.setup.index * TrackedQueue::area_bytes(longest);
}

Result<ring::QueueConfig> GatewayModel::config_of(const Queue& queue) const {
  const pci::QueueSetup& setup = queue.setup;
  const auto size = TRY(ring::QueueSize::from(setup.size));
  return ring::QueueConfig{.queue = setup.index,
                           .size = size,
                           .areas = {.descriptors = setup.descriptor_area,
                                     .driver = setup.driver_area,
                                     .device = setup.device_area},
                           .features = ring::Features::from(negotiated_.features)};
}

Result<void> GatewayModel::track(Queue& queue) {
  queue.tracked =
      TRY(TrackedQueue::create(TRY(config_of(queue)), memory_.window, watch_ ? &*watch_ : nullptr));
  queue.broken = false;
  TRY(make_kick(queue));
  if (!queue.doorbell_wait) {
    TRY(watch(queue.doorbell_wait, queue.doorbell, queue, &GatewayModel::forward));
  }
  return {};
}

Result<void> GatewayModel::make_kick(Queue& queue) {
  if (!queue.kick) queue.kick = TRY(EventFd::create_shared());
  return {};
}

// New ones for each backend: one that was sent away may still write to those that it had.
Result<void> GatewayModel::make_rings() {
  constexpr std::uint64_t kPage = 4096;
  const auto longest = TRY(ring::QueueSize::from(gateway_.shape().queue_size));
  const std::uint64_t bytes = TrackedQueue::area_bytes(longest) * queues_.size();
  rings_ = TRY(shm::SealedMemfd::create(
      {.name = "airlock-rings", .size = (bytes + kPage - 1) / kPage * kPage}));
  rings_mapping_ = TRY(rings_.map());
  for (Queue& queue : queues_) {
    if (queue.tracked) queue.tracked->detach();
  }
  return {};
}

// What the driver made available; also while no backend is there, which is then told all at once.
void GatewayModel::forward(Queue& queue) {
  if (!queue.tracked || !queue.wanted || queue.broken) return;
  const auto forwarded = queue.tracked->forward();
  if (!forwarded) {
    queue.broken = true;
    return transport_->report_violation(forwarded.error());
  }
  if (*forwarded) queue.kick.signal();
  if (queue.tracked->answered()) backward(queue);
}

void GatewayModel::backward(Queue& queue) {
  if (!queue.tracked || !queue.wanted || queue.state == Queue::State::kIdle) return;
  const auto returned = queue.tracked->backward();
  if (!returned || returned->interrupt) {
    ++relayed_;
    transport_->interrupt_queue(queue.setup.index);
  }
  if (returned) return;
  gateway_.renew("it broke a ring: " + describe(returned.error()));
}

}  // namespace airlock::device
