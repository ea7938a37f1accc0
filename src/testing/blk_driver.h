// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

#include "spec/virtio_blk.h"
#include "testing/chain_builder.h"
#include "testing/fake_driver.h"
#include "testing/test_region.h"

namespace airlock::testing {

/// A driver's way to put block requests, honest or not, into a ring of its own.
class BlkDriver {
 public:
  explicit BlkDriver(std::uint32_t slots = 64) : ring_(region_, slots) {}

  [[nodiscard]] TestRegion& region() { return region_; }
  [[nodiscard]] FakeDriver& ring() { return ring_; }

  static spec::VirtioBlkReqHeader header(std::uint32_t type, std::uint64_t sector = 0) {
    return {.type = Le32(type), .reserved = {}, .sector = Le64(sector)};
  }
  static spec::VirtioBlkDiscardWriteZeroes range(std::uint64_t sector, std::uint32_t sectors,
                                                 std::uint32_t flags = 0) {
    return {.sector = Le64(sector), .num_sectors = Le32(sectors), .flags = Le32(flags)};
  }

  /// Data for the device to write, in one buffer, and the status in another.
  BuiltChain read(std::uint64_t sector, std::uint32_t bytes) {
    return request(header(spec::VIRTIO_BLK_T_IN, sector), {}, bytes);
  }
  BuiltChain write(std::uint64_t sector, std::span<const std::byte> data) {
    return request(header(spec::VIRTIO_BLK_T_OUT, sector), data, 0);
  }
  BuiltChain flush() { return request(header(spec::VIRTIO_BLK_T_FLUSH), {}, 0); }
  BuiltChain get_id(std::uint32_t bytes = spec::VIRTIO_BLK_ID_BYTES) {
    return request(header(spec::VIRTIO_BLK_T_GET_ID), {}, bytes);
  }
  BuiltChain ranges(std::uint32_t type,
                    const std::vector<spec::VirtioBlkDiscardWriteZeroes>& ranges) {
    return request(header(type), std::as_bytes(std::span(ranges)), 0);
  }
  /// Any header, `data` for the device to read, `writable` bytes beside the status.
  BuiltChain request(const spec::VirtioBlkReqHeader& header, std::span<const std::byte> data,
                     std::uint32_t writable) {
    ChainBuilder builder(ring_);
    builder.readable_struct(header);
    if (!data.empty()) builder.readable(data);
    if (writable > 0) builder.writable(writable);
    return builder.writable(1).submit();
  }

  /// The status byte, the last one of the writable part.
  static std::uint8_t status(const BuiltChain& chain) {
    return std::to_integer<std::uint8_t>(chain.written().back());
  }
  /// What is before the status.
  static std::vector<std::byte> data(const BuiltChain& chain) {
    std::vector<std::byte> bytes = chain.written();
    bytes.pop_back();
    return bytes;
  }

 private:
  TestRegion region_;
  FakeDriver ring_;
};

inline std::vector<std::byte> filled(std::size_t count, std::uint8_t value) {
  return std::vector<std::byte>(count, std::byte{value});
}

}  // namespace airlock::testing
