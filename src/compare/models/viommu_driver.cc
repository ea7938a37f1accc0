// SPDX-License-Identifier: Apache-2.0
#include "compare/models/viommu_driver.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <functional>
#include <iterator>
#include <utility>

#include "core/range.h"
#include "spec/virtio.h"

namespace airlock::compare {

namespace {

constexpr std::uint64_t kRequestBytesMost = 64;
constexpr std::uint64_t kIommuTailAt = kRequestBytesMost;
constexpr std::uint64_t kReportBytes = sizeof(spec::VirtioIommuFault);
constexpr std::uint8_t kNoStatusYet = 0xff;  // what a device that writes none leaves behind

template <class T>
std::span<const std::byte> request_bytes(const T& value) {
  return std::as_bytes(std::span(&value, 1));
}

}  // namespace

Result<std::unique_ptr<ViommuDriver>> ViommuDriver::start(const Fd& host,
                                                          const shm::SharedBytes& memory,
                                                          CoherentArea& area) {
  const auto offer =
      TRY(ask<ViommuReply>(host, ViommuRequest{.kind = ViommuRequest::Kind::kConfig}))
  .message;
  const std::uint64_t granule = offer.config.page_size_mask.get();
  if ((offer.features & spec::feature(spec::VIRTIO_IOMMU_F_MAP_UNMAP)) == 0 ||
      (granule & kPageBytes) == 0) {
    return fail({.code = Errc::kUnsupported, .detail = spec::VIRTIO_IOMMU_F_MAP_UNMAP});
  }
  const ring::QueueSize size = TRY(ring::QueueSize::from(kQueueSize));
  const ring::Layout layout(size);
  const auto queue = [&](std::uint16_t number) -> Result<ring::DriverQueue> {
    const window::RegionOffset block = TRY(area.take(layout.block_bytes()));
    const ring::DriverQueueConfig config{
        .queue = number,
        .size = size,
        .areas = layout.block_at(block),
        .publisher = {.mode = window::AddressMode::kBus, .region = kPrivateBase}};
    return ring::DriverQueue::create(config, memory);
  };
  auto requests = TRY(queue(spec::VIRTIO_IOMMU_QUEUE_REQUEST));
  auto events = TRY(queue(spec::VIRTIO_IOMMU_QUEUE_EVENT));
  Queues queues{.requests = std::move(requests), .events = std::move(events)};
  queues.frame = std::to_underlying(TRY(area.take(kPageBytes)));
  queues.reports = std::to_underlying(TRY(area.take(kQueueSize * kReportBytes)));
  std::unique_ptr<ViommuDriver> driver(new ViommuDriver(host, memory, std::move(queues)));
  TRY(driver->ask_host({.kind = ViommuRequest::Kind::kQueues,
                        .queue_size = kQueueSize,
                        .requests = driver->queues_.requests.published_areas(),
                        .events = driver->queues_.events.published_areas()}));
  for (std::uint64_t index = 0; index < kQueueSize; ++index)
    TRY(driver->offer_report(index));
  return driver;
}

Result<void> ViommuDriver::ask_host(const ViommuRequest& request) {
  ++messages_;
  TRY(ask<ViommuReply>(host_, request));
  return {};
}

Result<void> ViommuDriver::attach(std::uint32_t endpoint) {
  spec::VirtioIommuReqAttach attach;
  attach.head.type = spec::VIRTIO_IOMMU_T_ATTACH;
  attach.domain = Le32(kDomain);
  attach.endpoint = Le32(endpoint);
  return request(request_bytes(attach));
}

Result<void> ViommuDriver::detach(std::uint32_t endpoint) {
  spec::VirtioIommuReqDetach detach;
  detach.head.type = spec::VIRTIO_IOMMU_T_DETACH;
  detach.domain = Le32(kDomain);
  detach.endpoint = Le32(endpoint);
  return request(request_bytes(detach));
}

Result<void> ViommuDriver::map(const iommu::Mapping& mapping) {
  spec::VirtioIommuReqMap map;
  map.head.type = spec::VIRTIO_IOMMU_T_MAP;
  map.domain = Le32(kDomain);
  map.virt_start = spec::Le64Halves(mapping.range.first);
  map.virt_end = spec::Le64Halves(mapping.range.last);
  map.phys_start = spec::Le64Halves(mapping.physical);
  map.flags = Le32((mapping.readable ? spec::VIRTIO_IOMMU_MAP_F_READ : 0) |
                   (mapping.writable ? spec::VIRTIO_IOMMU_MAP_F_WRITE : 0));
  return request(request_bytes(map));
}

Result<void> ViommuDriver::unmap(const iommu::AddressRange& range) {
  spec::VirtioIommuReqUnmap unmap;
  unmap.head.type = spec::VIRTIO_IOMMU_T_UNMAP;
  unmap.domain = Le32(kDomain);
  unmap.virt_start = spec::Le64Halves(range.first);
  unmap.virt_end = spec::Le64Halves(range.last);
  return request(request_bytes(unmap));
}

Result<void> ViommuDriver::write_bypass(bool bypass) {
  return ask_host({.kind = ViommuRequest::Kind::kWriteBypass,
                   .bypass = static_cast<std::uint8_t>(bypass ? 1 : 0)});
}

Result<void> ViommuDriver::request(std::span<const std::byte> bytes) {
  memory_.copy_in(queues_.frame, bytes);
  memory_.store_relaxed<std::uint8_t>(queues_.frame + kIommuTailAt, kNoStatusYet);
  const ring::Buffer question{.offset = window::RegionOffset{queues_.frame},
                              .length = static_cast<std::uint32_t>(bytes.size())};
  const ring::Buffer tail{.offset = window::RegionOffset{queues_.frame + kIommuTailAt},
                          .length = sizeof(spec::VirtioIommuReqTail)};
  TRY(queues_.requests.submit(std::span(&question, 1), std::span(&tail, 1), 0));
  if (queues_.requests.publish()) TRY(ask_host({.kind = ViommuRequest::Kind::kNotify}));
  const auto completion = TRY(queues_.requests.poll());
  if (!completion) return fail(Errc::kWrongState);
  const auto status = completion->written_bytes < sizeof(spec::VirtioIommuReqTail)
                          ? kNoStatusYet
                          : memory_.load_relaxed<std::uint8_t>(queues_.frame + kIommuTailAt);
  if (status == spec::VIRTIO_IOMMU_S_OK) return {};
  return fail({.code = Errc::kIoError, .detail = status});
}

Result<void> ViommuDriver::offer_report(std::uint64_t index) {
  const ring::Buffer report{.offset = window::RegionOffset{queues_.reports + index * kReportBytes},
                            .length = kReportBytes};
  TRY(queues_.events.submit({}, std::span(&report, 1), index));
  static_cast<void>(queues_.events.publish());  // the device looks when it has something to say
  return {};
}

Result<std::vector<iommu::Fault>> ViommuDriver::take_faults() {
  std::vector<iommu::Fault> faults;
  while (const auto completion = TRY(queues_.events.poll())) {
    const auto report = memory_.snapshot<spec::VirtioIommuFault>(queues_.reports +
                                                                 completion->cookie * kReportBytes);
    TRY(offer_report(completion->cookie));
    // VIRTIO 1.3, 5.13.6.9.1.
    const bool reserved = std::ranges::any_of(report.reserved, [](auto byte) { return byte != 0; });
    if (completion->written_bytes != kReportBytes || reserved) continue;
    const bool write = (report.flags.get() & spec::VIRTIO_IOMMU_FAULT_F_WRITE) != 0;
    faults.push_back({.reason = report.reason,
                      .access = write ? window::Access::kWrite : window::Access::kRead,
                      .endpoint = report.endpoint.get(),
                      .address = report.address.get()});
  }
  return faults;
}

std::optional<std::uint64_t> IoAddresses::take(std::uint64_t pages) {
  for (const std::uint64_t start : {next_, std::uint64_t{0}}) {
    std::uint64_t in_row = 0;
    for (std::uint64_t page = start; page < taken_.size(); ++page) {
      in_row = taken_[page] ? 0 : in_row + 1;
      if (in_row < pages) continue;
      next_ = page + 1;
      const std::uint64_t first = next_ - pages;
      for (std::uint64_t at = first; at < next_; ++at)
        taken_[at] = true;
      return first * kPageBytes;
    }
  }
  return std::nullopt;
}

void IoAddresses::give_back(std::uint64_t offset, std::uint64_t pages) {
  for (std::uint64_t page = offset / kPageBytes; pages > 0; ++page, --pages)
    taken_.at(page) = false;
}

bool IoAddresses::holds(std::uint64_t offset, std::uint64_t pages) const {
  const std::uint64_t first = offset / kPageBytes;
  if (pages == 0 || !airlock_range_within(first, pages, taken_.size())) return false;
  const auto begin = std::next(taken_.begin(), static_cast<std::ptrdiff_t>(first));
  return std::all_of(begin, std::next(begin, static_cast<std::ptrdiff_t>(pages)), std::identity());
}

}  // namespace airlock::compare
