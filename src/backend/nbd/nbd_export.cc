// SPDX-License-Identifier: Apache-2.0
#include "backend/nbd/nbd_export.h"

#include <libnbd.h>

#include <algorithm>
#include <bit>

#include <fmt/core.h>

#include "backend/block_backend.h"

namespace airlock::backend {

namespace {

/// What Linux takes for a disk's block at most.
constexpr std::uint32_t kBlockMost = 4096;
/// More than a driver's request is likely to have; a server's word is bounded by it.
constexpr std::uint32_t kPayloadMost = std::uint32_t{32} << 20;

/// A size that the server gave; `otherwise` if it gave none.
std::uint32_t size_of(nbd_handle* handle, int which, std::uint32_t otherwise) {
  const std::int64_t bytes = nbd_get_block_size(handle, which);
  if (bytes <= 0) return otherwise;
  return static_cast<std::uint32_t>(std::min<std::int64_t>(bytes, ~std::uint32_t{0}));
}

}  // namespace

std::expected<NbdExport, std::string> NbdExport::read(nbd_handle* handle) {
  const std::int64_t bytes = nbd_get_size(handle);
  if (bytes < 0) return std::unexpected(nbd_get_error());
  NbdExport found;
  found.bytes = static_cast<std::uint64_t>(bytes);
  found.read_only = nbd_is_read_only(handle) != 0;
  found.can_flush = nbd_can_flush(handle) == 1;
  found.can_fua = nbd_can_fua(handle) == 1;
  found.can_trim = nbd_can_trim(handle) == 1;
  found.can_zero = nbd_can_zero(handle) == 1;
  found.many_connections = nbd_can_multi_conn(handle) == 1;
  found.block_least = size_of(handle, LIBNBD_SIZE_MINIMUM, found.block_least);
  found.block_preferred = size_of(handle, LIBNBD_SIZE_PREFERRED, found.block_preferred);
  found.payload_most = std::min(size_of(handle, LIBNBD_SIZE_MAXIMUM, kPayloadMost), kPayloadMost);
  if (!std::has_single_bit(found.block_least) || found.block_least > kBlockMost ||
      found.payload_most < kBlockMost) {
    return std::unexpected(fmt::format("it takes blocks of {} to {} bytes, which no guest has",
                                       found.block_least, found.payload_most));
  }
  found.payload_most &= ~(std::max(found.block_least, kSectorBytes) - 1);
  if (found.bytes == 0) return std::unexpected("it is empty");
  if (found.bytes % std::max(found.block_least, kSectorBytes) != 0) {
    return std::unexpected(fmt::format("its size, {} bytes, is not a multiple of {}", found.bytes,
                                       std::max(found.block_least, kSectorBytes)));
  }
  return found;
}

std::expected<void, std::string> NbdExport::replaces(const NbdExport& old) const {
  if (bytes < old.bytes) {
    return std::unexpected(fmt::format("it has {} bytes now, and had {}", bytes, old.bytes));
  }
  if (read_only && !old.read_only) return std::unexpected("it is read-only now");
  if ((old.can_flush && !can_flush) || (old.can_fua && !can_fua) || (old.can_trim && !can_trim) ||
      (old.can_zero && !can_zero) || (old.many_connections && !many_connections)) {
    return std::unexpected("it can do less now than it could");
  }
  if (block_least > old.block_least || payload_most < old.payload_most) {
    return std::unexpected("it takes other sizes of blocks now");
  }
  return {};
}

}  // namespace airlock::backend
