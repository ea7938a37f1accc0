// SPDX-License-Identifier: Apache-2.0
#include "compare/models/region.h"

#include <array>
#include <utility>
#include <vector>

namespace airlock::compare {

namespace {

constexpr std::uint64_t kRegionBytes = std::uint64_t{16} << 20;

class RegionAccess final : public Access {
 public:
  static Result<std::unique_ptr<Access>> create(const GuestSide& guest, bool in_place) {
    auto own = TRY(PrivateMemory::create(guest.private_bytes));
    auto region = TRY(shm::SealedMemfd::create({.name = "airlock-region", .size = kRegionBytes}));
    auto mapping = TRY(region.map());
    auto pool = TRY(pool::Pool::create(mapping.bytes(), {}));
    return std::unique_ptr<Access>(new RegionAccess(std::move(own), std::move(region),
                                                    std::move(mapping), std::move(pool), in_place));
  }

  [[nodiscard]] const PrivateMemory& private_memory() const override { return private_; }
  [[nodiscard]] shm::SharedBytes memory() const override { return mapping_.bytes(); }
  [[nodiscard]] window::Publisher publisher() const override {
    return {.mode = window::AddressMode::kBus, .region = kSharedBase};
  }

  Result<window::RegionOffset> allocate_coherent(std::uint64_t bytes) override {
    coherent_.push_back(TRY(pool_->allocate_coherent(bytes, pool::kPageBytes)));
    return coherent_.back().offset();
  }

  Result<std::span<std::byte>> allocate_buffer(std::uint64_t offset, std::uint64_t bytes) override {
    if (!in_place_) return Access::allocate_buffer(offset, bytes);
    buffers_.push_back(TRY(pool_->allocate(bytes)));
    return buffers_.back().span();
  }

  Result<MappedBuffer> map(std::span<std::byte> buffer, pool::Direction direction) override {
    MappedBuffer result{.buffer = buffer, .direction = direction};
    if (pool_->contains(buffer)) {
      const pool::Pinned pinned = TRY(pool_->pin(buffer));
      result.offset = pinned.offset;
      result.handle = {std::to_underlying(pinned.buffer), pinned.generation};
      return result;
    }
    TRY(private_.offset_of(buffer));
    const pool::Mapped mapped = TRY(map_copy(buffer, direction));
    result.offset = mapped.offset;
    result.handle = {mapped.bytes, mapped.generation};
    return result;
  }

  Result<void> sync_for_device(const MappedBuffer& mapped) override {
    if (pool_->contains(mapped.buffer)) return {};
    return pool_->sync_for_device(handle_of(mapped), 0, mapped.buffer.size());
  }

  Result<void> unmap(const MappedBuffer& mapped, std::uint64_t written) override {
    if (pool_->contains(mapped.buffer)) {
      return pool_->unpin({.offset = mapped.offset,
                           .buffer = window::RegionOffset{mapped.handle[0]},
                           .generation = mapped.handle[1]});
    }
    return pool_->unmap(handle_of(mapped), written);
  }

  Result<void> start(DeviceLink& device, std::span<const QueueLink> queues) override {
    const DeviceLink::Loan loan{.shape = {.size = kRegionBytes, .address = kSharedBase},
                                .memory = &region_.fd()};
    return device.start(std::span(&loan, 1), queues);
  }

  [[nodiscard]] AccessCounts counts() const override {
    const pool::Stats stats = pool_->stats();
    return {.maps = stats.maps,
            .full = stats.full,
            .copied_bytes = stats.bytes_to_device + stats.bytes_from_device,
            .high_water_bytes = stats.high_water * pool::kSlotBytes};
  }

 private:
  RegionAccess(PrivateMemory own, shm::SealedMemfd region, shm::Mapping mapping,
               std::unique_ptr<pool::Pool> pool, bool in_place)
      : private_(std::move(own)),
        region_(std::move(region)),
        mapping_(std::move(mapping)),
        pool_(std::move(pool)),
        in_place_(in_place) {}

  Result<pool::Mapped> map_copy(std::span<std::byte> buffer, pool::Direction direction) {
    switch (direction) {
      case pool::Direction::kToDevice:
        return pool_->map_to_device(buffer);
      case pool::Direction::kFromDevice:
        return pool_->map_from_device(buffer);
      case pool::Direction::kBidirectional:
        return pool_->map_bidirectional(buffer);
    }
    return fail(Errc::kUnsupported);
  }
  static pool::Mapped handle_of(const MappedBuffer& mapped) {
    return {.offset = mapped.offset, .bytes = mapped.handle[0], .generation = mapped.handle[1]};
  }

  PrivateMemory private_;
  shm::SealedMemfd region_;
  shm::Mapping mapping_;
  std::unique_ptr<pool::Pool> pool_;
  std::vector<pool::CoherentBuffer> coherent_;
  std::vector<pool::InPlaceBuffer> buffers_;
  bool in_place_;
};

Result<std::unique_ptr<Access>> connect_region(const GuestSide& guest) {
  return RegionAccess::create(guest, false);
}
Result<std::unique_ptr<Access>> connect_region_in_place(const GuestSide& guest) {
  return RegionAccess::create(guest, true);
}

}  // namespace

const Model kRegion{
    .name = "region",
    .what = "a region on the device, copied through by a pool that scrubs (ours)",
    .trust = "the device has the region's file and no other",
    .connect = connect_region,
    .view = region_view,
};
const Model kRegionInPlace{
    .name = "region-in-place",
    .what = "the same, with the application's buffers in the region: no copy (ours)",
    .trust = "the device has the region's file and no other",
    .connect = connect_region_in_place,
    .view = region_view,
};
const Model kRegionAes{
    .name = "region-aes",
    .what = "the same as region, sealed with AES-256-GCM instead of copied (ours)",
    .trust = "as region; who else reads the region finds ciphertext",
    .encryption = crypt::Algorithm::kAes256Gcm,
    .connect = connect_region,
    .view = region_view,
};
const Model kRegionChaCha{
    .name = "region-chacha",
    .what = "the same, with ChaCha20-Poly1305 (ours)",
    .trust = "as region; who else reads the region finds ciphertext",
    .encryption = crypt::Algorithm::kChaCha20Poly1305,
    .connect = connect_region,
    .view = region_view,
};

}  // namespace airlock::compare
