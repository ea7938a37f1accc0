// SPDX-License-Identifier: Apache-2.0
#include "device/blk/blk_device.h"

#include <algorithm>
#include <bit>

#include "base/check.h"
#include "spec/pci.h"
#include "spec/virtio.h"

namespace airlock::device {

namespace {
/// Room for a header, a data buffer and a status, in a power of two.
constexpr std::uint16_t kQueueSizeLeast = 4;
constexpr std::uint16_t kQueueSizeMost = 32768;
}  // namespace

Result<std::unique_ptr<BlkDevice>> BlkDevice::create(Options options) {
  CHECK(options.backend);
  const std::uint16_t size = options.shape.queue_size;
  if (options.shape.queues == 0 || !std::has_single_bit(size) || size < kQueueSizeLeast ||
      size > kQueueSizeMost) {
    return fail({.code = Errc::kBadQueueSize, .detail = size});
  }
  std::vector<EventFd> bells;
  if (options.on_error != OnError::kReport) {
    for (std::uint16_t queue = 0; queue < options.shape.queues; ++queue) {
      bells.push_back(TRY(EventFd::create()));
    }
  }
  std::unique_ptr<BlkDevice> device(new BlkDevice(std::move(options)));
  device->retry_bells_ = std::move(bells);
  return device;
}

BlkDevice::BlkDevice(Options options)
    : backend_(std::move(options.backend)),
      shape_(options.shape),
      ring_features_(options.ring_features),
      config_(blk_config(backend_->geometry(), shape_)),
      on_error_(options.on_error),
      metrics_(shape_.queues) {
  shared_.name = backend_->describe();
  const std::size_t length = std::min(options.id.size(), shared_.id.size());
  std::ranges::copy(std::as_bytes(std::span(options.id)).first(length), shared_.id.begin());
}

std::uint16_t BlkDevice::virtio_id() const {
  return spec::VIRTIO_ID_BLOCK;
}

std::uint32_t BlkDevice::pci_class() const {
  return spec::PCI_CLASS_STORAGE_SCSI;
}

std::uint64_t BlkDevice::features() const {
  return blk_features(backend_->geometry(), shape_) | ring_features_;
}

Result<std::unique_ptr<QueueTask>> BlkDevice::make_queue(const QueueContext& context) {
  const std::uint16_t queue = context.setup.index;
  if (queue >= shape_.queues) return fail({.code = Errc::kBadIndex, .detail = queue});
  if (context.setup.size == 0 || context.setup.size > shape_.queue_size) {
    return fail({.code = Errc::kBadQueueSize, .queue = queue, .detail = context.setup.size});
  }
  auto channel = TRY(backend_->open_channel(context.window->region(), context.setup.size));
  // 5.2.6.2: FLUSH was offered; to a driver that has no way to ask, completed means stable.
  const bool durable = !context.negotiated.has(spec::VIRTIO_BLK_F_FLUSH);
  return make_blk_queue(
      context, {.limits = blk_limits(backend_->geometry(), config_, context.negotiated.features),
                .durable_writes = durable,
                .channel = std::move(channel),
                .shared = &shared_,
                .metrics = &metrics_[queue],
                .on_error = on_error_,
                .retry_bell = retry_bells_.empty() ? nullptr : &retry_bells_[queue]});
}

void BlkDevice::retry_held() const {
  for (const EventFd& bell : retry_bells_)
    bell.signal();
}

BlkCounts BlkDevice::counts(std::uint16_t queue) const {
  CHECK(queue < metrics_.size());
  return metrics_[queue].snapshot();
}

BlkCounts BlkDevice::counts() const {
  BlkCounts sum;
  for (const BlkQueueMetrics& metrics : metrics_) {
    sum += metrics.snapshot();
  }
  return sum;
}

std::uint64_t BlkDevice::copies() const {
  if (!backend_->copies()) return 0;
  const BlkCounts all = counts();
  return all.reads + all.writes;
}

std::uint64_t BlkDevice::copied_bytes() const {
  if (!backend_->copies()) return 0;
  const BlkCounts all = counts();
  return all.read_bytes + all.written_bytes;
}

}  // namespace airlock::device
