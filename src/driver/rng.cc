// SPDX-License-Identifier: Apache-2.0
#include "driver/rng.h"

#include <algorithm>

#include "spec/virtio.h"

namespace airlock::driver {

Result<std::unique_ptr<Rng>> Rng::open(std::unique_ptr<PciTransport> transport,
                                       const Options& options) {
  Options wanted = options;
  wanted.device.device_type = spec::VIRTIO_ID_RNG;
  wanted.device.features = 0;
  auto device = TRY(VirtioDevice::open(std::move(transport), wanted.device));
  std::unique_ptr<Rng> rng(new Rng(std::move(device), wanted));
  TRY(rng->device_->enable_interrupts(1));
  rng->queue_ = TRY(BufferQueue::create(
      *rng->device_, {.index = 0, .buffers = 1, .buffer_bytes = wanted.bytes_at_once}));
  TRY(rng->device_->start());
  return rng;
}

Rng::~Rng() {
  if (queue_) queue_->stop();
  (void)device_->quiesce();
  queue_.reset();
}

Result<void> Rng::read(std::span<std::byte> target) {
  const Deadline deadline = Deadline::after(options_.timeout);
  while (!target.empty()) {
    target = target.subspan(TRY(read_some(target, deadline)));
  }
  return {};
}

// One request. The device has the buffer until it answers, so that a wait in vain is the end of it.
Result<std::size_t> Rng::read_some(std::span<std::byte> target, const Deadline& deadline) {
  const auto bytes =
      static_cast<std::uint32_t>(std::min<std::size_t>(target.size(), queue_->buffer_bytes()));
  TRY(queue_->ask(bytes));
  TRY(queue_->kick());
  for (;;) {
    const auto returned = TRY(queue_->poll());
    if (returned) {
      // VIRTIO 1.3, 5.4.6.2: one byte at least; 5.4.6.1: as many as the length says, no more.
      if (returned->written == 0) return device_->fail_device({.code = Errc::kMalformed});
      const std::size_t count = queue_->copy_out(*returned, target.first(bytes));
      queue_->release(*returned);
      return count;
    }
    if (!TRY(queue_->wait(deadline))) return device_->fail_device(deadline.error());
  }
}

}  // namespace airlock::driver
