// SPDX-License-Identifier: Apache-2.0
#include "ring/areas.h"

#include <bit>
#include <utility>

#include "core/range.h"

namespace airlock::ring {

namespace {

Error misaligned(std::uint16_t queue, std::uint64_t alignment, std::uint64_t address) {
  return {.code = Errc::kNotAligned,
          .queue = queue,
          .detail = static_cast<std::uint32_t>(alignment),
          .address = address};
}

bool is_memory_aligned(const shm::SharedBytes& bytes, std::uint64_t alignment) {
  return airlock_is_aligned(std::bit_cast<std::uintptr_t>(bytes.in_place().data()), alignment);
}

Result<void> check_size(QueueSize size, Format format, std::uint16_t queue) {
  if (QueueSize::from(size.value(), format)) return {};
  return fail({.code = Errc::kBadQueueSize, .queue = queue, .detail = size.value()});
}

Result<shm::SharedBytes> open_device_area(window::DriverAddress where, AreaShape shape,
                                          window::Access access, std::uint16_t queue,
                                          const window::Window& window) {
  const std::uint64_t address = std::to_underlying(where);
  if (!airlock_is_aligned(address, shape.alignment)) {
    return fail(misaligned(queue, shape.alignment, address));
  }
  auto span = window.translate(where, shape.bytes, access);
  if (!span) {
    Error error = span.error();
    error.queue = queue;
    return fail(error);
  }
  if (!is_memory_aligned(*span, shape.alignment)) {
    return fail(misaligned(queue, shape.alignment, address));
  }
  return *span;
}

Result<shm::SharedBytes> open_driver_area(window::RegionOffset where, AreaShape shape,
                                          const DriverQueueConfig& config,
                                          const shm::SharedBytes& region) {
  const std::uint64_t offset = std::to_underlying(where);
  const auto address = std::to_underlying(config.publisher.publish(where));
  const auto bytes = region.slice(offset, shape.bytes);
  if (!bytes || is_reserved(where, config.publisher.mode)) {
    return fail({.code = Errc::kOutOfRange,
                 .queue = config.queue,
                 .detail = static_cast<std::uint32_t>(shape.bytes),
                 .address = offset});
  }
  if (!airlock_is_aligned(address, shape.alignment) ||
      !is_memory_aligned(*bytes, shape.alignment)) {
    return fail(misaligned(config.queue, shape.alignment, offset));
  }
  bytes->fill_zero(0, shape.bytes);
  return *bytes;
}

}  // namespace

Result<AreaBytes> open_device_areas(const QueueConfig& config, const window::Window& window) {
  const Format format = config.features.format;
  TRY(check_size(config.size, format, config.queue));
  const Layout layout(config.size, format);
  const auto open = [&](window::DriverAddress where, AreaShape shape, window::Access access) {
    return open_device_area(where, shape, access, config.queue, window);
  };
  // A packed ring is written by both sides.
  const auto ring_access =
      format == Format::kPacked ? window::Access::kWrite : window::Access::kRead;
  return AreaBytes {
    .descriptors = TRY(open(config.areas.descriptors, layout.descriptors(), ring_access))
    , .driver = TRY(open(config.areas.driver, layout.driver(), window::Access::kRead))
    , .device = TRY(open(config.areas.device, layout.device(), window::Access::kWrite))
  };
}

Result<AreaBytes> open_driver_areas(const DriverQueueConfig& config,
                                    const shm::SharedBytes& region) {
  TRY(check_size(config.size, config.features.format, config.queue));
  const Layout layout(config.size, config.features.format);
  const auto open = [&](window::RegionOffset where, AreaShape shape) {
    return open_driver_area(where, shape, config, region);
  };
  return AreaBytes {
    .descriptors = TRY(open(config.areas.descriptors, layout.descriptors()))
    , .driver = TRY(open(config.areas.driver, layout.driver()))
    , .device = TRY(open(config.areas.device, layout.device()))
  };
}

Result<shm::SharedBytes> open_tables(const DriverQueueConfig& config,
                                     const shm::SharedBytes& region) {
  if (!config.features.indirect || config.tables.entries == 0) return shm::SharedBytes();
  return open_driver_area(config.tables.start,
                          {.bytes = IndirectTables::bytes(config.size, config.tables.entries),
                           .alignment = IndirectTables::kAlignment},
                          config, region);
}

bool is_reserved(window::RegionOffset offset, window::AddressMode mode) {
  return mode == window::AddressMode::kOffset && std::to_underlying(offset) == 0;
}

}  // namespace airlock::ring
