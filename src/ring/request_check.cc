// SPDX-License-Identifier: Apache-2.0
#include "ring/request_check.h"

#include <limits>
#include <utility>

#include "core/range.h"
#include "ring/areas.h"

namespace airlock::ring {

namespace {

// The sum of the lengths: of at most 32768 buffers, so it cannot overflow.
Result<std::uint64_t> checked_bytes(const DriverQueueConfig& config, std::uint64_t region_bytes,
                                    std::span<const Buffer> buffers) {
  std::uint64_t sum = 0;
  for (const Buffer& buffer : buffers) {
    const std::uint64_t offset = std::to_underlying(buffer.offset);
    if (buffer.length == 0) return fail({.code = Errc::kBadLength, .queue = config.queue});
    if (!airlock_range_within(offset, buffer.length, region_bytes) ||
        is_reserved(buffer.offset, config.publisher.mode)) {
      return fail({.code = Errc::kOutOfRange,
                   .queue = config.queue,
                   .detail = buffer.length,
                   .address = offset});
    }
    sum += buffer.length;
  }
  return sum;
}

}  // namespace

Result<std::uint32_t> check_request(const DriverQueueConfig& config, std::uint64_t region_bytes,
                                    std::span<const Buffer> readable,
                                    std::span<const Buffer> writable) {
  const auto no = [&](Errc code) { return fail({.code = code, .queue = config.queue}); };
  const std::size_t count = readable.size() + writable.size();
  if (count == 0) return no(Errc::kBadLength);
  if (count > config.size.value()) return no(Errc::kChainTooLong);
  const std::uint64_t readable_bytes = TRY(checked_bytes(config, region_bytes, readable));
  const std::uint64_t writable_bytes = TRY(checked_bytes(config, region_bytes, writable));
  // tidy: cannot overflow because each is a sum of at most 2^15 lengths of 32 bits
  if (readable_bytes + writable_bytes > std::numeric_limits<std::uint32_t>::max()) {
    return no(Errc::kChainTooBig);
  }
  return static_cast<std::uint32_t>(writable_bytes);
}

}  // namespace airlock::ring
