// SPDX-License-Identifier: Apache-2.0
#include "pci/queue_areas.h"

#include <array>
#include <utility>

#include "core/range.h"
#include "ring/layout.h"
#include "spec/virtio.h"

namespace airlock::pci {

namespace {

struct Area {
  window::DriverAddress address{};
  std::uint64_t bytes = 0;
  std::uint64_t alignment = 1;
  const char* name = "";
  window::Access access = window::Access::kRead;
};
using Areas = std::array<Area, 3>;

Areas split_areas(const QueueSetup& queue, ring::QueueSize size) {
  using Layout = ring::SplitLayout;
  const Layout layout(size);
  return {{
      {.address = queue.descriptor_area,
       .bytes = layout.descriptors_bytes(),
       .alignment = Layout::kDescriptorsAlignment,
       .name = "descriptor area"},
      {.address = queue.driver_area,
       .bytes = layout.driver_bytes(),
       .alignment = Layout::kDriverAlignment,
       .name = "driver area"},
      {.address = queue.device_area,
       .bytes = layout.device_bytes(),
       .alignment = Layout::kDeviceAlignment,
       .name = "device area",
       .access = window::Access::kWrite},
  }};
}

// VIRTIO 1.3, 2.8: the ring of 16-byte descriptors, and two event suppression structures.
Areas packed_areas(const QueueSetup& queue) {
  constexpr std::uint64_t kDescriptorBytes = 16;
  constexpr std::uint64_t kEventBytes = 4;
  return {{
      {.address = queue.descriptor_area,
       .bytes = queue.size * kDescriptorBytes,
       .alignment = kDescriptorBytes,
       .name = "descriptor area",
       .access = window::Access::kWrite},
      {.address = queue.driver_area,
       .bytes = kEventBytes,
       .alignment = kEventBytes,
       .name = "driver area"},
      {.address = queue.device_area,
       .bytes = kEventBytes,
       .alignment = kEventBytes,
       .name = "device area",
       .access = window::Access::kWrite},
  }};
}

std::optional<QueueFault> check_area(const QueueSetup& queue, const Area& area,
                                     const window::Window& window) {
  const std::uint64_t address = std::to_underlying(area.address);
  if (!airlock_is_aligned(address, area.alignment)) {
    return QueueFault{.error = {.code = Errc::kNotAligned,
                                .queue = queue.index,
                                .detail = static_cast<std::uint32_t>(area.alignment),
                                .address = address},
                      .what = area.name};
  }
  if (const auto span = window.translate(area.address, area.bytes, area.access); !span) {
    QueueFault fault{.error = span.error(), .what = area.name};
    fault.error.queue = queue.index;
    return fault;
  }
  return std::nullopt;
}

}  // namespace

std::optional<QueueFault> check_queue(const QueueSetup& queue, std::uint16_t size_max,
                                      const Negotiated& negotiated, const window::Window& window) {
  const bool packed = negotiated.has(spec::VIRTIO_F_RING_PACKED);
  const auto size = ring::QueueSize::from(queue.size);
  if (queue.size == 0 || queue.size > size_max || (!packed && !size)) {
    return QueueFault{
        .error = {.code = Errc::kBadQueueSize, .queue = queue.index, .detail = queue.size},
        .what = "queue_size"};
  }
  for (const Area& area : packed ? packed_areas(queue) : split_areas(queue, *size)) {
    if (const auto fault = check_area(queue, area, window)) return fault;
  }
  return std::nullopt;
}

}  // namespace airlock::pci
