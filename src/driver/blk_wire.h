// SPDX-License-Identifier: Apache-2.0
//
// What a disk's operations are on the wire. VIRTIO 1.3, 5.2.6.
#pragma once

#include <cstdint>

#include "driver/blk_request.h"
#include "spec/virtio_blk.h"

namespace airlock::driver {

[[nodiscard]] inline bool has_bytes(BlkOp op) {
  return op == BlkOp::kRead || op == BlkOp::kWrite;
}

[[nodiscard]] inline bool has_range(BlkOp op) {
  return op == BlkOp::kDiscard || op == BlkOp::kWriteZeroes;
}

[[nodiscard]] inline std::uint32_t request_type(BlkOp op) {
  switch (op) {
    case BlkOp::kRead:
      return spec::VIRTIO_BLK_T_IN;
    case BlkOp::kWrite:
      return spec::VIRTIO_BLK_T_OUT;
    case BlkOp::kFlush:
      return spec::VIRTIO_BLK_T_FLUSH;
    case BlkOp::kDiscard:
      return spec::VIRTIO_BLK_T_DISCARD;
    case BlkOp::kWriteZeroes:
      return spec::VIRTIO_BLK_T_WRITE_ZEROES;
    case BlkOp::kGetId:
      return spec::VIRTIO_BLK_T_GET_ID;
  }
  return spec::VIRTIO_BLK_T_FLUSH;
}

/// Bytes of the disk that a request is about; 1 for one that is about none.
[[nodiscard]] inline std::uint64_t length_of(const BlkRequest& request) {
  if (request.op == BlkOp::kRead) return request.target.size();
  if (request.op == BlkOp::kWrite) return request.source.size();
  return has_range(request.op) ? request.length : 1;
}

}  // namespace airlock::driver
