// SPDX-License-Identifier: Apache-2.0
#include "compare/models/open.h"

#include <utility>

namespace airlock::compare {

namespace {

class OpenAccess final : public Access {
 public:
  explicit OpenAccess(PrivateMemory own) : private_(std::move(own)) {}

  [[nodiscard]] const PrivateMemory& private_memory() const override { return private_; }
  [[nodiscard]] shm::SharedBytes memory() const override { return private_.bytes(); }
  [[nodiscard]] window::Publisher publisher() const override {
    return {.mode = window::AddressMode::kBus, .region = kPrivateBase};
  }
  Result<window::RegionOffset> allocate_coherent(std::uint64_t bytes) override {
    return coherent_.take(bytes);
  }
  Result<MappedBuffer> map(std::span<std::byte> buffer, pool::Direction direction) override {
    const std::uint64_t offset = TRY(private_.offset_of(buffer));
    ++maps_;
    return MappedBuffer{
        .offset = window::RegionOffset{offset}, .buffer = buffer, .direction = direction};
  }
  Result<void> sync_for_device(const MappedBuffer& /*mapped*/) override { return {}; }
  Result<void> unmap(const MappedBuffer& /*mapped*/, std::uint64_t /*written*/) override {
    return {};
  }
  Result<void> start(DeviceLink& device, const QueueStart& queue,
                     const QueueBells& bells) override {
    const DeviceLink::Loan loan{.shape = {.size = private_.size(), .address = kPrivateBase},
                                .memory = &private_.fd()};
    return device.start(std::span(&loan, 1), queue, bells);
  }
  [[nodiscard]] AccessCounts counts() const override { return {.maps = maps_}; }

 private:
  PrivateMemory private_;
  CoherentArea coherent_{0, PrivateMemory::kReserved};
  std::uint64_t maps_ = 0;
};

Result<std::unique_ptr<Access>> connect_open(const GuestSide& guest) {
  return std::make_unique<OpenAccess>(TRY(PrivateMemory::create(guest.private_bytes)));
}

}  // namespace

const Model kOpen{
    .name = "open",
    .what = "the device maps all of the guest (what virtio is without any of this)",
    .trust = "nothing: the device is trusted with everything",
    .connect = connect_open,
    .view = guest_memory_view,
};

}  // namespace airlock::compare
