// SPDX-License-Identifier: Apache-2.0
#include "device/ring_task.h"

#include <utility>

namespace airlock::device {

namespace {

/// What a chain may describe where a driver has guest memory for it: no driver's request comes
/// near, while buffers that overlap could make one chain 4 GiB of work.
constexpr std::uint64_t kReachableChainBytes = std::uint64_t{1} << 30;

/// Buffers that don't overlap can't be more than the memory they lie in.
std::uint64_t chain_bytes_in_reach(const QueueContext& context) {
  return context.negotiated.reach == window::Reach::kRegion ? context.window->region().size()
                                                            : kReachableChainBytes;
}

}  // namespace

Result<ring::DeviceQueue> RingTask::open_ring(const QueueContext& context) {
  const pci::QueueSetup& setup = context.setup;
  const ring::Features features = ring::Features::from(context.negotiated.features);
  const ring::QueueSize size = TRY(ring::QueueSize::from(setup.size, features.format));
  return ring::DeviceQueue::create({.queue = setup.index,
                                    .size = size,
                                    .areas = {.descriptors = setup.descriptor_area,
                                              .driver = setup.driver_area,
                                              .device = setup.device_area},
                                    .features = features,
                                    .record = context.record,
                                    .secret = setup.secret},
                                   *context.window);
}

RingTask::RingTask(const QueueContext& context, ring::DeviceQueue ring, Options options)
    : ring_(std::move(ring)),
      queue_(context.setup.index),
      interrupt_(context.interrupt),
      chain_bytes_max_(options.chain_bytes_max != 0 ? options.chain_bytes_max
                                                    : chain_bytes_in_reach(context)) {}

Result<bool> RingTask::poll() {
  if (broken_) return broken_rule(Errc::kQueueBroken);
  const Result<bool> progress = serve();
  show_driver();
  if (!progress) broken_ = true;
  return progress;
}

void RingTask::drain(bool discard) {
  // For good: what is still on its way belongs to a ring that isn't ours any more.
  if (discard && !std::exchange(discarding_, true)) {
    broken_ = true;
    forget();
  }
  finish();
  if (!discarding_) show_driver();
}

Result<void> RingTask::rebind() {
  // The ring still counts chains that will not be given back.
  if (broken_) return broken_rule(Errc::kQueueBroken);
  return ring_.rebind();
}

Result<bool> RingTask::take(ring::Chain& chain) {
  const auto head = TRY(ring_.pop(chain));
  if (!head) return false;
  const std::uint64_t bytes = std::uint64_t{chain.readable_bytes()} + chain.writable_bytes();
  if (bytes > chain_bytes_max_) return broken_rule(Errc::kChainTooBig);
  return true;
}

void RingTask::give_back(const ring::Chain& chain, std::uint32_t written_bytes) {
  // On a broken ring it goes nowhere.
  if (ring_.push_used(chain.head(), written_bytes)) unshown_ = true;
}

void RingTask::show_driver() {
  if (!std::exchange(unshown_, false)) return;
  ring_.publish();
  if (ring_.driver_wants_interrupt() && interrupt_) interrupt_();
}

}  // namespace airlock::device
