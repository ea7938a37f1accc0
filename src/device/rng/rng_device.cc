// SPDX-License-Identifier: Apache-2.0
#include "device/rng/rng_device.h"

#include <sys/random.h>

#include <bit>

#include "spec/pci.h"
#include "spec/virtio.h"

namespace airlock::device {

namespace {
constexpr std::uint16_t kRngQueueSizeMost = 32768;
}  // namespace

Result<std::unique_ptr<RngDevice>> RngDevice::create(const Options& options) {
  const std::uint16_t size = options.queue_size;
  if (!std::has_single_bit(size) || size > kRngQueueSizeMost) {
    return fail({.code = Errc::kBadQueueSize, .detail = size});
  }
  // Once they are ready they are for ever: no queue ever waits for them.
  std::byte probe{};
  if (::getrandom(&probe, sizeof(probe), GRND_NONBLOCK) != sizeof(probe)) {
    return fail(system_error());
  }
  RngAllowance allowance = TRY(RngAllowance::create(options.limit));
  return std::unique_ptr<RngDevice>(new RngDevice(options, std::move(allowance)));
}

RngDevice::RngDevice(const Options& options, RngAllowance allowance)
    : queue_size_(options.queue_size),
      ring_features_(options.ring_features),
      allowance_(std::move(allowance)) {}

std::uint16_t RngDevice::virtio_id() const {
  return spec::VIRTIO_ID_RNG;
}

std::uint32_t RngDevice::pci_class() const {
  return spec::PCI_CLASS_OTHERS;
}

Result<std::unique_ptr<QueueTask>> RngDevice::make_queue(const QueueContext& context) {
  const std::uint16_t queue = context.setup.index;
  if (queue != 0) return fail({.code = Errc::kBadIndex, .detail = queue});
  if (context.setup.size == 0 || context.setup.size > queue_size_) {
    return fail({.code = Errc::kBadQueueSize, .queue = queue, .detail = context.setup.size});
  }
  return make_rng_queue(context, allowance_, metrics_);
}

RngCounts RngDevice::counts() const {
  return {.requests = metrics_.requests.get(),
          .bytes = metrics_.bytes.get(),
          .waits = metrics_.waits.get()};
}

std::uint64_t rng_region_bytes_min(std::uint16_t queue_size) {
  // Page 0, which is never used; the ring with whatever was negotiated; buffers.
  constexpr std::uint64_t kEntryBytes = 64;
  constexpr std::uint64_t kFixedBytes = std::uint64_t{32} << 10;
  return std::bit_ceil(kFixedBytes + queue_size * kEntryBytes);
}

}  // namespace airlock::device
