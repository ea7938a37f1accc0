// SPDX-License-Identifier: Apache-2.0
#include "driver/blk.h"

#include <algorithm>
#include <array>

namespace airlock::driver {

Result<std::unique_ptr<Blk>> Blk::open(std::unique_ptr<PciTransport> transport,
                                       const Options& options) {
  Options wanted = options;
  wanted.device.device_type = spec::VIRTIO_ID_BLOCK;
  wanted.device.features = kBlkFeatures;
  wanted.device.pool_areas = std::max<std::uint32_t>(wanted.device.pool_areas, options.queues);
  auto device = TRY(VirtioDevice::open(std::move(transport), wanted.device));
  std::unique_ptr<Blk> blk(new Blk(std::move(device), wanted));
  blk->info_ = TRY(blk->read_info());
  blk->make_queues();
  TRY(blk->attach_queues());
  return blk;
}

Blk::~Blk() {
  for (const auto& queue : queues_)
    queue->stop({.code = Errc::kQueueBroken});
  (void)device_->quiesce();
  queues_.clear();
}

Result<void> Blk::read(std::uint64_t offset, std::span<std::byte> target) {
  return queues_[0]->run({.op = BlkOp::kRead, .offset = offset, .target = target});
}

Result<void> Blk::write(std::uint64_t offset, std::span<const std::byte> source) {
  return queues_[0]->run({.op = BlkOp::kWrite, .offset = offset, .source = source});
}

Result<void> Blk::flush() {
  return queues_[0]->run({.op = BlkOp::kFlush});
}

Result<void> Blk::discard(std::uint64_t offset, std::uint64_t length) {
  return queues_[0]->run({.op = BlkOp::kDiscard, .offset = offset, .length = length});
}

Result<void> Blk::write_zeroes(std::uint64_t offset, std::uint64_t length, bool unmap) {
  return queues_[0]->run(
      {.op = BlkOp::kWriteZeroes, .offset = offset, .length = length, .unmap = unmap});
}

Result<std::string> Blk::get_id() {
  std::array<std::byte, spec::VIRTIO_BLK_ID_BYTES> bytes{};
  TRY(queues_[0]->run({.op = BlkOp::kGetId, .target = bytes}));
  std::string id;
  for (const std::byte byte : bytes) {
    if (byte == std::byte{0}) break;
    id.push_back(static_cast<char>(byte));
  }
  return id;
}

Result<void> Blk::reset() {
  for (const auto& queue : queues_)
    queue->stop({.code = Errc::kQueueBroken});
  TRY(device_->quiesce());
  for (const auto& queue : queues_)
    queue->detach();  // DMB-DR6
  TRY(device_->revive());
  if (TRY(read_info()) != info_) return device_->fail_device({.code = Errc::kMalformed});
  return attach_queues();
}

Result<void> Blk::reset_queue(std::uint16_t index) {
  CHECK(index < queues_.size());
  if (!device_->has(spec::VIRTIO_F_RING_RESET)) {
    return fail({.code = Errc::kUnsupported, .detail = spec::VIRTIO_F_RING_RESET});
  }
  BlkQueue& queue = *queues_[index];
  queue.stop({.code = Errc::kQueueBroken});
  TRY(device_->reset_queue(index));
  queue.detach();
  return attach_queue(index);
}

BlkStats Blk::stats() const {
  BlkStats sum;
  for (const auto& queue : queues_)
    sum += queue->counters();
  return sum;
}

Result<BlkInfo> Blk::read_info() {
  spec::VirtioBlkConfig config{};
  const std::size_t available = TRY(device_->read_device_config(
      std::as_writable_bytes(std::span(&config, 1)), blk_config_widths()));
  auto info = parse_blk_config(config, available, device_->negotiation().accepted);
  if (!info) return device_->fail_device(info.error());
  return info;
}

void Blk::make_queues() {
  BlkQueue::Limits limits{.info = info_,
                          .part_bytes_max = part_bytes_max(),
                          .requests_max = std::max(options_.requests_max, 1U),
                          .spin = options_.spin,
                          .spin_cpu_percent = options_.spin_cpu_percent,
                          .timeout = options_.timeout};
  const auto count = std::min({options_.queues, info_.queues, device_->queue_count()});
  for (std::uint16_t i = 0; i < std::max<std::uint16_t>(count, 1); i++) {
    limits.pool_home = i;
    queues_.push_back(std::make_unique<BlkQueue>(*device_, limits));
  }
}

Result<void> Blk::attach_queues() {
  const auto count = static_cast<std::uint16_t>(queues_.size());
  TRY(device_->enable_interrupts(count));
  for (std::uint16_t i = 0; i < count; i++) {
    TRY(attach_queue(i));
  }
  return device_->start();
}

Result<void> Blk::attach_queue(std::uint16_t index) {
  BlkQueue& queue = *queues_[index];
  const QueueShape shape{.size_max = options_.queue_size, .table_entries = queue.table_entries()};
  return queue.attach(TRY(device_->create_queue(index, shape)));
}

// As much as a pool that many requests share allows.
std::uint64_t Blk::part_bytes_max() const {
  constexpr std::uint64_t kMost = std::uint64_t{1} << 30;
  const std::uint64_t by_pool = device_->pool().max_mapping_bytes() / 4;
  const std::uint64_t most = std::min({options_.part_bytes_max, by_pool, kMost});
  return std::max<std::uint64_t>(most, info_.block_bytes);
}

}  // namespace airlock::driver
