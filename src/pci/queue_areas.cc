// SPDX-License-Identifier: Apache-2.0
#include "pci/queue_areas.h"

#include <array>
#include <utility>

#include "core/range.h"
#include "ring/layout.h"

namespace airlock::pci {

namespace {

struct Area {
  window::DriverAddress address{};
  ring::AreaShape shape;
  const char* name = "";
  window::Access access = window::Access::kRead;
};

std::array<Area, 3> areas_of(const QueueSetup& queue, const ring::Layout& layout, bool packed) {
  // A packed ring is written by both sides.
  const auto ring_access = packed ? window::Access::kWrite : window::Access::kRead;
  return {{{.address = queue.descriptor_area,
            .shape = layout.descriptors(),
            .name = "descriptor area",
            .access = ring_access},
           {.address = queue.driver_area, .shape = layout.driver(), .name = "driver area"},
           {.address = queue.device_area,
            .shape = layout.device(),
            .name = "device area",
            .access = window::Access::kWrite}}};
}

std::optional<QueueFault> check_area(const QueueSetup& queue, const Area& area,
                                     const window::Window& window) {
  const std::uint64_t address = std::to_underlying(area.address);
  if (!airlock_is_aligned(address, area.shape.alignment)) {
    return QueueFault{.error = {.code = Errc::kNotAligned,
                                .queue = queue.index,
                                .detail = static_cast<std::uint32_t>(area.shape.alignment),
                                .address = address},
                      .what = area.name};
  }
  if (const auto span = window.translate(area.address, area.shape.bytes, area.access); !span) {
    QueueFault fault{.error = span.error(), .what = area.name};
    fault.error.queue = queue.index;
    return fault;
  }
  return std::nullopt;
}

}  // namespace

std::optional<QueueFault> check_queue(const QueueSetup& queue, std::uint16_t size_max,
                                      const Negotiated& negotiated, const window::Window& window) {
  const ring::Format format = ring::Features::from(negotiated.features).format;
  const auto size = ring::QueueSize::from(queue.size, format);
  if (!size || queue.size > size_max) {
    return QueueFault{
        .error = {.code = Errc::kBadQueueSize, .queue = queue.index, .detail = queue.size},
        .what = "queue_size"};
  }
  const ring::Layout layout(*size, format);
  for (const Area& area : areas_of(queue, layout, format == ring::Format::kPacked)) {
    if (const auto fault = check_area(queue, area, window)) return fault;
  }
  return std::nullopt;
}

}  // namespace airlock::pci
